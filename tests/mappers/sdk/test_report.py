"""What of a cycle is sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.sdk.convert import bad
from mappers.sdk.report import Changes, Reporter
from twin.model import PropertySpec, Reason, ReportPolicy, ValueType

pytestmark = pytest.mark.fast

LOST = bad(Reason.NOT_CONNECTED)


def reporter(minimum: float | None = None, maximum: float | None = None, **policy: float) -> Reporter:
    spec = PropertySpec("p", ValueType.FLOAT, minimum=minimum, maximum=maximum, report=ReportPolicy(**policy))
    return Reporter([spec, PropertySpec("q", ValueType.FLOAT)])


@pytest.mark.parametrize(
    ("policy", "cycles", "sent"),
    [
        ({}, [1, 1, 2, 2], [1, 2]),
        ({"always": True}, [1, 1, 2], [1, 1, 2]),
        ({"deadband": 1.0}, [5, 6, 6.5, 5.5, 7.6], [5, 6.5, 7.6]),
        ({"deadband_percent": 10.0, "minimum": 0, "maximum": 50}, [5, 10, 10.5, 6], [5, 10.5]),
        ({"deadband_percent": 10.0}, [5, 5.1], [5, 5.1]),
        ({"max_interval_ms": 3000}, [1, 1, 1, 1, 1, 1, 1], [1, 1, 1]),
        ({"min_interval_ms": 2500}, [1, 2, 3, 4, 5, 6], [1, 4]),
    ],
)
def test_policy(policy, cycles, sent) -> None:
    one = reporter(**policy)
    seen = [one.changes({"p": value}, {}, float(now)).values for now, value in enumerate(cycles)]
    assert [value["p"] for value in seen if value] == sent


def test_a_held_change_goes_with_its_newest_value_when_the_interval_is_over() -> None:
    one = reporter(min_interval_ms=1000)
    one.changes({"p": 1}, {}, 0.0)
    assert not one.changes({"p": 2}, {}, 0.2)
    assert not one.changes({"p": 3}, {}, 0.4)
    assert one.next_at() == 1.0
    assert not one.released(0.9)
    assert one.released(1.0) == Changes({"p": 3})
    assert one.next_at() == float("inf")


def test_a_held_change_that_came_back_is_not_sent() -> None:
    one = reporter(min_interval_ms=1000)
    one.changes({"p": 1}, {}, 0.0)
    one.changes({"p": 2}, {}, 0.2)
    assert not one.changes({"p": 1}, {}, 0.4)
    assert not one.released(2.0)


@pytest.mark.parametrize("policy", [{}, {"deadband": 100.0, "min_interval_ms": 10_000}])
def test_a_change_of_quality_is_always_sent_and_once(policy) -> None:
    one = reporter(**policy)
    assert one.changes({}, {"p": LOST}, 0.0) == Changes(marks={"p": LOST})
    assert not one.changes({}, {"p": LOST}, 0.1)
    assert one.changes({"p": 1}, {}, 0.2) == Changes({"p": 1})
    assert one.changes({}, {"p": LOST}, 0.3) == Changes(marks={"p": LOST})
    assert one.changes({"p": 1}, {}, 0.4) == Changes({"p": 1}), "the first value after a loss, though the same"
    assert not one.changes({"p": 1}, {}, 0.5)


def test_a_marked_property_keeps_its_mark_while_its_value_changes() -> None:
    one = reporter()
    mark = bad(Reason.WRITE_REFUSED)
    assert one.changes({"p": 1}, {"p": mark}, 0.0) == Changes({"p": 1}, {"p": mark})
    assert not one.changes({"p": 1}, {"p": mark}, 0.1)
    assert one.changes({"p": 2}, {"p": mark}, 0.2) == Changes({"p": 2}, {"p": mark})
    assert one.changes({"q": 1}, {}, 0.3) == Changes({"q": 1}), "what was not read stays as it is"
    assert one.changes({"p": 2}, {}, 0.4) == Changes({"p": 2})


def test_a_held_change_dies_with_the_connection() -> None:
    one = reporter(min_interval_ms=1000)
    one.changes({"p": 1}, {}, 0.0)
    one.changes({"p": 2}, {}, 0.1)
    one.changes({}, {"p": LOST}, 0.2)
    assert not one.released(5.0), "a value alone would say that it is good"


def test_repeat_gives_the_newest_of_each() -> None:
    one = reporter()
    one.changes({"p": 1, "q": 1}, {}, 0.0)
    one.changes({"p": 2}, {"q": LOST}, 0.1)
    assert one.repeat(["p"]) == Changes({"p": 2})
    assert one.repeat() == Changes({"p": 2, "q": 1}, {"q": LOST})


@given(
    st.lists(st.dictionaries(st.sampled_from("pq"), st.one_of(st.none(), st.integers(0, 3)), min_size=1), max_size=30)
)
def test_a_reader_of_the_reports_knows_every_value_and_quality(cycles) -> None:
    one, known, truth = reporter(), {}, {}
    for now, cycle in enumerate(cycles):
        values = {name: value for name, value in cycle.items() if value is not None}
        marks = {name: LOST for name, value in cycle.items() if value is None}
        changes = one.changes(values, marks, float(now))
        truth |= {name: (True, value) for name, value in values.items()} | dict.fromkeys(marks, (False, None))
        known |= {name: (True, value) for name, value in changes.values.items()}
        known |= dict.fromkeys(changes.marks, (False, None))
        assert known == truth


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(), min_size=2))
def test_halves_are_the_whole(values) -> None:
    whole = Changes(values, {"a": LOST})
    first, second = whole.halves()
    assert first.values | second.values == values
    assert first.marks | second.marks == whole.marks
    assert not first.names() & second.names()
    assert first
    assert second
