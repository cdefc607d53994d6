"""What is sent and not known to be stored."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.sdk.inflight import WINDOW, InFlight
from mappers.sdk.report import Changes

pytestmark = pytest.mark.fast


def test_an_ack_ends_the_wait() -> None:
    one = InFlight(Random(1))
    one.sent(1, Changes({"p": 1}), 0.0)
    assert 2.0 <= one.due_at <= 2.5
    one.acked(1, 0.1)
    assert one.due_at == float("inf")
    assert one.reclaim() == (set(), [])


def test_waits_double_while_nobody_answers_and_start_anew_after_an_ack() -> None:
    one, now_s, waits = InFlight(Random(1)), 0.0, []
    for number in range(6):
        one.sent(number, Changes({"p": number}), now_s)
        waits.append(int((one.due_at - now_s) / 1.25 + 0.5))
        now_s = one.due_at
        one.reclaim()
    assert waits == sorted(waits)
    assert waits[-1] <= 16
    one.sent(9, Changes({"p": 9}), now_s)
    one.acked(9, now_s)
    one.sent(10, Changes({"p": 9}), now_s)
    assert one.due_at - now_s <= 2.5


def test_the_first_ack_after_a_silence_calls_for_the_rest_at_once() -> None:
    one = InFlight(Random(1))
    one.sent(1, Changes({"p": 1}), 0.0)
    one.reclaim()
    one.sent(2, Changes({"p": 1}), 3.0)
    one.sent(3, Changes({"q": 1}), 3.1)
    one.acked(3, 3.2)
    assert one.due_at == 3.2


def test_a_stream_of_reports_after_a_silence_is_called_for_once() -> None:
    one = InFlight(Random(1))
    one.sent(0, Changes({"p": 0}), 0.0)
    one.reclaim()  # nobody answered
    called_for = 0
    for number in range(1, 50):  # each ack finds the next report on its way
        now_s = 3.0 + number / 100
        one.sent(number + 1, Changes({"p": number}), now_s)
        one.acked(number, now_s)
        if one.due_at <= now_s:
            called_for += 1
            one.reclaim()
    assert called_for == 1


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=80))
def test_nothing_unacknowledged_is_forgotten(steps) -> None:
    """A property whose newest report was not acknowledged is always among those to be sent again."""
    one, newest = InFlight(Random(1)), {}
    for number, (name, acked) in enumerate(steps):
        one.sent(number, Changes({name: number}), float(number))
        newest[name] = acked
        if acked:
            one.acked(number, float(number))
    names, ids = one.reclaim()
    assert {name for name, acked in newest.items() if not acked} <= names
    assert len(ids) <= WINDOW
