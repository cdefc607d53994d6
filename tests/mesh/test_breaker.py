"""When a service is spared, and when it is asked again."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.breaker import Breaker, BreakerState
from mesh.model.policies import CircuitBreaker

pytestmark = pytest.mark.fast

RULE = CircuitBreaker(error_percent=50, min_requests=10, interval_ms=1_000, open_ms=2_000, trials=3)


def sent(breaker, now_s, failed, times=1):
    for _ in range(times):
        assert breaker.admits(now_s)
        breaker.began()
        breaker.ended(now_s, failed=failed)


def opened(at_s=5.0):
    breaker = Breaker(RULE)
    sent(breaker, at_s, True, 10)
    assert breaker.state is BreakerState.OPEN
    return breaker


@given(st.lists(st.booleans(), max_size=60))
def test_it_opens_exactly_when_enough_of_enough_have_failed(failures):
    breaker = Breaker(RULE)
    for count, failed in enumerate(failures, 1):
        sent(breaker, 5.0, failed)
        errors = sum(failures[:count])
        if failed and count >= 10 and errors * 2 >= count:
            assert breaker.state is BreakerState.OPEN
            return
        assert breaker.state is BreakerState.CLOSED


def test_what_is_older_than_the_interval_does_not_count():
    breaker = Breaker(RULE)
    sent(breaker, 5.0, True, 9)
    sent(breaker, 6.0, True, 9)
    assert breaker.state is BreakerState.CLOSED
    sent(breaker, 6.9, True)
    assert breaker.state is BreakerState.OPEN


def test_good_answers_of_the_interval_count_as_much():
    breaker = Breaker(RULE)
    sent(breaker, 5.0, False, 11)
    sent(breaker, 5.5, True, 10)
    assert breaker.state is BreakerState.CLOSED
    sent(breaker, 5.6, True)
    assert breaker.state is BreakerState.OPEN
    assert breaker.opened == 1


def test_nothing_is_sent_while_it_is_open():
    breaker = opened(5.0)
    assert not breaker.admits(6.99)
    assert breaker.admits(7.0)
    assert breaker.state is BreakerState.HALF_OPEN


def test_half_open_lets_so_many_trials_through():
    breaker = opened(5.0)
    for _ in range(3):
        assert breaker.admits(7.0)
        breaker.began()
    assert not breaker.admits(7.0)


def test_it_closes_when_all_trials_are_answered():
    breaker = opened(5.0)
    sent(breaker, 7.0, False, 2)
    assert breaker.state is BreakerState.HALF_OPEN
    sent(breaker, 7.0, False)
    assert breaker.state is BreakerState.CLOSED


def test_what_failed_before_it_closed_is_forgotten():
    breaker = Breaker(replace(RULE, interval_ms=60_000))
    sent(breaker, 500.0, True, 10)
    sent(breaker, 502.0, False, 3)
    sent(breaker, 502.0, True, 9)
    assert breaker.state is BreakerState.CLOSED
    sent(breaker, 502.0, True)
    assert breaker.state is BreakerState.OPEN


def test_one_failed_trial_opens_it_again():
    breaker = opened(5.0)
    sent(breaker, 7.0, False, 2)
    sent(breaker, 7.1, True)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.admits(9.0)
    assert breaker.admits(9.1)


def test_trials_that_never_end_do_not_keep_it_half_open():
    breaker = opened(5.0)
    for _ in range(3):
        assert breaker.admits(7.0)
        breaker.began()
    assert not breaker.admits(8.9)
    assert breaker.admits(9.0)


def test_what_was_sent_before_it_opened_says_nothing_while_it_is_open():
    breaker = opened(5.0)
    breaker.ended(5.5, failed=False)
    breaker.ended(5.5, failed=True)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admits(7.0)


def test_another_rule_keeps_what_is_known():
    breaker = opened(5.0)
    breaker.rule = CircuitBreaker(open_ms=4_000)
    assert not breaker.admits(8.9)
    assert breaker.admits(9.0)


def test_another_interval_counts_anew():
    breaker = Breaker(RULE)
    sent(breaker, 500.0, True, 9)
    breaker.rule = CircuitBreaker(error_percent=50, min_requests=10, interval_ms=60_000)
    sent(breaker, 500.0, True, 9)
    assert breaker.state is BreakerState.CLOSED


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=200))
def test_whatever_happens_it_admits_again_after_its_time(steps):
    breaker, now = Breaker(RULE), 0.0
    for step, failed in steps:
        now += step
        if breaker.admits(now):
            breaker.began()
            breaker.ended(now, failed=failed)
    assert breaker.admits(now + RULE.open_ms / 1000)
