"""Where pods go, when they leave, and what is said of those that have no gateway."""

from collections import Counter
from dataclasses import replace

import pytest

from cloudsync.scheduler.model import Amounts, Effect, Needs, PodName, Port, Taint, Tolerated
from tests.cloudsync.scheduler.world import MOVE, Site, deployment, gateways, pod, world

pytestmark = pytest.mark.fast

DEDICATED = Taint("dedicated", "press", Effect.NO_SCHEDULE)


def why(site, name="web"):
    return site.look().whys[PodName("plant", name)]


def test_a_pod_goes_to_the_emptiest_gateway_that_fits():
    fits = gateways("gw-1", "gw-2", labels={"hall": "north"}) | gateways("gw-3")
    site = Site(world(pod("a", needs=Needs(selector=(("hall", "north"),))), pod("b"), gateways=fits))
    site.carry_out()
    assert site.where()["a"] in ("gw-1", "gw-2")
    assert len(set(site.where().values())) == 2


def test_a_pod_without_a_gateway_says_why_of_each():
    found = (
        gateways("a1", "a2", taints=(DEDICATED,))
        | gateways("b1", memory_bytes=100)
        | gateways("c1", online=False)
        | gateways("d1", unschedulable=True)
    )
    site = Site(world(pod(needs=Needs(memory_bytes=101)), gateways=found))
    assert why(site) == (
        "0/5 gateways fit: 2 have the taint dedicated, 1 are cut off, 1 have not enough memory, 1 take no new pods"
    )
    site = Site(world(pod(needs=Needs(node="gw-9")), gateways=found))
    assert why(site) == "there is no gateway gw-9"
    assert why(Site(world(pod()))) == "0/0 gateways fit"


def test_a_taint_keeps_pods_off_that_do_not_tolerate_it():
    tolerant = Needs(tolerated=(Tolerated("dedicated", "press", None),))
    site = Site(world(pod("a", needs=tolerant), pod("b"), gateways=gateways("gw-1", taints=(DEDICATED,))))
    site.carry_out()
    assert site.where() == {"a": "gw-1"}


def test_a_gateway_that_is_better_left_alone_is_taken_last():
    soft = Taint("old", "", Effect.PREFER_NO_SCHEDULE)
    found = gateways("gw-1", taints=(soft,), pods=5) | gateways("gw-2", pods=1)
    site = Site(world(pod("a"), pod("b"), gateways=found))
    site.carry_out()
    assert Counter(site.where().values()) == {"gw-2": 1, "gw-1": 1}


def test_two_pods_with_one_port_share_no_gateway():
    needs = Needs(ports=frozenset({Port("TCP", 80)}))
    site = Site(world(pod("a", needs=needs), pod("b", needs=needs), gateways=gateways("gw-1")))
    site.carry_out()
    assert site.where() == {"a": "gw-1"}
    assert why(site, "b") == "0/1 gateways fit: 1 use one of its ports already"


def test_what_a_gateway_runs_of_its_own_counts_and_its_names_are_taken():
    full = gateways("gw-1", cpu_milli=1000, used=Amounts(cpu_milli=901, pods=1))
    assert why(Site(world(pod(needs=Needs(cpu_milli=100)), gateways=full))) == (
        "0/1 gateways fit: 1 have not enough CPU"
    )
    own = gateways("gw-1", own=frozenset({PodName("plant", "web")}))
    site = Site(world(pod(), pod("other"), gateways=own))
    site.carry_out()
    assert site.where() == {"other": "gw-1"}
    assert why(site) == "0/1 gateways fit: 1 have a pod of its name"


def test_a_pod_that_names_its_gateway_goes_there_whatever_is_said_of_it():
    found = gateways("gw-1", taints=(DEDICATED,), online=False) | gateways("gw-2")
    site = Site(world(pod(needs=Needs(node="gw-1"), rule=MOVE), gateways=found))
    site.carry_out()
    assert site.where() == {"web": "gw-1"}
    site.cut("gw-1", 10**9)
    assert site.look().empty


def test_a_pod_stays_where_its_gateway_is_cut_off():
    site = Site(world(pod(), gateways=gateways("gw-1", "gw-2"))).settle()
    (there,) = site.where().values()
    site.cut(there, 10**12)
    assert site.look().empty
    assert site.look().look_at is None


def test_a_pod_that_moves_does_so_when_its_time_is_over_and_the_old_stay_lasts_until_the_gateway_knows():
    site = Site(world(pod(rule=MOVE, grace_s=10), gateways=gateways("gw-1", "gw-2"))).settle()
    (first,) = site.where().values()
    second = {"gw-1": "gw-2", "gw-2": "gw-1"}[first]
    site.cut(first, 59_000)
    assert site.look().empty
    assert site.look().look_at == site.now + 1000
    site.cut(first, 60_000)
    made = site.carry_out()
    assert site.stays() == sorted([(first, "LEAVING"), (second, "BOUND")])
    assert any("it may run there until it is back" in note.what for note in made.notes)
    site.back(first)
    assert site.look().empty
    site.change(lambda one: replace(one, agreed=True))
    site.carry_out()
    assert (first, "ENDING") in site.stays()
    site.now += 9_999
    assert site.look().empty
    site.now += 1
    site.carry_out()
    assert site.stays() == [(second, "BOUND")]


def test_a_pod_that_could_move_stays_while_no_other_gateway_takes_it():
    site = Site(world(pod(rule=MOVE), gateways=gateways("gw-1"))).settle()
    site.cut("gw-1", 10**9)
    assert site.look().empty


def test_a_pod_that_is_kept_waits_for_the_gateway_that_it_has_to_leave():
    needs = Needs(tolerated=())
    site = Site(world(pod(needs=needs), gateways=gateways("gw-1"))).settle()
    site.change(lambda one: replace(one, taints=(Taint("broken", "", Effect.NO_EXECUTE),)), "gw-1")
    site.world = replace(site.world, gateways=site.world.gateways | gateways("gw-2"))
    site.cut("gw-1", 10**9)
    site.carry_out()
    assert site.stays() == [("gw-1", "LEAVING")]
    assert why(site) == "waits until gw-1, which is cut off, has let go of it"
    site.back("gw-1")
    assert why(site) == "waits until gw-1 has let go of it"
    site.settle()
    assert site.stays() == [("gw-2", "BOUND")]


def test_a_gateway_that_was_shut_out_gives_up_its_pods_at_once_and_the_record_stays():
    site = Site(world(pod(), gateways=gateways("gw-1", "gw-2"))).settle()
    (first,) = site.where().values()
    site.change(lambda one: replace(one, revoked=True, online=False, agreed=False), first)
    site.settle()
    assert sorted(state for _, state in site.stays()) == ["BOUND", "LEAVING"]


def test_a_pod_that_was_made_again_under_its_name_waits_for_the_one_before():
    site = Site(world(pod(), gateways=gateways("gw-1", "gw-2"))).settle()
    site.world = replace(site.world, pods={one.name: one for one in [pod(uid="other")]})
    site.change(lambda one: replace(one, agreed=False))
    site.carry_out()
    assert [state for _, state in site.stays()] == ["LEAVING"]
    site.settle()
    assert {one.uid for one in site.world.placed} == {"other"}


def test_a_pod_that_names_another_gateway_than_before_goes_there():
    site = Site(world(pod(), gateways=gateways("gw-1"))).settle()
    site.world = replace(site.world, gateways=gateways("gw-1", "gw-2"))
    named = pod(needs=Needs(node="gw-2"))
    site.world = replace(site.world, pods={named.name: named})
    site.settle()
    assert site.where() == {"web": "gw-2"}


def test_replicas_are_spread_though_one_gateway_is_fuller_than_the_other():
    found = gateways("gw-1", used=Amounts(pods=50)) | gateways("gw-2")
    site = Site(world(deployments=(deployment(2),), gateways=found)).settle()
    assert Counter(site.where().values()) == {"gw-1": 1, "gw-2": 1}


def test_replicas_are_spread_and_come_back_in_number():
    site = Site(world(deployments=[deployment(7)], gateways=gateways("gw-1", "gw-2", "gw-3"))).settle()
    assert sorted(Counter(site.where().values()).values()) == [2, 2, 3]
    site.deploy(deployment(2))
    site.settle()
    assert sorted(Counter(site.where().values()).values()) == [1, 1]
    assert len(site.world.placed) == 2
    site.deploy()
    site.settle()
    assert site.world.pods == {}
    assert site.world.placed == ()


def test_a_new_template_replaces_pods_with_no_more_missing_and_too_many_than_allowed():
    site = Site(world(deployments=[deployment(4, surge=1, missing=1)], gateways=gateways("gw-1", "gw-2"))).settle()
    site.deploy(deployment(4, made="t2", surge=1, missing=1))
    seen = []
    for _ in range(40):
        made = site.carry_out()
        seen.append((len(site.world.pods), sum(one.ready for one in site.world.pods.values())))
        site.change(lambda one: replace(one, agreed=True))
        site.ready()
        site.now = max(site.now, made.look_at or 0)
    assert {one.made for one in site.world.pods.values()} == {"t2"}
    assert max(pods for pods, _ in seen) <= 5
    assert min(ready for _, ready in seen) >= 3


def test_pods_of_a_new_template_that_never_serve_stop_the_exchange():
    site = Site(world(deployments=[deployment(4, surge=1)], gateways=gateways("gw-1", "gw-2"))).settle()
    site.deploy(deployment(4, made="t2", surge=1))
    for _ in range(10):
        site.carry_out()
        site.change(lambda one: replace(one, agreed=True))
    assert Counter(one.made for one in site.world.pods.values()) == {"t1": 4, "t2": 1}


def test_recreate_makes_no_new_pod_before_the_old_ones_have_ended():
    site = Site(world(deployments=[deployment(2, recreate=True)], gateways=gateways("gw-1", "gw-2"))).settle()
    site.deploy(deployment(2, made="t2", recreate=True))
    site.change(lambda one: replace(one, agreed=False))
    site.carry_out()
    site.carry_out()
    assert site.world.pods == {}
    assert {one.state.name for one in site.world.placed} == {"LEAVING"}
    site.settle()
    assert {one.made for one in site.world.pods.values()} == {"t2"}
    assert len(site.bound()) == 2


def test_a_replica_at_a_gateway_that_is_cut_off_counts_until_it_moves():
    found = gateways("gw-1", "gw-2", "gw-3")
    site = Site(world(deployments=[deployment(3)], gateways=found)).settle()
    site.cut("gw-2", 10**9)
    assert site.look().empty
    moving = Site(world(deployments=[deployment(3, rule=MOVE)], gateways=found)).settle()
    moving.cut("gw-2", 60_000)
    moving.settle()
    assert sorted(Counter(moving.where().values()).items()) in (
        [("gw-1", 1), ("gw-3", 2)],
        [("gw-1", 2), ("gw-3", 1)],
    )
    moving.back("gw-2")
    moving.settle()
    assert len(moving.world.placed) == 3
