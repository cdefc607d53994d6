"""The history in SQLite: nothing accepted is ever neither kept nor in a gap, and the limits hold."""

import itertools
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.document import Slot
from twin.errors import StoreError
from twin.history import Cursor, Gap, HistoryQuery, Limits, Reading, Why
from twin.model import Drop, HistoryPolicy, Keep, Kind, PropertySpec, Quality, Reason, TwinKey, TwinSpec
from twin.sqlite_history import PACK_FROM, TAIL_BYTES, SqliteHistory
from twin.sqlite_spans import FULL
from twin.sqlite_store import SqliteStore
from twin.store import Batch, KeptReading, TwinRow

pytestmark = pytest.mark.fast

WIDE = Limits(2**40, 2**50, 0)
PLENTY = 2**50


def spec_of(name="tank", uid="u1", drop=Drop.OLDEST, max_age_ms=0):
    policy = HistoryPolicy(Keep.CHANGES, drop, max_age_ms)
    properties = {one: PropertySpec(one, history=policy) for one in ("level", "raw")}
    properties["off"] = PropertySpec("off")
    return TwinSpec(TwinKey(Kind.DEVICE, "plant", name), uid, properties=properties)


class Place:
    """A store and its history in one file."""

    def __init__(self, path, clock):
        self.path = path
        self.store = SqliteStore(path)
        self.store.open()
        self.history = SqliteHistory(path, clock)
        self.history.open()
        self.ticks = itertools.count(1_000)
        self.accepted = []

    def define(self, number=1, **said):
        self.store.write(Batch(twins={number: TwinRow(number, spec_of(**said), 1)}))

    def add(self, values, *, at=0, step=1000, name="level", twin=1):
        """Append readings; their times rise by ``step``."""
        made = [Slot(value, next(self.ticks), 0, "m", at + n * step) for n, value in enumerate(values)]
        self.store.write(Batch(readings=[KeptReading(twin, name, slot) for slot in made]))
        self.accepted += [Reading(slot.at, slot.tick, slot.value) for slot in made]

    def tend(self, limits=WIDE, *, now_ms=None, free_bytes=PLENTY, flush=True):
        for _ in range(10_000):
            if not self.history.tend(limits, now_ms=now_ms, free_bytes=free_bytes, flush=flush):
                return
            flush = False
        pytest.fail("it never ends")

    def page(self, *, name="level", device="tank", uid="u1", since=0, until=2**53, limit=10**9, after=None):
        key = TwinKey(Kind.DEVICE, "plant", device)
        return self.history.read(HistoryQuery(key, uid, name, since, until, limit, after))

    def kept(self, **asked):
        return list(self.page(**asked).readings)

    def gaps(self, **asked):
        return {gap.why: gap for gap in self.page(**asked).gaps}

    def lost(self, **asked):
        return sum(gap.readings for gap in self.page(**asked).gaps)

    def rows(self, query):
        with sqlite3.connect(self.path) as db:
            found = db.execute(query).fetchall()
        db.close()
        return found

    def used_bytes(self):
        ((spans,),) = self.rows("SELECT coalesce(sum(bytes), 0) FROM span")
        ((tail,),) = self.rows("SELECT count(*) FROM reading")
        return spans + tail * TAIL_BYTES

    def close(self):
        self.history.close()
        self.store.close()


@pytest.fixture
def make_place(tmp_path, clock):
    made = []

    def make(name="state.db"):
        made.append(Place(tmp_path / name, clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def place(make_place):
    made = make_place()
    made.define()
    return made


# -- kept as it came ---------------------------------------------------------------------------------------------------


def test_readings_are_read_back_from_the_tail_and_from_spans_alike(place):
    place.add([1, 2.5, True, None, "text", [1, 1.0], 10**30, -0.0])
    before = place.kept()
    place.tend()
    assert place.rows("SELECT count(*) FROM reading") == [(0,)]
    assert repr(before) == repr(place.kept()) == repr(place.accepted)


def test_quality_and_reason_are_kept(place):
    slot = Slot(4, 7, 0, "m", 5, Quality.BAD, Reason.TIMEOUT)
    place.store.write(Batch(readings=[KeptReading(1, "level", slot)]))
    wanted = [Reading(5, 7, 4, Quality.BAD, Reason.TIMEOUT)]
    assert place.kept() == wanted
    place.tend()
    assert place.kept() == wanted


def test_the_order_is_the_time_of_the_source_then_the_arrival(place):
    place.add([1, 2, 3], at=5000, step=-1000)
    place.tend()
    place.add([4, 5], at=4000, step=0)
    place.tend()
    place.add([6], at=1000)
    assert [one.value for one in place.kept()] == [6, 3, 2, 4, 5, 1]


def test_a_short_tail_is_left_until_it_is_long_or_to_be_flushed(place):
    place.add(range(PACK_FROM - 1))
    place.tend(flush=False)
    assert place.rows("SELECT count(*) FROM reading") == [(PACK_FROM - 1,)]
    place.add([1], at=10**9)
    place.tend(flush=False)
    assert place.rows("SELECT count(*) FROM reading") == [(0,)]
    assert place.rows("SELECT max(count) FROM span") == [(FULL,)]
    assert len(place.kept()) == PACK_FROM


def test_few_readings_at_a_time_join_the_newest_span(place):
    for turn in range(40):
        place.add([turn], at=turn)
        place.tend()
    ((spans,),) = place.rows("SELECT count(*) FROM span")
    assert spans <= 5
    assert [one.value for one in place.kept()] == list(range(40))


def test_pages_continue_where_the_one_before_ended_also_among_equal_times(place):
    place.add(range(30), step=0)
    place.tend()
    place.add(range(30, 50), at=1)
    found, after = [], None
    while True:
        page = place.page(limit=7, after=after)
        found += page.readings
        if not page.more:
            break
        after = Cursor(found[-1].at, found[-1].tick)
    assert found == sorted(place.accepted)


def test_only_the_time_that_was_asked_for_comes_both_ends_included(place):
    place.add(range(10))
    assert [one.value for one in place.kept(since=3000, until=6000)] == [3, 4, 5, 6]
    place.tend()
    assert [one.value for one in place.kept(since=3000, until=6000)] == [3, 4, 5, 6]


def test_each_property_and_each_twin_has_its_own(place):
    place.define(2, name="pump")
    place.add([1])
    place.add([2], name="raw")
    place.add([3], twin=2)
    place.tend()
    assert [one.value for one in place.kept()] == [1]
    assert [one.value for one in place.kept(name="raw")] == [2]
    assert [one.value for one in place.kept(device="pump")] == [3]
    assert place.page(name="off").readings == place.page(name="nosuch").readings == ()


# -- the limits --------------------------------------------------------------------------------------------------------


def test_over_the_bytes_the_oldest_go_and_a_gap_says_how_many(place):
    place.add([n * 1.37 for n in range(20_000)])
    place.tend(Limits(30_000, 2**50, 0))
    assert place.used_bytes() <= 30_000
    kept = place.kept()
    assert kept == place.accepted[-len(kept) :]
    gap = place.gaps()[Why.SPACE]
    assert (gap.first, gap.readings) == (0, 20_000 - len(kept))
    assert gap.last < kept[0].at


def test_readings_that_keep_coming_do_not_put_the_limits_off(place):
    for turn in range(100):
        place.add([n * 1.37 for n in range(100)], at=100_000 * turn)
        place.history.tend(Limits(1_000, 2**50, 0), now_ms=None, free_bytes=PLENTY, flush=True)
    assert place.gaps()[Why.SPACE].readings > 1_000


def test_thinning_keeps_the_whole_time_in_view_and_counts_what_went(make_place):
    place = make_place()
    place.define(drop=Drop.THIN)
    place.add([n * 1.37 % 100 for n in range(20_000)])
    place.tend()
    limits = Limits(place.used_bytes() // 3, 2**50, 0)
    place.tend(limits)
    kept = place.kept()
    assert place.used_bytes() <= limits.max_bytes
    assert set(place.gaps()) == {Why.THIN}
    assert len(kept) + place.lost() == 20_000
    assert (kept[0], kept[-1]) == (place.accepted[0], place.accepted[-1])
    assert max(one.value for one in kept) == max(one.value for one in place.accepted)


def test_what_was_thinned_often_enough_goes(make_place):
    place = make_place()
    place.define(drop=Drop.THIN)
    place.add(range(5000))
    place.tend(Limits(0, 2**50, 0))
    assert place.kept() == []
    assert set(place.gaps()) == {Why.THIN, Why.SPACE}
    assert place.lost() == 5000


def test_readings_over_their_age_go_whole_spans_and_parts_of_them(place):
    place.add(range(1000))
    place.tend()
    place.tend(Limits(2**40, 300_000, 0), now_ms=1_000_000)
    assert [one.value for one in place.kept()] == list(range(700, 1000))
    gap = place.gaps()[Why.AGE]
    assert (gap.first, gap.last, gap.readings) == (0, 699_000, 700)


def test_a_property_may_have_an_age_of_its_own_and_a_new_one_counts_at_once(place):
    place.define(2, name="pump", max_age_ms=100_000)
    for twin in (1, 2):
        place.add(range(1000), twin=twin)
    place.tend(Limits(2**40, 500_000, 0), now_ms=1_000_000)
    assert (len(place.kept()), len(place.kept(device="pump"))) == (500, 100)
    place.define(2, name="pump", max_age_ms=50_000)
    place.tend(Limits(2**40, 500_000, 0), now_ms=1_000_000)
    assert len(place.kept(device="pump")) == 50


def test_a_clock_at_1970_drops_nothing(place):
    place.add(range(10), at=1_700_000_000_000)
    place.tend(Limits(2**40, 1000, 0), now_ms=5)
    assert len(place.kept()) == 10


def test_on_a_disk_that_runs_full_history_gives_way(place):
    place.add([n * 1.37 for n in range(20_000)])
    place.tend()
    before = place.used_bytes()
    ((in_file,),) = place.rows("SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size")
    limits = Limits(2**40, 2**50, 100_000_000)
    place.tend(limits, free_bytes=100_000_000 - in_file)
    assert place.used_bytes() == before
    place.tend(limits, free_bytes=100_000_000 - in_file - before // 2)
    assert place.used_bytes() <= before // 2
    assert len(place.kept()) + place.lost() == 20_000


FILES = itertools.count(1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(
    drop=st.sampled_from(Drop),
    steps=st.lists(
        st.tuples(st.integers(0, 900), st.integers(0, 2000), st.sampled_from([0, 2_000, 20_000, 2**40]), st.booleans()),
        min_size=1,
        max_size=8,
    ),
)
def test_each_accepted_reading_is_kept_or_counted_once_and_the_bytes_hold(make_place, drop, steps):
    place = make_place(f"{next(FILES)}.db")
    place.define(drop=drop)
    for number, (count, at, most, aged) in enumerate(steps):
        place.add([number * 1.5 + n * 0.25 for n in range(count)], at=at * 1000)
        place.tend(Limits(most, 500_000, 0), now_ms=2_000_000 if aged else None)
        kept = place.kept()
        assert place.used_bytes() <= most
        assert len(place.accepted) == len(kept) + place.lost()
        assert kept == sorted(kept, key=lambda one: (one.at, one.tick))
        assert len({one.tick for one in kept}) == len(kept)
        if aged:
            assert all(one.at >= 2_000_000 - 500_000 * 17 // 16 for one in kept)
        for gap in place.page().gaps:
            assert gap.first <= gap.last
    place.close()


# -- the end of a twin -------------------------------------------------------------------------------------------------


def test_a_removed_twin_takes_its_history_along_and_none_comes_back(place):
    place.add(range(6000))
    place.tend(Limits(5_000, 2**50, 0))
    place.add([1, 2])
    place.store.write(Batch(dropped={1}))
    assert place.page().readings == ()
    place.define(1)  # the number is given again after a restart if it was the greatest
    assert place.page() == place.page(name="nosuch")
    place.add([7])
    place.tend()
    assert [one.value for one in place.kept()] == [7]
    assert place.rows("SELECT count(*), sum(count) FROM span") == [(1, 1)]
    assert place.rows("SELECT count(*) FROM series_removed") == [(0,)]


def test_a_new_uid_begins_anew(place):
    place.add(range(10))
    place.store.write(Batch(twins={2: TwinRow(2, spec_of(uid="u2"), 1)}, dropped={1}))
    assert place.page(uid="u2").readings == place.page().readings == ()


def test_a_reading_in_the_commit_that_drops_its_twin_is_gone_too(place):
    reading = KeptReading(1, "level", Slot(1, 5, 0, "m", 5))
    place.store.write(Batch(readings=[reading], dropped={1}))
    assert place.rows("SELECT count(*) FROM reading") == [(0,)]


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_history_that_is_not_open_says_so(tmp_path, clock):
    history = SqliteHistory(tmp_path / "state.db", clock)
    with pytest.raises(StoreError, match="not open"):
        history.tend(WIDE, now_ms=None, free_bytes=0, flush=False)


def flip(place, number=1, byte=20):
    """Flip one bit in the middle of a span's packed readings."""
    ((packed,),) = place.rows(f"SELECT packed FROM span WHERE id = {number}")
    packed = packed[:byte] + bytes([packed[byte] ^ 4]) + packed[byte + 1 :]
    with sqlite3.connect(place.path) as db:
        db.execute("UPDATE span SET packed = ? WHERE id = ?", (packed, number))
    db.close()


def test_a_damaged_span_is_left_out_and_counted_and_the_others_are_read(place):
    place.add(range(1024))
    place.tend()
    flip(place)
    assert place.kept() == place.accepted[512:]
    assert place.gaps() == {Why.DAMAGE: Gap(0, 511_000, 512, Why.DAMAGE)}
    flip(place, 2)
    assert place.gaps() == {Why.DAMAGE: Gap(0, 1_023_000, 1024, Why.DAMAGE)}


def test_a_damaged_span_stops_neither_packing_nor_the_limits(make_place):
    for drop in Drop:
        place = make_place(f"{drop}.db")
        place.define(drop=drop)
        place.add(range(8))
        place.tend()
        flip(place)
        place.add(range(8), at=8_000)  # would join the span
        place.tend()
        assert place.kept() == place.accepted[8:]
        assert place.gaps() == {Why.DAMAGE: Gap(0, 7_000, 8, Why.DAMAGE)}
        flip(place, 2)
        place.tend(Limits(0, 2**50, 0))
        assert place.kept() == []
        assert place.lost() == 16


def test_the_age_takes_a_damaged_span_along(place):
    place.add(range(100))
    place.tend()
    flip(place)
    place.tend(Limits(2**50, 100_000, 0), now_ms=150_000)
    assert place.rows("SELECT count(*) FROM span") == [(0,)]
    assert place.gaps() == {Why.DAMAGE: Gap(0, 99_000, 100, Why.DAMAGE)}


@pytest.mark.parametrize("change", ["value = value + 1", "at = at + 1", "quality = 2", "reason = 'stale'", "sum = 1"])
def test_a_damaged_reading_that_is_not_packed_is_left_out_and_counted(place, change):
    place.add([1, 2, 3])
    with sqlite3.connect(place.path) as db:
        db.execute(f"UPDATE reading SET {change} WHERE value = 2")
    db.close()
    for _ in range(2):
        assert place.kept() == [place.accepted[0], place.accepted[2]]
        assert [(gap.readings, gap.why) for gap in place.page().gaps] == [(1, Why.DAMAGE)]
        place.tend()


def test_readings_of_a_release_without_checksums_are_kept(place):
    place.add([1, 2, 3])
    with sqlite3.connect(place.path) as db:
        db.execute("UPDATE reading SET sum = NULL")
    db.close()
    assert place.kept() == place.accepted
    place.tend()
    assert place.kept() == place.accepted


def test_the_newest_time_is_known_from_tail_and_spans(place):
    assert place.history.newest_ms() is None
    place.add([1], at=5)
    place.tend()
    assert place.history.newest_ms() == 5
    place.add([1], at=9)
    assert place.history.newest_ms() == 9
