"""Digital inputs: levels, bounces, edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.serialgpio.contact import Contact, Edge

pytestmark = pytest.mark.fast


def test_a_level_is_the_value_from_the_first_on():
    contact = Contact()
    assert not contact.known
    assert contact.take(True, 0.0)
    assert (contact.known, contact.value) == (True, True)
    assert not contact.take(True, 1.0)
    assert contact.take(False, 2.0)
    assert contact.value is False


def test_active_low_turns_it_over():
    contact = Contact(active_low=True)
    contact.take(True, 0.0)
    assert contact.value is False


def test_a_bounce_is_no_change():
    contact = Contact(debounce_s=0.02)
    contact.take(False, 0.0)
    assert not contact.take(True, 1.0)
    assert contact.due_s == 1.02
    assert not contact.take(False, 1.01)
    assert contact.due_s is None
    assert not contact.take(True, 1.015)
    assert not contact.settle(1.034)
    assert contact.settle(1.036)
    assert contact.value is True


@pytest.mark.parametrize(("edge", "count"), [(Edge.RISING, 2), (Edge.FALLING, 1), (Edge.BOTH, 3)])
def test_edges_are_counted(edge, count):
    contact = Contact(edge=edge)
    told = [contact.take(level, at) for at, level in enumerate((False, True, True, False, True))]
    assert contact.value == count
    assert sum(told) == count + 1  # the first level is told, and is no edge
    contact.forget()
    contact.take(False, 9.0)
    assert contact.value == count


@pytest.mark.parametrize("edge", Edge)
@pytest.mark.parametrize("active_low", [False, True])
@given(first=st.booleans(), edges=st.integers(1, 9))
def test_edges_that_nobody_saw_are_counted_as_if_they_were_seen(edge, active_low, first, edges):
    seen, missed = Contact(edge=edge, active_low=active_low), Contact(edge=edge, active_low=active_low)
    levels = [first ^ bool(at & 1) for at in range(edges + 2)]
    for at, level in enumerate(levels):
        seen.take(level, at)
    missed.take(levels[0], 0.0)
    missed.missed(edges, levels[-2])
    missed.take(levels[-1], 1.0)
    assert missed.value == seen.value


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 0.1)), max_size=40),
    st.sampled_from([0.0, 0.05]),
    st.booleans(),
)
def test_after_silence_the_value_is_the_last_level(levels, debounce_s, active_low):
    contact, at = Contact(active_low=active_low, debounce_s=debounce_s), 0.0
    changes, last = 0, None
    for level, after_s in levels:
        at += after_s
        contact.take(level, at)
        if last is not None and contact.value is not last:
            changes += 1
        last = contact.value
    contact.settle(at + 1.0)
    if levels:
        assert contact.value is (levels[-1][0] is not active_low)
    assert contact.due_s is None
