"""Each fuzz target with its seeds, with parts of them and with any bytes; the long runs are `make fuzz`."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import targets

pytestmark = pytest.mark.fast
NAMES = list(targets(None))


@pytest.fixture
def target(request, tmp_path):
    return targets(tmp_path)[request.param]


@pytest.mark.parametrize("target", NAMES, indirect=True)
def test_there_are_seeds_and_the_target_takes_them(target):
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        target.run(seed)


@pytest.mark.parametrize("target", NAMES, indirect=True)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_a_target_takes_any_bytes(target, given_bytes):
    target.run(given_bytes)


@pytest.mark.parametrize("target", NAMES, indirect=True)
def test_a_target_takes_seeds_with_bytes_changed_cut_and_doubled(target):
    rng = random.Random(7)
    seeds = sorted(target.seeds(), key=len)
    for _ in range(100):
        seed = bytearray(rng.choice(seeds[: 1 + len(seeds) // 2]))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(seed) or 1)
            seed[at : at + rng.randrange(3)] = rng.choice([b"", b"\0", b"\xff", b'"', b"{", bytes(seed[at : at + 9])])
        target.run(bytes(seed))
