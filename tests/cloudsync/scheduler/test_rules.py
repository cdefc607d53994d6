"""What holds whatever happens: gateways that come and go, pods, taints and templates that change, in any order."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsync.scheduler.model import Effect, Needs, PodName, Port, Taint, Tolerated
from cloudsync.scheduler.plan import plan
from tests.cloudsync.scheduler.world import KEEP, MOVE, Site, after, deployment, gateways, ids, pod, world

pytestmark = pytest.mark.fast

NAMES = ("gw-1", "gw-2", "gw-3", "gw-4")
needs = st.builds(
    Needs,
    cpu_milli=st.sampled_from([0, 100, 400]),
    memory_bytes=st.sampled_from([0, 10, 50]),
    ports=st.sampled_from([frozenset(), frozenset({Port("TCP", 80)})]),
    selector=st.sampled_from([(), (("hall", "north"),)]),
    tolerated=st.sampled_from([(), (Tolerated(None, None, None),), (Tolerated("a", None, None),)]),
)
rules = st.sampled_from([KEEP, MOVE])
taints = st.lists(st.builds(Taint, st.sampled_from("ab"), st.just(""), st.sampled_from(Effect)), max_size=2).map(tuple)
pods = st.builds(
    lambda name, uid, needs, rule: pod(name, uid=uid, needs=needs, rule=rule, grace_s=5),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["1", "2"]),
    needs,
    rules,
)
deployments = st.builds(
    deployment,
    st.integers(0, 6),
    uid=st.sampled_from(["d1", "d2"]),
    made=st.sampled_from(["t1", "t2"]),
    needs=needs,
    rule=rules,
    recreate=st.booleans(),
    surge=st.integers(0, 2),
    missing=st.integers(0, 2),
)
events = st.one_of(
    st.tuples(st.just("cut"), st.sampled_from(NAMES), st.sampled_from([0, 30_000, 60_000])),
    st.tuples(st.just("back"), st.sampled_from(NAMES)),
    st.tuples(st.just("agree"), st.sampled_from(NAMES)),
    st.tuples(st.just("revoke"), st.sampled_from(NAMES)),
    st.tuples(st.just("taint"), st.sampled_from(NAMES), taints),
    st.tuples(st.just("pods"), st.lists(pods, max_size=3, unique_by=lambda one: one.name)),
    st.tuples(st.just("deploy"), st.lists(deployments, max_size=2, unique_by=lambda one: one.uid)),
    st.tuples(st.just("wait"), st.sampled_from([1, 5_000, 20_000])),
    st.tuples(st.just("ready")),
)


def happens(site, event):
    what, *more = event
    if what == "cut":
        site.cut(*more)
    elif what == "back":
        site.back(*more)
    elif what == "agree":
        site.change(lambda one: replace(one, agreed=one.online and not one.revoked), *more)
    elif what == "revoke":
        site.change(lambda one: replace(one, revoked=True, online=False, agreed=False), *more)
    elif what == "taint":
        site.change(lambda one: replace(one, taints=more[1]), more[0])
    elif what == "pods":
        made = {name: one for name, one in site.world.pods.items() if one.owner}
        site.world = replace(site.world, pods=made | {one.name: one for one in more[0]})
    elif what == "deploy":
        site.deploy(*more[0])
    elif what == "wait":
        site.now += more[0]
    else:
        site.ready()


def released(site, stay, rule):
    gateway = site.world.gateways[stay.gateway]
    return gateway.revoked or (rule.moves and not gateway.online and gateway.silent_ms >= rule.after_ms)


def check(site, made):
    """What a plan may not do."""
    before, now = site.world, after(site.world, made)
    new = [one for one in made.place if one.state == 0]
    lasting = [one for one in now.placed if one.state != 0]
    for one in new:
        wanted = now.pods[one.pod]
        assert one.uid == wanted.uid
        others = [stay for stay in now.placed if stay.pod == one.pod and stay.gateway != one.gateway]
        assert all(stay.state != 0 and released(site, stay, wanted.cut_off) for stay in others)
        gateway = before.gateways[one.gateway]
        assert gateway.online
        assert not gateway.revoked
        for taint in gateway.taints:
            assert taint.effect is Effect.PREFER_NO_SCHEDULE or wanted.needs.tolerates(taint)
        assert all(gateway.labels.get(key) == value for key, value in wanted.needs.selector)
        stays = [stay for stay in now.placed if stay.gateway == one.gateway]
        here = [each.needs for stay in stays if (each := now.pods.get(stay.pod)) and each.uid == stay.uid]
        if wanted.needs.cpu_milli:
            assert sum(each.cpu_milli for each in here) <= gateway.cpu_milli
        if wanted.needs.memory_bytes:
            assert sum(each.memory_bytes for each in here) <= gateway.memory_bytes
        assert len(stays) <= gateway.pods
        ports = Counter(port for each in here for port in each.ports)
        assert all(ports[port] == 1 for port in wanted.needs.ports)
    assert max(Counter(one.pod for one in now.placed if one.state == 0).values(), default=0) <= 1
    for uid, one in before.deployments.items():
        rule = one.template.cut_off
        of = [each for each in now.pods.values() if each.owner == uid]
        held = [stay for stay in lasting if stay.owner == uid and stay.pod not in now.pods]
        held = [stay for stay in held if not released(site, stay, rule)]
        if any(each.owner == uid for each in made.make.values()):
            assert len(of) <= one.replicas + one.surge
            if one.recreate:
                assert not held
                assert {each.made for each in of} == {one.template.made}
    for one in made.forget:
        stay = next(each for each in before.placed if each.place == one)
        assert stay.state == 2
        assert site.now >= stay.since + stay.grace_s * 1000
    reasons = {name for name, why in made.whys.items() if why}
    assert reasons == now.pods.keys() - {one.pod for one in now.placed if one.state == 0}


@settings(max_examples=300, deadline=None)
@given(st.lists(events, max_size=25))
def test_no_two_run_where_one_is_asked_and_nothing_is_asked_twice(happened):
    found = gateways(*NAMES, cpu_milli=1000, memory_bytes=100, pods=4, labels={"hall": "north"})
    site = Site(world(gateways=found))
    for event in happened:
        happens(site, event)
        made = site.look()
        check(site, made)
        site.world = after(site.world, made)
        again = site.look()
        assert all(one.state == 2 for one in again.place)  # a gateway that had agreed already lets the grace begin
        assert not again.make
        assert not again.drop
        site.world = after(site.world, again)
        assert site.look().empty


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 12), st.integers(1, 8))
def test_replicas_differ_by_one_where_there_is_room(count, number):
    found = gateways(*(f"g{n}" for n in range(number)), pods=20)
    site = Site(world(deployments=[deployment(count)], gateways=found)).settle()
    counts = Counter(site.where().values())
    all_counts = [counts[name] for name in found]
    assert max(all_counts) - min(all_counts) <= 1
    assert sum(all_counts) == count


@settings(max_examples=100, deadline=None)
@given(st.lists(pods, max_size=3, unique_by=lambda one: one.name), deployments)
def test_what_does_not_concern_a_pod_does_not_move_it(singles, several):
    found = gateways(*NAMES, cpu_milli=1000, memory_bytes=100, pods=4, labels={"hall": "north"})
    site = Site(world(*singles, deployments=[several], gateways=found)).settle()
    before = site.where()
    site.world = replace(site.world, gateways=site.world.gateways | gateways("gw-9", labels={"hall": "north"}))
    extra = pod("extra")
    site.world = replace(site.world, pods={**site.world.pods, extra.name: extra})
    site.carry_out()
    assert {name: where for name, where in site.where().items() if name in before} == before


@given(st.integers(0, 2**32))
def test_the_same_world_gives_the_same_plan(seed):
    found = gateways(*NAMES, pods=1 + seed % 5)
    singles = [pod(f"p{seed % 97}-{n}") for n in range(seed % 9)]
    one = world(*singles, deployments=[deployment(seed % 7)], gateways=found)
    assert plan(one, 5, ids()) == plan(one, 5, ids())
    assert PodName("plant", "x") not in plan(one, 5, ids()).whys
