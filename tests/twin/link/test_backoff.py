import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.link.backoff import Backoff

pytestmark = pytest.mark.fast


class Highest(random.Random):
    def uniform(self, a, b):
        return b


def test_the_ceiling_doubles_to_the_cap_and_starts_again():
    backoff = Backoff(0.5, 3.0, Highest())
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


@given(seed=st.integers(), steps=st.integers(1, 2000))
def test_a_wait_is_never_over_the_cap(seed, steps):
    backoff = Backoff(0.1, 30.0, random.Random(seed))
    assert all(0.0 <= backoff.next_s() <= 30.0 for _ in range(steps))
