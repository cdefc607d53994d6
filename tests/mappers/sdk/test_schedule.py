"""When a poll class is due."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.sdk.schedule import Schedule

pytestmark = pytest.mark.fast


def drained(schedule: Schedule[str], now_s: float) -> list[str]:
    keys = []
    while (key := schedule.pop(now_s)) is not None:
        keys.append(key)
    return keys


def test_classes_come_at_their_own_pace() -> None:
    one: Schedule[str] = Schedule()
    one.add("fast", 100, 0.0)
    one.add("slow", 250, 0.0)
    assert drained(one, 0.0) == ["fast", "slow"]
    assert one.next_at() == pytest.approx(0.1)
    assert drained(one, 0.1) == ["fast"]
    assert drained(one, 0.25) == ["fast", "slow"]


def test_missed_slots_are_skipped_and_counted() -> None:
    one: Schedule[str] = Schedule()
    one.add("a", 1000, 0.0)
    assert drained(one, 0.0) == ["a"]
    assert drained(one, 3.5) == ["a"]
    assert one.overruns == 2
    assert one.next_at() == 4.0


def test_hastening_keeps_the_phase() -> None:
    one: Schedule[str] = Schedule()
    one.add("a", 1000, 0.0)
    one.pop(0.0)
    one.hasten("a", 0.4)
    assert drained(one, 0.4) == ["a"]
    assert one.next_at() == 1.0
    assert one.overruns == 0


def test_a_removed_class_is_never_due() -> None:
    one: Schedule[str] = Schedule()
    one.add("a", 1000, 0.0)
    one.remove("a")
    assert one.pop(5.0) is None
    assert one.next_at() == float("inf")


@given(
    cycle_ms=st.integers(1, 5000),
    start=st.floats(0, 1e6),
    delays=st.lists(st.floats(0, 20), max_size=50),
)
def test_no_drift_no_burst_no_lost_slot(cycle_ms, start, delays) -> None:
    one: Schedule[str] = Schedule()
    one.add("a", cycle_ms, start)
    now_s = start
    for served, delay in enumerate(delays, start=1):
        now_s = max(now_s, one.next_at()) + delay
        assert one.pop(now_s) == "a"
        assert one.pop(now_s) is None
        slots = (one.next_at() - start) * 1000 / cycle_ms
        assert slots == pytest.approx(round(slots), abs=1e-3)
        assert served + one.overruns == round(slots)
