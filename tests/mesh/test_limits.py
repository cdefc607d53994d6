"""Token buckets: exactly so much is let through, whatever the bursts; and the keys are bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.limits import Limiter
from mesh.model.policies import KeyKind, KeyOf, RateLimit, TokenBucket

pytestmark = pytest.mark.fast

BUCKETS = st.builds(TokenBucket, st.integers(1, 20), st.integers(1, 5), st.integers(1, 2_000))


def limit(max_tokens=3, tokens_per_fill=1, fill_interval_ms=1_000, **more):
    return Limiter(RateLimit(TokenBucket(max_tokens, tokens_per_fill, fill_interval_ms), **more))


@given(BUCKETS, st.lists(st.integers(0, 3_000), max_size=150))
def test_what_passes_is_what_the_bucket_says(bucket, gaps_ms):
    limiter, tokens, fills, now_ms = Limiter(RateLimit(bucket)), bucket.max_tokens, 0, 0
    for gap_ms in [0, *gaps_ms]:
        now_ms += gap_ms
        while fills < now_ms // bucket.fill_interval_ms:
            fills += 1
            tokens = min(bucket.max_tokens, tokens + bucket.tokens_per_fill)
        passes = tokens > 0
        tokens -= passes
        assert limiter.admit(now_ms / 1000) is passes


@given(BUCKETS, st.integers(1, 50))
def test_a_burst_takes_the_bucket_and_no_more(bucket, seconds):
    limiter = Limiter(RateLimit(bucket))
    limiter.admit(0.0)
    passed = sum(limiter.admit(float(seconds)) for _ in range(bucket.max_tokens + 10))
    refilled = seconds * 1000 // bucket.fill_interval_ms * bucket.tokens_per_fill
    assert passed == min(bucket.max_tokens, bucket.max_tokens - 1 + refilled)
    assert limiter.refused == bucket.max_tokens + 10 - passed


def test_a_clock_that_goes_back_adds_nothing():
    limiter = limit(2)
    assert [limiter.admit(now) for now in (10.0, 10.0, 9.0, 0.0, 10.5)] == [True, True, False, False, False]
    assert limiter.admit(11.0)


def test_a_clock_that_goes_back_takes_nothing():
    limiter = limit(3)
    assert [limiter.admit(now) for now in (10.0, 5.0, 2.0, 2.0)] == [True, True, True, False]


def test_each_key_has_its_own_bucket():
    limiter = limit(1, per=KeyOf(KeyKind.SOURCE))
    assert limiter.admit(0.0, "a")
    assert limiter.admit(0.0, "b")
    assert not limiter.admit(0.0, "a")


def test_keys_are_bounded_and_the_longest_silent_is_forgotten():
    limiter = limit(1, per=KeyOf(KeyKind.SOURCE), max_keys=3)
    assert [limiter.admit(0.0, key) for key in "abcab"] == [True, True, True, False, False]
    assert limiter.admit(0.0, "d")  # c goes
    assert len(limiter) == 3
    assert not limiter.admit(0.0, "a")
    assert not limiter.admit(0.0, "b")
    assert limiter.admit(0.0, "c")


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 10))
def test_never_more_keys_than_said(keys, most):
    limiter = limit(1, max_keys=most)
    for now, key in enumerate(keys):
        limiter.admit(float(now), key)
        assert len(limiter) <= most


def test_it_says_how_long_to_wait():
    limiter = limit(1, fill_interval_ms=500)
    assert limiter.wait_s(1.0) == 0.0
    limiter.admit(1.0)
    assert not limiter.admit(1.2)
    assert limiter.wait_s(1.2) == pytest.approx(0.3)
    assert limiter.admit(1.2 + limiter.wait_s(1.2) + 1e-9)
