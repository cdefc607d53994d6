"""Which desired values are written."""

from random import Random

import pytest

from mappers.sdk.convert import Scaling
from mappers.sdk.writeback import Writeback, agrees, objection
from twin.model import Access, PropertySpec, ValueType
from twin.validate import Rule
from twin.wire.messages import Delta, DesiredValue

pytestmark = pytest.mark.fast


def delta(tick: int = 1, **desired: object) -> Delta:
    return Delta(version=tick, desired={name: DesiredValue(value=v, tick=tick) for name, v in desired.items()})


def test_a_newer_delta_replaces_what_was_to_be_written() -> None:
    one = Writeback(Random(1))
    one.follow(delta(1, p=1, q=2), 0.0)
    (old, _) = one.due(0.0)
    one.follow(delta(2, p=3), 0.0)
    assert [(wish.name, wish.value) for wish in one.due(0.0)] == [("p", 3)]
    assert not one.stands(old)


def test_a_refused_wish_waits_and_keeps_its_wait_when_the_delta_is_repeated() -> None:
    one = Writeback(Random(1))
    one.follow(delta(1, p=1), 0.0)
    (wish,) = one.due(0.0)
    one.refuse(wish, 0.0)
    assert one.refused() == ["p"]
    assert one.follow(delta(1, p=1), 0.1) == []
    assert one.due(0.5) == []
    assert 1.0 <= one.next_at() <= 60.0
    assert one.follow(delta(2, p=1), 0.2) == ["p"], "a new tick is a new order"
    assert one.due(0.2)


def test_waits_stay_between_one_and_sixty_seconds() -> None:
    one = Writeback(Random(1))
    one.follow(delta(1, p=1), 0.0)
    now_s = 0.0
    for _ in range(50):
        (wish,) = one.due(now_s)
        one.refuse(wish, now_s)
        assert 1.0 <= one.next_at() - now_s <= 60.001
        now_s = one.next_at()


def test_what_breaks_the_model_is_not_tried_again() -> None:
    one = Writeback(Random(1))
    one.follow(delta(1, p=1), 0.0)
    one.refuse(one.due(0.0)[0], 0.0, for_good=True)
    assert one.due(1e9) == []


def test_a_written_wish_is_due_again_when_the_delta_still_has_it() -> None:
    one = Writeback(Random(1))
    one.follow(delta(1, p=1), 0.0)
    one.wrote(one.due(0.0)[0])
    assert one.due(1e9) == []
    one.follow(delta(1, p=1), 5.0)
    assert one.due(5.0)


@pytest.mark.parametrize(
    ("value", "access", "text"),
    [(5, Access.READ_WRITE, ""), (5, Access.READ_ONLY, "p is read-only"), (11, Access.READ_WRITE, "limit")],
)
def test_objection(value, access, text) -> None:
    spec = PropertySpec("p", ValueType.INT, access, maximum=10)
    found = objection(spec, Rule(spec), value)
    assert (text in found) if text else found == ""


@pytest.mark.parametrize(
    ("desired", "read", "tolerance", "scale", "same"),
    [
        (5, 5, 0, 1.0, True),
        (5, 6, 0, 1.0, False),
        (5, 6, 1, 1.0, True),
        (21.3, 21.299999237060547, 0, 1.0, True),
        (21.37, 21.4, 0, 0.1, True),
        (21.3, 21.4, 0, 0.1, False),
        (True, True, 0, 1.0, True),
        (True, 1, 0, 1.0, False),
        ("on", "on", 0, 1.0, True),
        ("on", 1, 0, 1.0, False),
    ],
)
def test_agreement_allows_for_tolerance_and_resolution(desired, read, tolerance, scale, same) -> None:
    assert agrees(desired, read, tolerance, Scaling(ValueType.DOUBLE, scale).step) is same
