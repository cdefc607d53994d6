"""Repetitions: bounded by the requests under way, and spread in time."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.model.policies import ConnectionPool, Policy, RetryBudget
from mesh.retry import MOST, Retries, backoff_s

pytestmark = pytest.mark.fast


def policy(percent=20.0, min_concurrency=3, max_retries=0):
    return Policy(retry_budget=RetryBudget(percent, min_concurrency), pool=ConnectionPool(max_retries=max_retries))


@given(st.integers(1, 40), st.integers(1, 1_000), st.integers())
def test_the_wait_is_anything_up_to_a_bound_that_doubles(attempt, base_ms, seed):
    wait = backoff_s(base_ms, attempt, Random(seed))
    assert 0 <= wait <= min(2**attempt - 1, MOST) * base_ms / 1000


def test_waits_are_spread_over_the_whole_of_it():
    rng = Random(3)
    waits = [backoff_s(100, 2, rng) for _ in range(500)]
    assert min(waits) < 0.03
    assert max(waits) > 0.27


@given(st.floats(0, 100), st.integers(0, 10), st.integers(0, 10), st.integers(0, 300))
def test_as_many_at_once_as_the_budget_says(percent, least, most, requests):
    retries, rule = Retries(), policy(percent, least, most)
    taken = sum(retries.take(rule, requests) for _ in range(320))
    assert taken == retries.active == int(max(least, most, requests * percent / 100))
    assert retries.refused == 320 - taken


def test_what_ended_makes_room():
    retries, rule = Retries(), policy(0, 1)
    assert retries.take(rule, 10)
    assert not retries.take(rule, 10)
    retries.give_back()
    assert retries.take(rule, 10)
