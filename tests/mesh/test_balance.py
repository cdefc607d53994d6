"""How the next endpoint is chosen: shares hold, turns are spread, and keys stay where they are."""

from collections import Counter
from itertools import accumulate
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.balance import MOST_TURNS, Ring, Turns, balancer, key_hash, turns
from mesh.model.policies import Balance, LoadBalancer
from mesh.target import Target
from tests.mesh.service import endpoint

pytestmark = pytest.mark.fast

WEIGHTS = st.lists(st.integers(0, 100), min_size=1, max_size=8).filter(any)
KEYS = [key_hash(f"client-{number}") for number in range(20_000)]


def targets(*weights, first=0):
    return [Target(endpoint(first + number, weight=weight)) for number, weight in enumerate(weights)]


def owners(ring):
    return [ring.choose(key).endpoint.place for key in KEYS]


def moved(before, after):
    return sum(one != other for one, other in zip(before, after, strict=True)) / len(before)


@given(WEIGHTS)
def test_a_round_of_turns_holds_the_weights_exactly(weights):
    order = turns(weights)
    counts = Counter(order)
    assert all(counts[place] * sum(weights) == weight * len(order) for place, weight in enumerate(weights))


@given(WEIGHTS)
def test_turns_are_spread_evenly(weights):
    order = turns(weights)
    total = sum(weights)
    for place, weight in enumerate(weights):
        due = 0.0
        for count, had in enumerate(accumulate(order == place for order in order), 1):
            due = count * weight / total
            # Each has its turns at equal distances, so all together are never further off than one turn each.
            assert abs(had - due) <= 1 + sum(1 for one in weights if one) * weight / total


def test_turns_are_not_given_out_in_blocks():
    order = turns([5, 1, 1]) * 2
    assert max(len(run) for run in "".join("x" if place == 0 else " " for place in order).split()) <= 3


@given(st.lists(st.floats(0.01, 1e6), min_size=2, max_size=6))
def test_odd_weights_are_rounded_to_a_bounded_round(weights):
    order = turns(weights)
    assert len(order) <= MOST_TURNS + len(weights)
    counts = Counter(order)
    for place, weight in enumerate(weights):
        assert abs(counts[place] / len(order) - weight / sum(weights)) <= 0.002


def test_a_round_is_as_short_as_it_can_be():
    assert len(turns([100.0] * 1000)) == 1000
    assert len(turns([100, 50, 0])) == 3
    assert len(turns([1_000_000, 999_999, 7])) <= MOST_TURNS + 3


def test_workers_begin_at_places_of_their_own():
    first = {Turns([(place, 1) for place in range(50)], Random(seed)).next() for seed in range(20)}
    assert len(first) > 10


def test_nothing_with_a_weight_has_no_turns():
    assert not Turns([("a", 0), ("b", 0)], Random(1))
    assert not Turns([], Random(1))
    assert Turns([("a", 0), ("b", 2)], Random(1)).next() == "b"


@pytest.mark.parametrize("balance", [Balance.ROUND_ROBIN, Balance.RANDOM, Balance.LEAST_REQUEST])
def test_ten_thousand_requests_hold_the_weights(balance):
    found = targets(1, 2, 3, 14)
    chooser = balancer(LoadBalancer(balance), found, Random(7))
    counts = Counter(chooser.choose(None) for _ in range(10_000))
    for target in found:
        assert abs(counts[target] / 10_000 - target.weight / 20) <= 0.02


def test_the_less_busy_of_two_is_taken():
    busy, idle = found = targets(1, 1)
    busy.active, idle.active = 5, 2
    chooser = balancer(LoadBalancer(Balance.LEAST_REQUEST), found, Random(7))
    assert {chooser.choose(None) for _ in range(50)} == {idle}


def test_of_many_the_busiest_is_never_taken():
    found = targets(*[1] * 6)
    for number, target in enumerate(found):
        target.active = number + 1
    chooser = balancer(LoadBalancer(Balance.LEAST_REQUEST), found, Random(7))
    counts = Counter(chooser.choose(None) for _ in range(2_000))
    assert found[-1] not in counts
    assert counts[found[0]] > counts[found[4]]


def test_the_heavier_may_be_busier():
    light, heavy = found = targets(1, 4)
    light.active, heavy.active = 2, 6
    chooser = balancer(LoadBalancer(Balance.LEAST_REQUEST), found, Random(7))
    counts = Counter(chooser.choose(None) for _ in range(100))
    assert counts[heavy] == 100


@pytest.mark.parametrize("balance", list(Balance))
def test_the_order_names_everyone_once_and_leaves_the_turns_as_they_were(balance):
    found = targets(1, 3, 2)
    chooser = balancer(LoadBalancer(balance), found, Random(7))
    order = list(chooser.order(5))
    assert sorted(order, key=id) == sorted(found, key=id)
    if balance is not Balance.RANDOM:
        assert chooser.choose(5) is order[0]


@pytest.mark.parametrize("count", [2, 4, 10, 40])
def test_a_change_moves_few_keys(count):
    before = owners(Ring(targets(*[1] * count), 1024, Random(1)))
    fewer = owners(Ring(targets(*[1] * (count - 1)), 1024, Random(1)))
    more = owners(Ring(targets(*[1] * (count + 1)), 1024, Random(1)))
    assert moved(before, fewer) <= 1.3 / count
    assert moved(before, more) <= 1.3 / (count + 1)


@given(st.integers(2, 12), st.integers(0, 11))
def test_only_the_keys_of_the_one_that_went_move(count, gone):
    found = targets(*[1] * count)
    without = [target for number, target in enumerate(found) if number != gone % count]
    before, after = Ring(found, 1024, Random(1)), Ring(without, 1024, Random(1))
    for key in KEYS[:100]:
        owner = before.choose(key)
        assert after.choose(key) is owner or owner not in without
        # What comes next in the order is where the key goes when its owner is left out.
        assert owner in without or next(one for one in before.order(key) if one is not owner) is after.choose(key)


def test_shares_of_keys_follow_the_weights():
    found = targets(1, 2, 4)
    counts = Counter(owners(Ring(found, 4096, Random(1))))
    for target in found:
        assert counts[target.endpoint.place] / len(KEYS) == pytest.approx(target.weight / 7, rel=0.25)


def test_a_larger_ring_is_more_even():
    def spread(size):
        counts = Counter(owners(Ring(targets(*[1] * 8), size, Random(1))))
        return max(counts.values()) / min(counts.values())

    assert spread(16_384) < spread(256)


def test_a_key_goes_to_the_same_place_in_each_process():
    assert key_hash("10.0.0.7") == key_hash(b"10.0.0.7") == 11830628343671216386
    assert Ring(targets(1, 1, 1), 1024, Random(1)).choose(key_hash("10.0.0.7")).endpoint.address == "10.0.0.2"


def test_without_a_key_chance_decides():
    ring = Ring(targets(1, 1, 1), 1024, Random(1))
    assert len({ring.choose(None) for _ in range(50)}) == 3


def test_a_key_after_the_last_point_goes_round():
    ring = Ring(targets(1, 1), 1024, Random(1))
    assert ring.choose(2**64 - 1) is ring.choose(0)
