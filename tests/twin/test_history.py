"""What thinning keeps, what the limits allow, when a clock is believed, and that packing loses nothing."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.history import HOLD_S, AgeClock, Limits, Reading, allowed_bytes, merged, thinned, worth_thinning
from twin.history_pack import pack, unpack
from twin.model import Quality, Reason

pytestmark = pytest.mark.fast

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.lists(st.integers() | st.text(), max_size=2)
)
MARKS = st.sampled_from([(Quality.GOOD, Reason.NONE)] * 8 + [(Quality.BAD, Reason.TIMEOUT), (Quality.BAD, Reason.NONE)])
DAY_MS = 86_400_000


@st.composite
def runs(draw, values=VALUES, min_size=1):
    made = draw(st.lists(st.tuples(st.integers(0, 2**53), values, MARKS), min_size=min_size, max_size=40))
    return sorted(Reading(at, tick, value, *mark) for tick, (at, value, mark) in enumerate(made))


# -- packing -----------------------------------------------------------------------------------------------------------


@given(runs())
def test_what_is_packed_comes_back_with_its_types(readings):
    assert repr(unpack(pack(readings))) == repr(readings)


@pytest.mark.parametrize("packed", [b"", b"{}", b"x\x9cnothing"])
def test_bytes_that_are_not_packed_readings_are_a_value_error(packed):
    with pytest.raises(ValueError, match="do not unpack"):
        unpack(packed)


def test_a_reading_of_a_plain_series_takes_few_bytes():
    readings = [Reading(10**12 + 500 * n, 10**15 + 500_137 * n, round(20 + n * 0.01, 2)) for n in range(512)]
    assert len(pack(readings)) / len(readings) < 6


# -- thinning ----------------------------------------------------------------------------------------------------------


@given(runs())
def test_thinning_keeps_the_ends_and_the_order_and_makes_nothing_up(readings):
    kept = thinned(readings)
    assert (kept[0], kept[-1]) == (readings[0], readings[-1])
    assert kept == sorted(kept, key=lambda one: (one.at, one.tick))
    assert set(map(id, kept)) <= set(map(id, readings))


@given(runs(values=st.integers() | st.floats(allow_nan=False)))
def test_thinning_keeps_the_least_and_the_greatest_number(readings):
    kept = [one.value for one in thinned(readings)]
    assert min(kept) == min(one.value for one in readings)
    assert max(kept) == max(one.value for one in readings)


@given(runs())
def test_thinning_keeps_each_change_of_quality(readings):
    kept = thinned(readings)
    for before, one in pairwise(readings):
        if (before.quality, before.reason) != (one.quality, one.reason):
            assert any(one is other for other in kept)


@given(runs(min_size=20))
def test_thinning_leaves_half_and_the_ends_and_the_changes_of_quality(readings):
    changes = sum(a[3:] != b[3:] for a, b in pairwise(readings))
    assert len(thinned(readings)) <= -(-len(readings) // 4) * 2 + 2 + changes


def test_of_four_neighbours_the_least_and_the_greatest_stay():
    readings = [Reading(at, at, value) for at, value in enumerate([5, 1, 9, 4, 7, 7, 8, 6, 3])]
    assert [one.value for one in thinned(readings)] == [5, 1, 9, 8, 6, 3]


def test_nothing_is_left_of_nothing():
    assert thinned([]) == []


def test_thinning_is_worth_it_from_a_quarter():
    assert worth_thinning(100, 75)
    assert not worth_thinning(100, 76)


# -- merging -----------------------------------------------------------------------------------------------------------


@given(st.lists(runs(), max_size=5))
def test_runs_that_overlap_come_in_one_order(parts):
    parts.sort(key=lambda run: run[0].at)
    every = sorted((one.at, one.tick) for run in parts for one in run)
    assert [(one.at, one.tick) for one in merged((run[0].at, distinct(run, n)) for n, run in enumerate(parts))] == [
        (at, tick) for at, tick in sorted((one.at, one.tick) for n, run in enumerate(parts) for one in distinct(run, n))
    ]
    assert len(every) == sum(map(len, parts))


def distinct(run, number):
    """Ticks are never given twice."""
    return [one._replace(tick=one.tick + number * 1000) for one in run]


# -- limits ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**30))
def test_history_gives_way_on_a_disk_that_runs_full_and_never_goes_over_its_limit(most, used, free, reserve):
    allowed = allowed_bytes(Limits(most, 1, reserve), used_bytes=used, free_bytes=free)
    assert 0 <= allowed <= most
    if free >= reserve:
        assert allowed == most
    else:
        assert allowed <= max(0, used - (reserve - free))


# -- the clock ---------------------------------------------------------------------------------------------------------

NOW_MS = 1_700_000_000_000


def test_a_clock_that_goes_on_is_believed():
    clock = AgeClock(NOW_MS - 1000)
    assert clock.now_ms(NOW_MS, 5.0) == NOW_MS
    assert clock.now_ms(NOW_MS + 60_000, 65.0) == NOW_MS + 60_000


def test_a_clock_that_jumps_ten_years_ahead_is_doubted_and_when_it_comes_back_too():
    clock = AgeClock(NOW_MS)
    assert clock.now_ms(NOW_MS, 0.0) == NOW_MS
    ahead = NOW_MS + 3650 * DAY_MS
    assert clock.now_ms(ahead, 1.0) is None
    assert clock.now_ms(ahead + 3_600_000, 3601.0) is None
    assert clock.now_ms(NOW_MS + 3_601_000, 3602.0) is None
    assert clock.now_ms(NOW_MS + 3_601_000 + DAY_MS, 3602.0 + HOLD_S) is not None


def test_a_clock_that_holds_for_a_day_is_believed():
    clock = AgeClock(NOW_MS)
    clock.now_ms(NOW_MS, 0.0)
    ahead = NOW_MS + 3650 * DAY_MS
    assert clock.now_ms(ahead, 1.0) is None
    assert clock.now_ms(ahead + DAY_MS - 1, HOLD_S + 0.9) is None
    assert clock.now_ms(ahead + DAY_MS, HOLD_S + 1.0) == ahead + DAY_MS


@pytest.mark.parametrize(
    ("newest_ms", "believed"), [(None, True), (NOW_MS - DAY_MS, True), (NOW_MS - DAY_MS - 1, False)]
)
def test_at_the_start_a_clock_far_beyond_the_newest_reading_is_doubted(newest_ms, believed):
    assert (AgeClock(newest_ms).now_ms(NOW_MS, 7.0) == NOW_MS) is believed
