"""Rules 1, 3 and 5 of the design as far as one leaf goes: join and winner."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twin.document import DELETED, Leaf, Slot
from twin.merge import join, join_slot, standing, value_of, winner
from twin.model import ConflictPolicy, Site
from twin.tick import Ticker

pytestmark = pytest.mark.fast

TICKS = st.integers(1, 12)
POLICIES = st.sampled_from(ConflictPolicy)


def slot(site, tick, seen=0):
    """A tick is given once, so it says all of a slot but ``seen``, which grows on the way."""
    value = DELETED if tick % 4 == 0 else f"{site} {tick}"
    return Slot(value, tick, seen, site, at=tick * 5 % 7)


def slots(site):
    return st.none() | st.builds(slot, st.just(site), TICKS, st.integers(0, 12))


LEAVES = st.builds(Leaf, slots("edge"), slots("cloud"))


@given(LEAVES, LEAVES)
def test_join_is_commutative(a, b):
    assert join(a, b) == join(b, a)


@given(LEAVES, LEAVES, LEAVES)
def test_join_is_associative(a, b, c):
    assert join(join(a, b), c) == join(a, join(b, c))


@given(LEAVES, LEAVES)
def test_join_is_idempotent(a, b):
    assert join(a, a) == a
    assert join(join(a, b), b) == join(a, b)


@given(LEAVES, LEAVES)
def test_join_never_goes_back(a, b):
    joined = join(a, b)
    for site in Site:
        for one in (a.slot(site), b.slot(site)):
            if one is not None:
                assert joined.slot(site).tick >= one.tick
                assert joined.slot(site).seen >= one.seen


@given(slots("edge"), slots("cloud"), POLICIES)
def test_winner_is_the_same_whatever_way_the_pair_came_together(edge, cloud, policy):
    pair = Leaf(edge, cloud)
    there = join(Leaf(edge=edge), Leaf(cloud=cloud))
    back = join(Leaf(cloud=cloud), Leaf(edge=edge))
    assert there == back == pair
    assert winner(there, policy) is winner(back, policy) is winner(pair, policy)


STEPS = st.lists(
    st.tuples(st.sampled_from(["edge writes", "cloud writes", "up", "down"]), st.integers(0, 4 * 10**15)), max_size=12
)


@given(STEPS, POLICIES)
@example([("edge writes", 4 * 10**15), ("up", 0), ("cloud writes", 0)], ConflictPolicy.EDGE)
def test_replicas_that_heard_all_agree_and_a_causally_later_write_wins_whatever_the_clocks_say(steps, policy):
    replica = {site: Leaf() for site in Site}
    tickers = {site: Ticker() for site in Site}
    last_writer, last_knew_all = None, False
    for number, (step, now_us) in enumerate(steps):
        if step.endswith("writes"):
            site = Site(step.split()[0])
            mine, other = replica[site], replica[site].slot(site.peer)
            theirs = replica[site.peer].slot(site.peer)
            seen = other.tick if other else 0
            written = Slot(number, tickers[site].take(now_us), seen, site, now_us // 1000)
            replica[site] = mine.with_slot(site, written)
            last_writer, last_knew_all = site, seen == (theirs.tick if theirs else 0)
        else:
            to = Site.CLOUD if step == "up" else Site.EDGE
            sent = replica[to.peer].slot(to.peer)
            replica[to] = join(replica[to], Leaf().with_slot(to.peer, sent)) if sent else replica[to]
    edge = join(replica[Site.EDGE], replica[Site.CLOUD])
    cloud = join(replica[Site.CLOUD], replica[Site.EDGE])
    assert edge == cloud
    site = winner(edge, policy)
    assert site is winner(cloud, policy)
    if site is not None:
        assert edge.slot(site.peer) == cloud.slot(site.peer)  # the overruled value
    if last_knew_all:
        assert site is last_writer


@given(TICKS, TICKS, st.integers(), st.integers(), POLICIES)
def test_a_write_made_knowing_the_other_wins_under_every_policy(e, c, e_at, c_at, policy):
    edge, cloud = Slot("e", e, c, at=e_at), Slot("c", c, 0, at=c_at)
    assert winner(Leaf(edge, cloud), policy) is Site.EDGE
    edge, cloud = Slot("e", e, 0, at=e_at), Slot("c", c, e, at=c_at)
    assert winner(Leaf(edge, cloud), policy) is Site.CLOUD


@pytest.mark.parametrize(
    ("policy", "edge_at", "cloud_at", "wins"),
    [
        (ConflictPolicy.LATEST, 2, 1, Site.EDGE),
        (ConflictPolicy.LATEST, 1, 2, Site.CLOUD),
        (ConflictPolicy.LATEST, 1, 1, Site.CLOUD),
        (ConflictPolicy.EDGE, 1, 2, Site.EDGE),
        (ConflictPolicy.CLOUD, 2, 1, Site.CLOUD),
    ],
)
def test_the_policy_decides_between_concurrent_writes(policy, edge_at, cloud_at, wins):
    assert winner(Leaf(Slot("e", 5, 0, at=edge_at), Slot("c", 9, 4, at=cloud_at)), policy) is wins


@pytest.mark.parametrize("policy", ConflictPolicy)
def test_the_only_write_stands(policy):
    assert winner(Leaf(), policy) is None
    assert winner(Leaf(edge=Slot(1, 1)), policy) is Site.EDGE
    assert winner(Leaf(cloud=Slot(1, 1)), policy) is Site.CLOUD


def test_a_delete_that_wins_leaves_nothing_and_one_that_loses_changes_nothing():
    value, deleted = Slot("on", 5, 0), Slot(DELETED, 7, 5)
    assert standing(Leaf(value, deleted), ConflictPolicy.LATEST) is None
    assert standing(Leaf(Slot("on", 9, 7), deleted), ConflictPolicy.LATEST).value == "on"
    assert standing(Leaf(), ConflictPolicy.LATEST) is None


def test_a_join_keeps_the_newer_write_and_the_greater_seen():
    assert join_slot(Slot("old", 1, 9), Slot("new", 2, 3)) == Slot("new", 2, 9)
    assert join_slot(Slot("new", 2, 9), Slot("old", 1, 3)) == Slot("new", 2, 9)
    assert join_slot(None, None) is None


def test_the_value_of_a_tombstone_is_a_fault_of_the_caller():
    with pytest.raises(AssertionError):
        value_of(Slot(DELETED, 1))
