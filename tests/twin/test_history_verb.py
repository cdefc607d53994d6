"""From a report to the answer of the verb history: what is kept, what is not, and what is said about it."""

import pytest

from twin.api import ApiServer
from twin.client import TwinClient
from twin.errors import HistoryOff, StoreError, UnknownProperty, UnknownTwin
from twin.history import Limits, Why
from twin.history_verb import HistoryVerb
from twin.link.memory import MemoryBroker
from twin.model import (
    Drop,
    HistoryPolicy,
    Keep,
    PropertySpec,
    Quality,
    Reason,
    ReportPolicy,
    TwinSpec,
    ValueType,
)
from twin.reading import PropertyMark
from twin.sqlite_history import SqliteHistory
from twin.wire.api import HistoryRequest, ReadingBody

pytestmark = pytest.mark.fast

TIMEOUT_S = 5.0
TIMEOUT = PropertyMark(Quality.BAD, Reason.TIMEOUT)
CHANGES = HistoryPolicy(Keep.CHANGES)
EVERY = HistoryPolicy(Keep.ALL, Drop.THIN)


def spec_of(key, uid="u1", keep=Keep.CHANGES):
    properties = (
        PropertySpec("level", ValueType.DOUBLE, minimum=0, maximum=100, unit="%", history=HistoryPolicy(keep)),
        PropertySpec("flow", ValueType.DOUBLE, report=ReportPolicy(deadband=0.5), history=CHANGES),
        PropertySpec("each", ValueType.DOUBLE, maximum=9, report=ReportPolicy(deadband=0.5), history=EVERY),
        PropertySpec("off", ValueType.DOUBLE),
    )
    return TwinSpec(key, uid, properties={one.name: one for one in properties})


@pytest.fixture
async def kept(bench, key):
    """The bench with a tank whose readings are kept, on disk."""
    await bench.engine.define(spec_of(key)).stored()
    await bench.store.begun()
    return bench


@pytest.fixture
def history(kept):
    made = SqliteHistory(kept.path, kept.clock)
    made.open()
    yield made
    made.close()


@pytest.fixture
async def client(kept, history):
    broker = MemoryBroker()
    async with broker.link() as hub_link, broker.link() as app_link:
        await hub_link.connected(TIMEOUT_S)
        await app_link.connected(TIMEOUT_S)
        server = ApiServer(hub_link, HistoryVerb(kept.engine, history).verbs())
        await server.open()
        async with TwinClient(app_link, account="me", client="1", timeout_s=TIMEOUT_S) as made:
            yield made
        await server.close()


@pytest.fixture
def report(kept, key):
    def call(values, marks=None, at=1000):
        return kept.engine.report(key, values, marks or {}, at=at, by="modbus")

    return call


@pytest.fixture
def ask(client):
    async def call(name, **more):
        return await client.history(HistoryRequest(twin="plant/tank", property=name, **more))

    return call


def shown(reply):
    return [(one.at, one.value) for one in reply.readings]


async def test_changes_are_what_the_report_policy_lets_through_and_all_is_every_reading(report, ask):
    for at, value in enumerate([1.0, 1.2, 1.2, 3.0, 3.1]):
        report({"flow": value, "each": value, "off": value}, at=at)
    assert shown(await ask("flow")) == [(0, 1.0), (3, 3.0)]
    assert shown(await ask("each")) == [(0, 1.0), (1, 1.2), (2, 1.2), (3, 3.0), (4, 3.1)]


async def test_two_reports_in_one_commit_are_two_readings(kept, report, ask):
    report({"level": 1}, at=1)
    report({"level": 2}, at=2)
    assert shown(await ask("level")) == [(1, 1), (2, 2)]


async def test_a_change_of_quality_is_kept_with_the_last_value_and_a_repeated_one_is_not(report, ask):
    report({"level": 4, "each": 4}, at=1)
    report({}, {"level": TIMEOUT, "each": TIMEOUT}, at=2)
    report({}, {"level": TIMEOUT, "each": TIMEOUT}, at=3)
    wanted = [ReadingBody(at=1, value=4), ReadingBody(at=2, value=4, quality=Quality.BAD, reason=Reason.TIMEOUT)]
    for name in ("level", "each"):
        assert (await ask(name)).readings == wanted


async def test_an_unchanged_reading_makes_no_new_version_and_no_noise(kept, key, report, ask):
    await report({"each": 4}, at=1).commit.stored()
    told = []
    kept.engine.watch(lambda *change: told.append(change))
    version = kept.engine.document(key).version
    await report({"each": 4}, at=2).commit.stored()
    assert (kept.engine.document(key).version, told) == (version, [])
    assert shown(await ask("each")) == [(1, 4), (2, 4)]


async def test_an_unchanged_reading_has_the_time_of_its_own(kept, key, ask):
    for at in (5, 6):
        kept.engine.report(key, {"each": 4, "level": at}, {}, at=9, by="m", times={"each": at})
    assert shown(await ask("each")) == [(5, 4), (6, 4)]
    assert shown(await ask("level")) == [(9, 5), (9, 6)]


async def test_a_refused_value_is_not_kept(report, ask):
    report({"each": 4}, at=1)
    report({"each": 10}, at=2)
    report({"each": "x"}, at=3)
    assert shown(await ask("each")) == [(1, 4)]


async def test_readings_of_a_commit_that_failed_are_not_kept_for_nobody_was_told_so(kept, report, ask):
    kept.store.failing = StoreError("disk full")
    with pytest.raises(StoreError):
        await report({"level": 1}, at=1).commit.stored()
    kept.store.failing = None
    await report({"level": 2}, at=2).commit.stored()
    assert shown(await ask("level")) == [(2, 2)]


async def test_readings_survive_a_restart_with_ticks_that_rise(kept, key, report, ask, history):
    await report({"each": 1}, at=1).commit.stored()
    await report({"each": 1}, at=1).commit.stored()
    before = kept.store.inner.load()[1]
    engine = await kept.reopen()
    engine.report(key, {"each": 1}, {}, at=1, by="m")
    await engine.settled()
    assert kept.store.inner.load()[1] > before


async def test_pages_follow_each_other_and_unit_and_policy_are_told(report, ask):
    for at in range(25):
        report({"level": at, "each": 1}, at=at)
    first = await ask("level", limit=10)
    second = await ask("level", limit=10, after=first.after)
    third = await ask("level", limit=10, after=second.after)
    assert shown(first) + shown(second) + shown(third) == [(at, at) for at in range(25)]
    assert third.after == ""
    assert (first.unit, first.keep, first.drop) == ("%", Keep.CHANGES, Drop.OLDEST)
    assert (await ask("each")).drop is Drop.THIN
    assert shown(await ask("level", since=3, until=5)) == [(3, 3), (4, 4), (5, 5)]


async def test_gaps_of_the_time_asked_for_are_told(report, ask, history):
    for at in range(100):
        report({"level": at}, at=at * 1000)
    assert len(shown(await ask("level"))) == 100
    while history.tend(Limits(2**40, 40_000, 0), now_ms=100_000, free_bytes=2**40, flush=True):
        pass
    reply = await ask("level")
    (gap,) = reply.gaps
    assert (gap.since, gap.until, gap.count, gap.why) == (0, 59_000, 60, Why.AGE)
    assert len(reply.readings) == 40
    assert (await ask("level", since=60_000)).gaps == []


async def test_a_property_without_history_says_how_to_turn_it_on(ask):
    with pytest.raises(HistoryOff, match="off keeps no history") as caught:
        await ask("off")
    assert "`history: {keep: changes}`" in caught.value.remedy


async def test_what_was_kept_before_history_was_turned_off_is_still_told(kept, key, report, ask):
    report({"level": 1}, at=1)
    await kept.engine.define(spec_of(key, keep=Keep.OFF)).stored()
    report({"level": 2}, at=2)
    assert shown(await ask("level")) == [(1, 1)]


async def test_what_is_not_there_is_refused(client, ask):
    with pytest.raises(UnknownProperty, match="no property 'levle'") as caught:
        await ask("levle")
    assert caught.value.remedy == "It has each, flow, level, off."
    with pytest.raises(UnknownTwin):
        await client.history(HistoryRequest(twin="plant/nosuch", property="level"))


async def test_a_twin_that_is_made_anew_has_no_history(kept, key, report, ask):
    report({"level": 1}, at=1)
    kept.engine.define(spec_of(key, uid="u2"))
    assert shown(await ask("level")) == []
    report({"level": 2}, at=2)
    assert shown(await ask("level")) == [(2, 2)]
