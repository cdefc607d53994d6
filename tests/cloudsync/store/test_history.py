"""History: each reading once, in order, in pages; gaps as totals; old periods dropped whole and counted."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudsync.store.history_tables import FIRST, LAST, PERIOD_MS, period_of
from cloudsync.store.opening import open_store
from tests.cloudsync.store.words import PUMP, TANK, emptied, failing, spec
from twin.clock import SystemClock
from twin.exchange import SeriesReadings
from twin.history import Cursor, Gap, HistoryQuery, Reading, Why
from twin.model import Quality, Reason

NOW_MS = 1_760_000_000_000
EVER = (-(2**62), 2**62)


def query(since=EVER[0], until=EVER[1], limit=1000, after=None, *, key=TANK, uid="u1", name="level"):
    return HistoryQuery(key, uid, name, since, until, limit, after)


def series(*readings, gaps=(), key=TANK, uid="u1", name="level"):
    return SeriesReadings(key, uid, name, tuple(readings), tuple(gaps))


async def add(store, *some, gateway="gw-1"):
    async with store.transaction(gateway) as tx:
        await tx.add_history(some)


async def test_readings_of_every_kind_come_back_once_in_the_order_of_time_and_tick(store):
    readings = [
        Reading(NOW_MS, 1, 81.5),
        Reading(NOW_MS, 2, -0.0, Quality.BAD, Reason.TIMEOUT),
        Reading(NOW_MS + 1, 1, 2**64),
        Reading(NOW_MS + 2, 5, "x\0y\1"),
        Reading(NOW_MS + 3, 6, None),
        Reading(NOW_MS + 4, 7, {"a": [True]}, Quality.UNCERTAIN, Reason.STALE),
    ]
    await add(store, series(*readings[3:]), series(Reading(NOW_MS, 9, 7), name="valve"))
    await add(store, series(*readings), series(Reading(NOW_MS, 9, 7), key=PUMP, uid="\0", name="\1"))
    assert len((await store.history(query(key=PUMP, uid="\0", name="\1"))).readings) == 1
    found = await store.history(query())
    assert repr(found.readings) == repr(tuple(readings))
    assert (found.gaps, found.more) == ((), False)
    assert (await store.history(query(uid="u2"))).readings == ()
    assert (await store.history(query(name="valve"))).readings == (Reading(NOW_MS, 9, 7),)


TIMES = st.integers(NOW_MS, NOW_MS + 3) | st.sampled_from(
    [-(2**62), -1, 0, FIRST * PERIOD_MS - 1, FIRST * PERIOD_MS, NOW_MS + PERIOD_MS, LAST * PERIOD_MS, 2**62]
)
PLACES = st.lists(st.tuples(TIMES, st.integers(1, 3)), max_size=12)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(PLACES, min_size=1, max_size=2), since=TIMES, until=TIMES, limit=st.integers(1, 5))
async def test_any_readings_in_any_order_come_in_pages_that_join_into_the_whole(store, frames, since, until, limit):
    await emptied(store)
    for places in frames:
        await add(store, series(*(Reading(*place, f"{place}") for place in places)))
    wanted = sorted({place for places in frames for place in places if since <= place[0] <= until})
    found, after = [], None
    while True:
        page = await store.history(query(since, until, limit, after))
        found += page.readings
        assert len(page.readings) <= limit
        if not page.more:
            break
        after = Cursor(page.readings[-1].at, page.readings[-1].tick)
    assert found == [Reading(*place, f"{place}") for place in wanted]


async def test_gaps_are_totals_that_the_next_of_the_same_cause_replaces(store):
    await add(store, series(gaps=[Gap(10, 20, 5, Why.SPACE), Gap(1, 2, 1, Why.AGE)]))
    await add(store, series(gaps=[Gap(10, 30, 9, Why.SPACE)]))
    assert (await store.history(query())).gaps == (Gap(1, 2, 1, Why.AGE), Gap(10, 30, 9, Why.SPACE))
    assert (await store.history(query(since=3, until=9))).gaps == ()
    assert (await store.history(query(since=30))).gaps == (Gap(10, 30, 9, Why.SPACE),)


async def test_old_periods_are_dropped_whole_and_what_they_held_is_a_gap_of_age(store):
    old = [Reading(NOW_MS - weeks * PERIOD_MS, weeks, weeks) for weeks in (5, 4, 3)]
    await add(store, series(*old, Reading(NOW_MS, 9, 9), gaps=[Gap(1, 2, 3, Why.AGE)]))
    assert await store.drop_history(before=old[1].at) == 1
    assert await store.drop_history(before=old[1].at) == 0
    found = await store.history(query())
    assert found.readings == (*old[1:], Reading(NOW_MS, 9, 9))
    assert found.gaps == (Gap(1, old[0].at, 4, Why.AGE),)
    assert await store.drop_history(before=NOW_MS) == 2
    found = await store.history(query())
    assert found.readings == (Reading(NOW_MS, 9, 9),)
    assert found.gaps == (Gap(1, old[2].at, 6, Why.AGE),)
    await add(store, series(old[0]))  # sent again: kept until the next time
    assert (await store.history(query())).readings[0] == old[0]


async def test_another_gateway_cannot_put_readings_under_a_twin_that_it_does_not_have(store):
    async with store.transaction("gw-1") as tx:
        await tx.define(spec())
    await add(store, series(Reading(NOW_MS, 1, 1)))
    await add(store, series(Reading(NOW_MS + 1, 1, 666), gaps=[Gap(1, 2, 3, Why.AGE)]), gateway="gw-2")
    found = await store.history(query())
    assert (found.readings, found.gaps) == ((Reading(NOW_MS, 1, 1),), ())


async def test_a_failed_transaction_keeps_no_reading(store):
    with pytest.raises(ZeroDivisionError):
        await failing(store, lambda tx: tx.add_history([series(Reading(NOW_MS, 1, 1))]))
    assert (await store.history(query())).readings == ()
    await add(store)  # nothing at all is fine


async def test_many_writers_may_need_a_new_period_at_once(store, store_url):
    others = [open_store(store_url, SystemClock()) for _ in range(3)]
    for one in others:
        await one.open()
    async with asyncio.timeout(30):
        await asyncio.gather(
            *(
                add(
                    one,
                    series(*(Reading(NOW_MS + week * PERIOD_MS, 1, number) for week in range(4))),
                    gateway=f"g{number}",
                )
                for number, one in enumerate(others)
            )
        )
    for one in others:
        await one.close()
    assert len((await store.history(query())).readings) == 12


def test_no_clock_makes_more_than_some_thousand_periods():
    assert [period_of(at) for at in (EVER[0], 0, EVER[1])] == [FIRST - 1, FIRST - 1, LAST]
    assert LAST - FIRST < 6000


async def test_the_history_of_postgresql_is_partitioned_natively(postgres_url, postgres):
    store = open_store(postgres_url, SystemClock())
    await store.open()
    await add(store, series(Reading(NOW_MS, 1, 1), Reading(0, 1, 1)))
    await store.close()
    text = (
        "SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_class WHERE relispartition AND relkind = 'r' ORDER BY 1"
    )
    start = period_of(NOW_MS) * PERIOD_MS
    assert postgres.sql(text, postgres_url.rpartition("/")[2]).splitlines() == [
        f"reading_0{FIRST - 1}|FOR VALUES FROM (MINVALUE) TO ('{FIRST * PERIOD_MS}')",
        f"reading_0{period_of(NOW_MS)}|FOR VALUES FROM ('{start}') TO ('{start + PERIOD_MS}')",
    ]
