"""The engine over a store that blocks and fails on demand: what is answered when, and what is left after a failure."""

import asyncio

import pytest

from tests.twin.conftest import ScriptedStore
from twin.document import DELETED
from twin.engine import TwinEngine
from twin.errors import InvalidValue, StoreError, UnknownProperty, UnknownTwin, VersionMismatch
from twin.model import Kind, Quality, Reason, Section, TwinKey
from twin.reading import PropertyMark

pytestmark = pytest.mark.fast

DISK_FULL = StoreError("disk full")
BAD = PropertyMark(Quality.BAD, Reason.TIMEOUT)
PUMP = TwinKey(Kind.DEVICE, "plant", "pump")


async def turns(number=20):
    """Let everything run that can run."""
    for _ in range(number):
        await asyncio.sleep(0)


def values_of(engine, key):
    return {name: slot.value for name, slot in engine.document(key).reported.items()}


def wanted(engine, key):
    return {name: slot.value for name, slot in engine.delta(key).items()}


@pytest.fixture
def report(tank, key):
    """Report values of the tank; returns what the engine says."""

    def call(values, marks=None, at=1000, of=key):
        return tank.engine.report(of, values, marks or {}, at=at, by="modbus")

    return call


@pytest.fixture
def told(tank):
    """What watchers were told, in order."""
    events = []
    tank.engine.watch(lambda key, names: events.append((key, names)))
    return events


@pytest.fixture
def deltas(tank):
    """What a delta watcher sees, in order."""
    seen = []
    tank.engine.watch_deltas(lambda key: seen.append(wanted(tank.engine, key) if key in tank.engine else "gone"))
    return seen


async def test_each_reading_keeps_its_own_source_time(tank, key):
    marks = {"raw": BAD}
    outcome = tank.engine.report(key, {"valve": 1, "raw": 2}, marks, at=1000, by="m", times={"raw": 700})
    await outcome.commit.stored()
    reported = tank.engine.document(key).reported
    assert {name: slot.at for name, slot in reported.items()} == {"valve": 1000, "raw": 700}
    tank.engine.report(key, {}, {"valve": BAD}, at=2000, by="m", times={"valve": 1500})
    assert tank.engine.document(key).reported["valve"].at == 1500


# -- answered after the commit, never before ---------------------------------------------------------------------------


async def test_nothing_is_answered_before_its_commit_is_on_disk(tank, key, report, told, deltas):
    tank.store.gate.clear()
    answered = []
    outcome = report({"raw": 1})
    outcome.commit.on_end(lambda commit: answered.append(commit.failure))
    setting = asyncio.create_task(tank.engine.set_desired(key, {"valve": 5}, by="me").stored())
    settling = asyncio.create_task(tank.engine.settled())
    await tank.store.begun()
    await turns()
    assert (answered, told, deltas) == ([], [], [])
    assert not setting.done()
    assert not settling.done()
    assert ("reported", "raw", "edge") not in tank.on_disk()[1]
    tank.store.gate.set()
    await asyncio.gather(setting, settling)
    assert answered == [None]
    assert told == [(key, frozenset({(Section.REPORTED, "raw"), (Section.DESIRED, "valve")}))]
    assert deltas == [{"valve": 5}]
    assert tank.on_disk()[1]["reported", "raw", "edge"].value == 1


async def test_a_commit_that_has_ended_answers_at_once(tank, report):
    outcome = report({"raw": 1})
    await outcome.commit.stored()
    ended = []
    outcome.commit.on_end(ended.append)
    assert ended == [outcome.commit]
    await outcome.commit.stored()


async def test_what_arrives_during_a_commit_goes_into_the_next_single_write(tank, key, report):
    tank.store.gate.clear()
    first = report({"raw": 0}).commit
    await tank.store.begun()
    commits = {report({"raw": number}).commit for number in range(1, 50)}
    commits.add(tank.engine.set_desired(key, {"valve": 5}, by="me"))
    assert first not in commits
    tank.store.gate.set()
    (second,) = commits
    await second.stored()
    assert len(tank.store.writes) == 2


async def test_one_leaf_changed_often_is_one_row_with_its_newest_value(tank, report):
    for number in range(50):
        outcome = report({"raw": number})
    await outcome.commit.stored()
    (batch,) = tank.store.writes
    assert [slot.value for slot in batch.reported.values()] == [49]
    assert tank.on_disk()[1]["reported", "raw", "edge"].value == 49


async def test_an_unchanged_value_writes_nothing_but_waits_for_the_commit_that_holds_it(tank, report):
    tank.store.gate.clear()
    report({"raw": 7})
    await tank.store.begun()
    again = report({"raw": 7})
    waiting = asyncio.create_task(again.commit.stored())
    await turns()
    assert not waiting.done()
    assert not again.commit.batch
    tank.store.gate.set()
    await waiting
    assert len(tank.store.writes) == 1


async def test_an_unchanged_value_is_refused_when_the_commit_that_was_to_hold_it_fails(tank, key, report):
    tank.store.gate.clear()
    report({"raw": 7})
    await tank.store.begun()
    again = report({"raw": 7})
    waiting = asyncio.create_task(again.commit.stored())
    await turns()
    tank.store.failing = DISK_FULL
    tank.store.gate.set()
    with pytest.raises(StoreError):
        await waiting
    assert values_of(tank.engine, key) == {}


async def test_settled_is_at_once_when_there_is_nothing_to_wait_for(tank):
    await tank.engine.settled()
    assert tank.store.writes == []


async def test_one_who_gave_up_waiting_does_not_disturb_the_others(tank, report):
    tank.store.gate.clear()
    commit = report({"raw": 1}).commit
    impatient, patient = (asyncio.create_task(commit.stored()) for _ in range(2))
    await tank.store.begun()
    impatient.cancel()
    await turns()
    tank.store.gate.set()
    await patient
    assert impatient.cancelled()


# -- a disk that does not take it --------------------------------------------------------------------------------------


async def test_a_failed_commit_refuses_every_waiter_and_memory_goes_back_to_the_disk(tank, key, report, told, deltas):
    await report({"raw": 1, "level": 10.0}).commit.stored()
    await tank.engine.set_desired(key, {"valve": 5}, by="me").stored()
    before = tank.engine.document(key)
    told.clear()
    deltas.clear()

    tank.store.failing = DISK_FULL
    waiters = [report({"raw": 2}).commit, tank.engine.set_desired(key, {"valve": 6}, by="me")]
    results = await asyncio.gather(*(commit.stored() for commit in waiters), return_exceptions=True)
    assert results == [DISK_FULL, DISK_FULL]
    after = tank.engine.document(key)
    assert (after.desired, after.reported) == (before.desired, before.reported)
    assert after.version > before.version  # a number that was shown is not given again
    assert tank.engine.failure is DISK_FULL
    assert {"valve": 6} not in deltas


async def test_changes_that_wait_behind_a_failed_commit_are_refused_too(tank, key, report):
    tank.store.gate.clear()
    first = report({"raw": 1}).commit
    await tank.store.begun()
    second = report({"level": 50.0}).commit
    assert first is not second
    tank.store.failing = DISK_FULL
    tank.store.gate.set()
    results = await asyncio.gather(first.stored(), second.stored(), return_exceptions=True)
    assert results == [DISK_FULL, DISK_FULL]
    assert len(tank.store.writes) == 1
    assert values_of(tank.engine, key) == {}


async def test_the_next_change_works_when_the_disk_has_healed(tank, key, report, caplog):
    caplog.set_level("INFO", "twin.engine")
    tank.store.failing = DISK_FULL
    for _ in range(3):
        with pytest.raises(StoreError):
            await report({"raw": 1}).commit.stored()
    tank.store.failing = None
    await report({"raw": 1}).commit.stored()
    assert tank.engine.failure is None
    assert tank.on_disk()[1]["reported", "raw", "edge"].value == 1
    assert len([one for one in caplog.records if one.levelname == "ERROR"]) == 1  # once down, once up
    assert "takes changes again" in caplog.records[-1].message


async def test_a_store_that_breaks_its_promise_refuses_and_does_not_hang_anyone(tank, report, caplog):
    tank.store.failing = ZeroDivisionError("a bug")
    with pytest.raises(StoreError, match="ZeroDivisionError"):
        await report({"raw": 1}).commit.stored()
    tank.store.failing = None
    await report({"raw": 1}).commit.stored()
    assert "does not promise" in caplog.text


async def test_a_disk_that_cannot_be_read_back_either_keeps_nobody_waiting(tank, key, report, caplog):
    await report({"raw": 1}).commit.stored()
    tank.store.failing, tank.store.reads_failing = DISK_FULL, StoreError("no disk")
    with pytest.raises(StoreError):
        await report({"raw": 2}).commit.stored()
    tank.store.failing = tank.store.reads_failing = None
    await report({"raw": 1}).commit.stored()  # memory forgot, so it is written again and not taken for unchanged
    assert len(tank.store.writes) == 3
    assert "no disk" in caplog.text


async def test_a_dead_disk_is_not_tried_again_until_something_changes(bench, tank_spec, key):
    bench.store.failing = DISK_FULL
    with pytest.raises(StoreError):
        await bench.engine.define(tank_spec(desired={"valve": 40})).stored()
    await bench.store.begun()
    await turns(200)
    assert len(bench.store.writes) == 1
    with pytest.raises(StoreError):
        await bench.engine.settled()
    assert len(bench.store.writes) == 2


async def test_a_twin_whose_commit_failed_is_made_by_the_next_one_with_what_its_document_desires(bench, tank_spec, key):
    seen = []
    bench.engine.watch_deltas(lambda key: seen.append(wanted(bench.engine, key)))
    bench.store.failing = DISK_FULL
    bench.engine.define(tank_spec(desired={"valve": 40}))
    bench.engine.report(key, {"raw": 1}, {}, at=1, by="modbus")
    with pytest.raises(StoreError):
        await bench.engine.settled()
    assert key in bench.engine
    assert seen == []
    bench.store.failing = None
    await bench.engine.settled()
    assert seen == [{"valve": 40}]
    engine = await bench.reopen()
    assert wanted(engine, key) == {"valve": 40}
    assert values_of(engine, key) == {}


async def test_a_document_changed_on_a_dead_disk_desires_its_new_value_once_that_heals(tank, tank_spec, key):
    await tank.engine.define(tank_spec(desired={"valve": 40, "mode": "auto"})).stored()
    await tank.engine.set_desired(key, {"mode": "off"}, by="me").stored()
    tank.store.failing = DISK_FULL
    with pytest.raises(StoreError):
        await tank.engine.define(tank_spec(desired={"valve": 50, "mode": "auto"})).stored()
    tank.store.failing = None
    await tank.engine.settled()
    engine = await tank.reopen()
    assert wanted(engine, key) == {"valve": 50, "mode": "off"}


async def test_a_twin_whose_removal_failed_is_removed_by_the_next_commit_and_watchers_hear_of_it(
    tank, key, told, deltas
):
    tank.store.failing = DISK_FULL
    with pytest.raises(StoreError):
        await tank.engine.remove(key).stored()
    told.clear()
    deltas.clear()
    tank.store.failing = None
    await tank.engine.settled()
    assert told == [(key, frozenset())]
    assert deltas == ["gone"]
    assert len(await tank.reopen()) == 0


async def test_closing_on_a_dead_disk_ends(tank, tank_spec):
    tank.store.failing = DISK_FULL
    tank.engine.define(tank_spec("u2"))
    await asyncio.wait_for(tank.engine.close(), 10)


async def test_closing_writes_what_is_left(tank, key, report):
    report({"raw": 3})
    engine = await tank.reopen()
    assert values_of(engine, key) == {"raw": 3}


# -- reports -----------------------------------------------------------------------------------------------------------


async def test_a_property_that_breaks_its_rule_is_refused_alone(tank, key, report):
    outcome = report({"raw": 1, "nosuch": 2, "level": 10.0, "valve": 101})
    await outcome.commit.stored()
    assert values_of(tank.engine, key) == {"raw": 1, "level": 10.0}
    assert isinstance(outcome.refused, UnknownProperty)
    assert "device/plant/tank" in outcome.refused.message
    assert "nosuch" in outcome.refused.message
    assert "valve: 101 is outside the limits 0 to 100 %" in outcome.refused.message
    assert not outcome.nothing_taken


async def test_a_report_of_which_nothing_fits_says_so(tank, key, report):
    outcome = report({"raw": 1.5, "level": True})
    assert isinstance(outcome.refused, InvalidValue)
    assert outcome.nothing_taken
    outcome = report({}, {"nosuch": BAD})
    assert isinstance(outcome.refused, UnknownProperty)
    assert outcome.nothing_taken
    assert values_of(tank.engine, key) == {}


async def test_a_report_of_an_unknown_twin_is_refused(tank, report):
    with pytest.raises(UnknownTwin, match="pump"):
        report({"raw": 1}, of=PUMP)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400, True, None, "1", [1]])
@pytest.mark.parametrize("name", ["raw", "level"])
async def test_what_is_no_finite_number_is_never_stored_as_one(tank, key, report, name, value):
    assert report({name: value}).nothing_taken
    assert values_of(tank.engine, key) == {}


async def test_a_mark_keeps_the_last_value_and_a_good_reading_ends_it(tank, key, report):
    report({"raw": 5})
    report({}, {"raw": BAD}, at=2000)
    slot = tank.engine.document(key).reported["raw"]
    assert (slot.value, slot.quality, slot.reason, slot.at) == (5, Quality.BAD, Reason.TIMEOUT, 2000)
    await report({"raw": 5}, at=3000).commit.stored()
    slot = tank.on_disk()[1]["reported", "raw", "edge"]
    assert (slot.value, slot.quality, slot.reason, slot.at) == (5, Quality.GOOD, Reason.NONE, 3000)


async def test_a_mark_on_a_property_never_read_has_no_value(tank, key, report):
    await report({}, {"raw": BAD}).commit.stored()
    assert tank.on_disk()[1]["reported", "raw", "edge"].value is None


async def test_a_mark_with_a_value_gives_that_value_its_quality(tank, key, report):
    mark = PropertyMark(Quality.UNCERTAIN, Reason.STALE)
    report({"raw": 5, "level": 1.0}, {"raw": mark})
    reported = tank.engine.document(key).reported
    assert (reported["raw"].value, reported["raw"].quality) == (5, Quality.UNCERTAIN)
    assert reported["level"].quality is Quality.GOOD


async def test_a_change_of_quality_or_reason_is_always_written_and_the_same_again_is_not(tank, key, report):
    other = PropertyMark(Quality.BAD, Reason.NOT_CONNECTED)
    await report({"level": 10.0, "raw": 1}).commit.stored()
    seen = []
    for values, marks in [
        ({"level": 10.1}, {"level": BAD}),
        ({"level": 10.2}, {"level": BAD}),
        ({}, {"level": BAD}),
        ({}, {"level": other}),
        ({"level": 10.1}, {}),
        ({"level": 10.2}, {}),
        ({"level": 10.2, "raw": 1}, {"each": BAD}),
        ({"level": 10.2, "raw": 1}, {"each": BAD}),
    ]:
        tank.store.writes.clear()
        await report(values, marks).commit.stored()
        seen.append(sorted(name for batch in tank.store.writes for _, name in batch.reported))
    assert seen == [["level"], [], [], ["level"], ["level"], [], ["each"], []]


@pytest.mark.parametrize(
    ("name", "readings", "written"),
    [
        ("raw", [(1, 0), (1, 1), (2, 2), (2, 3), (1, 4)], [1, 2, 1]),
        ("each", [(1, 0), (1, 1), (1, 2)], [1, 1, 1]),
        ("level", [(10.0, 0), (10.5, 1), (10.6, 2), (10.2, 3), (10.0, 4)], [10.0, 10.6, 10.0]),
        ("level", [(10.0, 0), (10.2, 1), (10.4, 2), (10.6, 3)], [10.0, 10.6]),  # a drift is not lost
        ("hourly", [(1, 0), (1, 3_599_999), (1, 3_600_000), (1, 3_600_001)], [1, 1]),
        ("hourly", [(1, 9_000_000), (1, 8_999_999), (1, 1)], [1, 1]),  # a clock that stepped back
        ("note", [(1, 0), (True, 1), (1.0, 2), ([1], 3), ([True], 4), ([True], 5)], [1, True, 1.0, [1], [True]]),
    ],
)
async def test_report_policy(tank, report, name, readings, written):
    for value, at in readings:
        await report({name: value}, at=at).commit.stored()
    found = [slot.value for batch in tank.store.writes for slot in batch.reported.values()]
    assert repr(found) == repr(written)


# -- desired -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "unset", "error", "said"),
    [
        ({"valve": 5, "level": 1.0}, (), InvalidValue, "level: it is ReadOnly"),
        ({"valve": 5, "mode": "on"}, (), InvalidValue, "mode"),
        ({"valve": 5, "nosuch": 1}, (), UnknownProperty, "nosuch"),
        ({"valve": 5}, ("mode",), InvalidValue, "mode: nothing is desired of it"),
        ({"valve": 5}, ("nosuch",), UnknownProperty, "nosuch"),
        ({"valve": 5}, ("level",), InvalidValue, "ReadOnly"),
    ],
)
async def test_desired_values_are_all_taken_or_none(tank, key, values, unset, error, said):
    before = tank.engine.document(key)
    with pytest.raises(error, match=said):
        tank.engine.set_desired(key, values, unset=unset, by="me")
    await tank.engine.settled()
    assert tank.engine.document(key) == before
    assert tank.store.writes == []


async def test_a_refusal_names_every_property_that_is_wrong(tank, key):
    with pytest.raises(UnknownProperty, match=r"device/plant/tank: .*valve.*mode.*nosuch"):
        tank.engine.set_desired(key, {"valve": -1, "mode": 3, "nosuch": 1}, by="me")


async def test_a_write_for_another_version_is_refused(tank, key):
    version = tank.engine.document(key).version
    await tank.engine.set_desired(key, {"valve": 5}, by="me", version=version).stored()
    with pytest.raises(VersionMismatch, match=f"version {version + 1}, not {version}"):
        tank.engine.set_desired(key, {"valve": 6}, by="me", version=version)
    assert wanted(tank.engine, key) == {"valve": 5}


async def test_unset_leaves_a_tombstone_and_no_delta(tank, key, deltas):
    await tank.engine.set_desired(key, {"valve": 5, "mode": "off"}, by="me").stored()
    await tank.engine.set_desired(key, {"mode": "auto"}, unset=["valve"], by="me").stored()
    assert tank.on_disk()[1]["desired", "valve", "edge"].value is DELETED
    assert deltas == [{"valve": 5, "mode": "off"}, {"mode": "auto"}]
    with pytest.raises(InvalidValue, match="nothing is desired"):
        tank.engine.set_desired(key, {}, unset=["valve"], by="me")


async def test_who_when_and_what_was_seen_is_kept(tank, key, clock):
    await tank.engine.set_desired(key, {"valve": 5}, by="cli").stored()
    slot = tank.on_disk()[1]["desired", "valve", "edge"]
    assert (slot.by, slot.at, slot.seen) == ("cli", clock.us // 1000, 0)


async def test_a_change_of_an_unknown_twin_is_refused(tank):
    for change in (
        lambda: tank.engine.set_desired(PUMP, {"valve": 1}, by="me"),
        lambda: tank.engine.remove(PUMP),
        lambda: tank.engine.document(PUMP),
        lambda: tank.engine.delta(PUMP),
    ):
        with pytest.raises(UnknownTwin, match="pump"):
            change()


# -- twins -------------------------------------------------------------------------------------------------------------


async def test_the_same_spec_again_writes_nothing(tank, tank_spec, key):
    version = tank.engine.document(key).version
    await tank.engine.define(tank_spec()).stored()
    assert tank.store.writes == []
    assert tank.engine.document(key).version == version


async def test_a_document_writes_what_it_desires_anew_and_only_that(tank, tank_spec, key):
    await tank.engine.define(tank_spec(desired={"valve": 40, "mode": "auto"})).stored()
    await tank.engine.set_desired(key, {"valve": 41, "mode": "off"}, by="me").stored()
    await tank.engine.define(tank_spec(desired={"valve": 42, "mode": "auto"})).stored()
    engine = await tank.reopen()
    assert wanted(engine, key) == {"valve": 42, "mode": "off"}
    assert engine.document(key).desired["valve"].edge.by == "document"
    await engine.define(tank_spec(desired={"valve": 42, "mode": "auto"})).stored()
    assert tank.store.writes == []


async def test_a_document_that_turns_a_one_into_true_has_changed(tank, tank_spec, key):
    await tank.engine.define(tank_spec(desired={"note": 1})).stored()
    await tank.engine.define(tank_spec(desired={"note": True})).stored()
    assert wanted(tank.engine, key)["note"] is True


async def test_a_new_spec_keeps_the_leaves(tank, tank_spec, key, report):
    await report({"raw": 5}).commit.stored()
    await tank.engine.define(tank_spec(labels=(("site", "north"),))).stored()
    engine = await tank.reopen()
    assert values_of(engine, key) == {"raw": 5}
    assert engine.document(key).spec.labels == (("site", "north"),)


@pytest.mark.parametrize("remove_first", [True, False])
@pytest.mark.parametrize("wait", [True, False])
async def test_a_new_uid_gives_an_empty_twin(tank, tank_spec, key, report, told, remove_first, wait):
    await report({"raw": 5}).commit.stored()
    if remove_first:
        commit = tank.engine.remove(key)
        assert key not in tank.engine
        if wait:
            await commit.stored()
    await tank.engine.define(tank_spec("u2")).stored()
    assert values_of(tank.engine, key) == {}
    engine = await tank.reopen()
    assert values_of(engine, key) == {}
    assert engine.document(key).spec.uid == "u2"
    assert len(engine) == 1


async def test_a_twin_removed_and_made_again_with_its_old_uid_in_one_commit_is_empty(tank, tank_spec, key, report):
    await report({"raw": 5}).commit.stored()
    tank.engine.remove(key)
    await tank.engine.define(tank_spec()).stored()
    assert tank.engine.failure is None
    assert values_of(await tank.reopen(), key) == {}


async def test_a_removed_twin_is_gone_and_its_watchers_hear_of_it_after_the_commit(tank, key, report, told, deltas):
    await report({"raw": 5}).commit.stored()
    told.clear()
    tank.store.gate.clear()
    commit = tank.engine.remove(key)
    await turns()
    assert told == []
    tank.store.gate.set()
    await commit.stored()
    assert told == [(key, frozenset())]
    assert deltas[-1] == "gone"
    with pytest.raises(UnknownTwin):
        report({"raw": 6})
    assert len(await tank.reopen()) == 0


async def test_twins_come_in_the_order_of_their_keys(tank, tank_spec):
    keys = [TwinKey.parse(text) for text in ("a-b/x", "a/z", "pod/a/a", "a/b")]
    for number, key in enumerate(keys):
        tank.engine.define(tank_spec(f"x{number}", key))
    assert [str(key) for key in tank.engine] == [
        "device/a/b", "device/a/z", "device/a-b/x", "device/plant/tank", "pod/a/a",
    ]  # fmt: skip


# -- numbers that only rise --------------------------------------------------------------------------------------------


async def test_versions_strictly_rise_over_changes_failures_and_restarts(tank, tank_spec, key):
    versions = [tank.engine.document(key).version]

    async def changed(commit):
        await asyncio.gather(commit.stored(), return_exceptions=True)
        versions.append(tank.engine.document(key).version)

    for round_ in range(3):
        await changed(tank.engine.report(key, {"raw": round_}, {}, at=1, by="m").commit)
        await changed(tank.engine.set_desired(key, {"valve": round_}, by="m"))
        tank.store.failing = DISK_FULL
        await changed(tank.engine.set_desired(key, {"valve": 50 + round_}, by="m"))
        tank.store.failing = None
        await changed(tank.engine.define(tank_spec(labels=(("round", str(round_)),))))
        before = tank.engine.document(key).version
        await tank.reopen()
        assert tank.engine.document(key).version == before
        await changed(tank.engine.set_desired(key, {"valve": round_}, by="m"))
    assert versions == sorted(set(versions))


async def test_ticks_rise_over_restarts_with_the_clock_at_1970_or_years_ahead(tank, key, clock):
    ticks = []
    for number, us in enumerate([clock.us, 0, clock.us + 10 * 365 * 86400 * 10**6, 5, clock.us]):
        clock.us = us
        tank.engine.report(key, {"raw": number}, {}, at=1, by="m")
        ticks.append(tank.engine.document(key).reported["raw"].tick)
        tank.engine.set_desired(key, {"valve": number}, by="m")
        ticks.append(tank.engine.document(key).desired["valve"].edge.tick)
        await tank.reopen()
    assert ticks == sorted(set(ticks))


async def test_the_tick_survives_the_twin_that_took_it(tank, tank_spec, key, clock):
    tank.engine.report(key, {"raw": 1}, {}, at=1, by="m")
    last = tank.engine.document(key).reported["raw"].tick
    tank.engine.remove(key)
    await tank.reopen()
    clock.us = 0
    tank.engine.define(tank_spec())
    tank.engine.report(key, {"raw": 1}, {}, at=1, by="m")
    assert tank.engine.document(key).reported["raw"].tick > last


async def test_all_comes_back_from_the_store(tank, key, report):
    report({"raw": 5, "note": {"a": [1, True]}}, {"level": BAD})
    await tank.engine.set_desired(key, {"valve": 5}, by="me").stored()
    before = tank.engine.document(key)
    engine = await tank.reopen()
    assert engine.document(key) == before


# -- notes -------------------------------------------------------------------------------------------------------------


async def test_a_note_shares_the_commit_of_the_leaves_before_it(tank, key, report):
    report({"raw": 5})
    await tank.engine.note("dialect", "tank", "7").stored()
    assert len(tank.store.writes) == 1
    engine = await tank.reopen()
    assert engine.notes("dialect") == {"tank": "7"}
    assert engine.document(key).reported["raw"].value == 5


async def test_a_note_of_a_failed_commit_is_not_kept(tank):
    await tank.engine.note("dialect", "tank", "7").stored()
    tank.store.failing = DISK_FULL
    with pytest.raises(StoreError):
        await tank.engine.note("dialect", "tank", "8").stored()
    tank.store.failing = None
    await tank.engine.note("dialect", "other", "1").stored()
    assert tank.engine.notes("dialect") == {"tank": "7", "other": "1"}


# -- watchers ----------------------------------------------------------------------------------------------------------


async def test_a_delta_is_told_when_a_report_touches_what_is_desired_and_only_then(tank, key, report, deltas):
    await tank.engine.set_desired(key, {"valve": 5}, by="me").stored()
    await report({"raw": 1}).commit.stored()
    await report({"valve": 4}).commit.stored()
    await report({"valve": 5}).commit.stored()
    await report({"raw": 2}).commit.stored()
    assert deltas == [{"valve": 5}, {"valve": 5}, {}]


async def test_a_desired_value_reaches_no_delta_watcher_before_it_is_on_disk_itself(tank, key, deltas):
    tank.store.gate.clear()
    first = tank.engine.set_desired(key, {"valve": 1}, by="me")
    await tank.store.begun()
    second = tank.engine.set_desired(key, {"valve": 2}, by="me")
    seen_at_first = []
    first.on_end(lambda _: seen_at_first.append(list(deltas)))
    tank.store.gate.set()
    await second.stored()
    assert seen_at_first == [[]]
    assert deltas == [{"valve": 2}]


async def test_a_delta_held_back_for_a_write_that_then_failed_is_told_as_it_is_on_disk(tank, key, deltas):
    tank.store.gate.clear()
    tank.engine.set_desired(key, {"valve": 1}, by="me")
    await tank.store.begun()
    second = tank.engine.set_desired(key, {"valve": 2}, by="me")

    def fail_from_now_on(*_):
        tank.store.failing = DISK_FULL

    tank.engine.watch(fail_from_now_on)
    tank.store.gate.set()
    with pytest.raises(StoreError):
        await second.stored()
    assert deltas == [{"valve": 1}]


async def test_watchers_learn_that_the_twin_has_gone_back_after_a_failed_commit(tank, key, report):
    shown = []
    tank.engine.watch(lambda key, _: shown.append(values_of(tank.engine, key)))
    await report({"raw": 1}).commit.stored()
    tank.store.failing = DISK_FULL
    with pytest.raises(StoreError):
        await report({"raw": 2}).commit.stored()
    assert shown == [{"raw": 1}, {"raw": 1}]


async def test_watchers_of_commits_hear_of_a_write_that_failed_when_it_was_on_disk_already(tank, key, report):
    await report({"raw": 1}).commit.stored()
    seen = []
    tank.engine.watch_commits(lambda: seen.append(values_of(tank.engine, key)))
    tank.store.failing_late = StoreError("the power is gone")
    with pytest.raises(StoreError):
        await report({"raw": 2}).commit.stored()
    assert seen == [{"raw": 2}]


async def test_a_watcher_that_raises_keeps_nobody_from_their_answer(tank, key, report, deltas, caplog):
    def broken(*_):
        raise ZeroDivisionError

    tank.engine.watch(broken)
    tank.engine.watch_deltas(broken)
    events = []
    tank.engine.watch(lambda key, _: events.append(key))
    commit = tank.engine.set_desired(key, {"valve": 1}, by="me")
    commit.on_end(broken)
    await commit.stored()
    assert events == [key]
    assert deltas == [{"valve": 1}]
    assert "a watcher of device/plant/tank failed" in caplog.text
    assert "a watcher of the delta of device/plant/tank failed" in caplog.text


async def test_a_watcher_that_stopped_hears_nothing(tank, key, report):
    events = []
    stops = [tank.engine.watch(lambda *_: events.append(1)), tank.engine.watch_deltas(lambda *_: events.append(2))]
    for stop in stops:
        stop()
    await tank.engine.set_desired(key, {"valve": 1}, by="me").stored()
    assert events == []


async def test_a_waiter_may_change_twins_when_it_is_told(tank, key, report):
    commit = report({"raw": 1}).commit
    done = asyncio.Event()
    commit.on_end(lambda _: report({"raw": 2}).commit.on_end(lambda _: done.set()))
    await asyncio.wait_for(done.wait(), 5)
    assert tank.on_disk()[1]["reported", "raw", "edge"].value == 2


async def test_reports_may_wait_for_their_commit_and_what_is_desired_may_not(tmp_path, clock, executor, tank_spec, key):
    store = ScriptedStore(tmp_path / "state.db")
    engine = TwinEngine(store, clock=clock, executor=executor, commit_interval_s=3600)
    engine.open()
    try:
        await engine.define(tank_spec()).stored()
        store.writes.clear()
        waiting = [engine.report(key, {"raw": value}, {}, at=value, by="modbus").commit for value in range(5)]
        await turns()
        assert not store.writes
        assert not any(commit.ended for commit in waiting), "nothing is answered before its commit"
        await engine.set_desired(key, {"valve": 7}, by="anna").stored()
        assert len(store.writes) == 1, "what waited goes with it"
        assert all(commit.ended for commit in waiting)
        answer = engine.report(key, {"valve": 7}, {}, at=9, by="modbus").commit
        await answer.stored()
        assert len(store.writes) == 2, "somebody waits for what they desired"
        engine.report(key, {"raw": 9}, {}, at=9, by="modbus")
        await engine.settled()
        assert len(store.writes) == 3, "a request commits what it is answered with"
        engine.report(key, {"raw": 10}, {}, at=9, by="modbus")
    finally:
        await engine.close()
        store.close()
    assert len(store.writes) == 4, "nothing is lost by an end"


async def test_reports_wait_no_longer_than_the_interval(tmp_path, clock, executor, tank_spec, key):
    store = ScriptedStore(tmp_path / "state.db")
    engine = TwinEngine(store, clock=clock, executor=executor, commit_interval_s=0.05)
    engine.open()
    try:
        await engine.define(tank_spec()).stored()
        await engine.report(key, {"raw": 1}, {}, at=1, by="modbus").commit.stored()
        store.writes.clear()
        commits = [engine.report(key, {"raw": value}, {}, at=value, by="modbus").commit for value in range(2, 9)]
        async with asyncio.timeout(10):
            await commits[-1].stored()
        assert len(store.writes) == 1
    finally:
        await engine.close()
        store.close()
