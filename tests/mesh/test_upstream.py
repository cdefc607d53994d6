"""Which endpoint is next: nearer first, those that fail left out and taken back, bounds kept, state kept."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesh.breaker import BreakerState
from mesh.model.policies import Balance, CircuitBreaker, ConnectionPool, LoadBalancer, OutlierDetection, Policy
from mesh.model.programme import BackendGroup
from mesh.model.services import Origin
from mesh.target import Trial
from mesh.upstream import Here, Outcome, Refusal, Upstreams
from tests.mesh.service import WEB, ask, balanced, endpoint, endpoints, fail, places, upstream

pytestmark = pytest.mark.fast

A, B, C = (one.place for one in endpoints(3))
HERE = Here("gw-1", "hall-1")


def regroup(up, *listed, **policy):
    up.update(BackendGroup(WEB, listed, replace(up.group.policy, **policy)))


# -- where things are --------------------------------------------------------------------------------------------------


def test_nearer_endpoints_are_used_alone():
    listed = (
        endpoint(0, origin=Origin.HERE),
        endpoint(1, node="gw-1"),
        endpoint(2, zone="hall-1"),
        endpoint(3, zone="hall-2"),
    )
    assert places(upstream(listed, HERE), 1.0) == {A, B}
    assert places(upstream(listed[2:], HERE), 1.0) == {C}
    assert places(upstream(listed[3:], HERE), 1.0) == {listed[3].place}


def test_a_gateway_that_does_not_say_where_it_is_takes_all_alike():
    assert places(upstream((endpoint(0), endpoint(1, node="gw-2", zone="hall-2"))), 1.0) == {A, B}


def test_locality_can_be_switched_off():
    listed = (endpoint(0, node="gw-1"), endpoint(1))
    assert places(upstream(listed, HERE, balancer=LoadBalancer(locality=False)), 1.0) == {A, B}


def test_the_next_level_takes_over_when_a_nearer_is_out_and_gives_back():
    up = upstream((endpoint(0, node="gw-1"), endpoint(1, zone="hall-1"), endpoint(2)), HERE)
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    assert places(up, 1.0) == {B}
    fail(up, B, 1.0, Outcome.CONNECT_FAILED, 2)
    assert places(up, 1.0) == {C}
    assert places(up, 6.0) == {A, B, C}  # A and B are on trial beside it
    while up.targets[A].trial is not Trial.NONE:
        ask(up, 6.0)
    assert places(up, 6.0) == {A}


def test_stale_endpoints_come_last_however_near():
    up = upstream((endpoint(0, node="gw-1", stale=True), endpoint(1)), HERE)
    assert places(up, 1.0) == {B}
    fail(up, B, 1.0, Outcome.CONNECT_FAILED, 2)
    assert places(up, 1.0) == {A}


def test_what_goes_away_serves_only_when_nothing_else_does():
    leaving = endpoint(0, ready=False, serving=True, terminating=True)
    assert places(upstream((leaving, endpoint(1))), 1.0) == {B}
    assert places(upstream((leaving,)), 1.0) == {A}
    assert places(upstream((replace(leaving, serving=False),)), 1.0) == set()


def test_what_is_not_ready_is_never_used():
    up = upstream((endpoint(0, ready=False), endpoint(1)))
    assert places(up, 1.0) == {B}
    assert up.pick(1.0, tried=(up.targets[B],)) is None
    regroup(up, endpoint(0, ready=False))
    assert up.pick(1.0) is None


def test_weight_nothing_gets_nothing():
    up = upstream((endpoint(0, weight=0), endpoint(1)))
    assert {ask(up, 1.0) for _ in range(10)} == {B}
    assert up.pick(1.0, tried=(up.targets[B],)) is None
    regroup(up, endpoint(0, weight=0))
    assert up.pick(1.0) is None


# -- other tries -------------------------------------------------------------------------------------------------------


@given(st.sampled_from(list(Balance)), st.integers(1, 6))
def test_each_try_goes_elsewhere_until_none_is_left(balance, count):
    up, tried = upstream(count, balancer=balanced(balance)), []
    while (target := up.pick(1.0, 77, tried)) is not None:
        assert target not in tried
        tried.append(target)
    assert len(tried) == count


def test_other_tries_go_to_farther_levels_and_last_to_what_is_out():
    listed = (endpoint(0, node="gw-1"), endpoint(1, node="gw-1"), endpoint(2), endpoint(3))
    up = upstream(listed, HERE)
    fail(up, B, 1.0, Outcome.CONNECT_FAILED, 2)
    tried = []
    while (target := up.pick(1.0, tried=tried)) is not None:
        tried.append(target)
    assert [one.endpoint.place for one in tried[::3]] == [A, B]


def test_a_key_stays_with_its_endpoint_and_returns_to_it():
    up = upstream(4, balancer=balanced(Balance.CONSISTENT_HASH))
    owner = ask(up, 1.0, key=12345)
    assert {ask(up, 1.0, key=12345) for _ in range(10)} == {owner}
    fail(up, owner, 1.0, Outcome.CONNECT_FAILED, 2)
    stand_in = ask(up, 1.0, key=12345)
    assert stand_in != owner
    assert {ask(up, 1.0, key=12345) for _ in range(10)} == {stand_in}
    assert {ask(up, 6.1, key=12345) for _ in range(10)} == {owner}


# -- outliers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "outcome", "times"),
    [
        (OutlierDetection(), Outcome.SERVER_ERROR, 5),
        (OutlierDetection(), Outcome.GATEWAY_ERROR, 5),
        (OutlierDetection(consecutive_gateway_errors=3), Outcome.GATEWAY_ERROR, 3),
        (OutlierDetection(consecutive_5xx=2), Outcome.SERVER_ERROR, 2),
        (OutlierDetection(), Outcome.CONNECT_FAILED, 2),
        (OutlierDetection(), Outcome.TIMEOUT, 2),
        (OutlierDetection(), Outcome.RESET, 2),
        (OutlierDetection(consecutive_local_failures=4), Outcome.RESET, 4),
    ],
)
def test_so_many_failures_in_a_row_eject(rule, outcome, times):
    up = upstream(outlier=rule)
    fail(up, A, 1.0, outcome, times - 1)
    assert places(up, 1.0) == {A, B}
    fail(up, A, 1.0, outcome)
    assert places(up, 1.0) == {B}
    assert up.ejections == 1


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        (OutlierDetection(consecutive_5xx=0), Outcome.SERVER_ERROR),
        (OutlierDetection(consecutive_5xx=0, consecutive_gateway_errors=0), Outcome.GATEWAY_ERROR),
        (OutlierDetection(consecutive_5xx=0, consecutive_gateway_errors=2), Outcome.SERVER_ERROR),
        (OutlierDetection(consecutive_local_failures=0), Outcome.CONNECT_FAILED),
        (OutlierDetection(), Outcome.ABANDONED),
        (None, Outcome.CONNECT_FAILED),
    ],
)
def test_what_is_switched_off_does_not_eject(rule, outcome):
    up = upstream(outlier=rule)
    fail(up, A, 1.0, outcome, 20)
    assert places(up, 1.0) == {A, B}


def test_an_answer_in_between_begins_the_count_anew():
    up = upstream()
    fail(up, A, 1.0, Outcome.SERVER_ERROR, 4)
    fail(up, A, 1.0, Outcome.OK)
    fail(up, A, 1.0, Outcome.SERVER_ERROR, 4)
    assert places(up, 1.0) == {A, B}
    fail(up, A, 1.0, Outcome.SERVER_ERROR)
    assert places(up, 1.0) == {B}


def test_a_bad_answer_is_a_good_connection():
    up = upstream()
    for outcome in (Outcome.RESET, Outcome.SERVER_ERROR, Outcome.RESET):
        fail(up, A, 1.0, outcome)
    assert places(up, 1.0) == {A, B}


def test_a_plain_5xx_ends_a_row_of_gateway_errors():
    up = upstream(outlier=OutlierDetection(consecutive_gateway_errors=2))
    for outcome in (Outcome.GATEWAY_ERROR, Outcome.SERVER_ERROR, Outcome.GATEWAY_ERROR):
        fail(up, A, 1.0, outcome)
    assert places(up, 1.0) == {A, B}


def test_a_connection_that_stands_ends_a_row_of_local_failures():
    up = upstream()
    fail(up, A, 1.0, Outcome.CONNECT_FAILED)
    up.stood(up.targets[A])
    fail(up, A, 1.0, Outcome.CONNECT_FAILED)
    assert places(up, 1.0) == {A, B}


def eject(up, now_s):
    up.pick(now_s)
    fail(up, A, now_s, Outcome.CONNECT_FAILED, 2)
    assert up.targets[A].ejected
    return up.targets[A].ejected_until_s - now_s


def test_each_time_it_is_longer_up_to_a_bound():
    rule = OutlierDetection(base_ejection_ms=1_000, max_ejection_ms=2_500)
    up, now = upstream(outlier=rule), 1.0
    assert eject(up, now) == pytest.approx(1.0)
    assert eject(up, 2.0) == pytest.approx(2.0)
    assert eject(up, 4.0) == pytest.approx(2.5)
    assert eject(up, 6.5) == pytest.approx(2.5)


def test_quiet_intervals_are_taken_off():
    rule = OutlierDetection(base_ejection_ms=1_000, interval_ms=10_000)
    up = upstream(outlier=rule)
    eject(up, 1.0)
    eject(up, 2.0)
    up.pick(4.0)  # back, on trial
    fail(up, A, 4.0, Outcome.OK)
    assert eject(up, 14.1) == pytest.approx(2.0)  # two times before, one interval quiet


def test_after_its_time_one_request_is_risked():
    up = upstream()
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    assert {ask(up, 5.9) for _ in range(6)} == {B}
    trial = up.targets[A]
    while (target := up.pick(6.0)) is not trial:
        pass
    up.began(trial, 6.0)
    assert {up.pick(6.0).endpoint.place for _ in range(6)} == {B}
    up.ended(trial, Outcome.OK, 6.2, 0.2)
    assert target.trial is Trial.NONE
    assert {up.pick(6.2).endpoint.place for _ in range(6)} == {A, B}


def test_a_failed_trial_ejects_at_once_for_longer():
    up = upstream()
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    up.pick(6.0)
    fail(up, A, 6.0, Outcome.SERVER_ERROR)
    assert up.targets[A].ejected_until_s == pytest.approx(16.0)
    assert up.ejections == 2


def test_a_client_that_goes_away_leaves_the_trial_open():
    up = upstream()
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    up.pick(6.0)
    fail(up, A, 6.0, Outcome.ABANDONED)
    assert up.targets[A].trial is Trial.WAITING
    assert {up.pick(6.0).endpoint.place for _ in range(6)} == {A, B}


def test_a_connection_that_stands_passes_the_trial():
    up = upstream()
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    up.pick(6.0)
    up.began(up.targets[A], 6.0)
    up.stood(up.targets[A])
    assert {up.pick(6.0).endpoint.place for _ in range(6)} == {A, B}


@pytest.mark.parametrize(("percent", "count", "out"), [(100, 4, 4), (50, 4, 2), (10, 9, 0), (10, 10, 1), (34, 3, 1)])
def test_no_more_than_max_ejection_percent_are_out(percent, count, out):
    up = upstream(count, outlier=OutlierDetection(max_ejection_percent=percent))
    for place in up.targets:
        fail(up, place, 1.0, Outcome.CONNECT_FAILED, 3)
    assert sum(target.ejected for target in up.targets.values()) == out


def test_if_all_are_out_all_are_used_and_the_first_that_answers_is_back():
    up = upstream(3)
    for place in up.targets:
        fail(up, place, 1.0, Outcome.CONNECT_FAILED, 2)
    assert places(up, 1.0) == {A, B, C}
    assert up.panic
    fail(up, B, 1.0, Outcome.OK)
    assert places(up, 1.0) == {B}
    assert not up.panic


def test_panic_forgets_what_is_near():
    up = upstream((endpoint(0, node="gw-1"), endpoint(1)), HERE)
    for place in up.targets:
        fail(up, place, 1.0, Outcome.CONNECT_FAILED, 2)
    assert places(up, 1.0) == {A, B}


def test_min_health_percent_ends_ejection():
    up = upstream(3, outlier=OutlierDetection(min_health_percent=50))
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    assert places(up, 1.0) == {B, C}
    fail(up, B, 1.0, Outcome.CONNECT_FAILED, 2)
    assert places(up, 1.0) == {A, B, C}


def test_a_single_endpoint_is_used_whatever_is_held_against_it():
    up = upstream(1)
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 20)
    assert {ask(up, 1.0, Outcome.CONNECT_FAILED) for _ in range(3)} == {A}
    assert {ask(up, 7.0, Outcome.CONNECT_FAILED) for _ in range(3)} == {A}


# -- probes ------------------------------------------------------------------------------------------------------------


def test_what_a_probe_finds_dead_is_left_out_until_one_finds_it_alive():
    up = upstream()
    up.probed(A, 1.0, alive=False)
    assert places(up, 1.0) == {B}
    assert places(up, 1_000.0) == {B}
    up.probed(A, 1_000.0, alive=True)
    assert places(up, 1_000.0) == {A, B}


def test_a_probe_that_finds_it_alive_again_ends_the_ejection():
    up = upstream()
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    up.probed(A, 2.0, alive=False)
    up.probed(A, 3.0, alive=True)
    assert up.pick(3.0) is not None
    assert up.targets[A].trial is Trial.WAITING


def test_a_probe_that_goes_on_finding_it_alive_does_not():
    up = upstream()
    fail(up, A, 1.0, Outcome.SERVER_ERROR, 5)
    up.probed(A, 2.0, alive=True)
    assert places(up, 2.0) == {B}


def test_a_probe_of_what_is_not_there_changes_nothing():
    up = upstream()
    up.probed("10.9.9.9:1", 1.0, alive=False)
    assert places(up, 1.0) == {A, B}


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_bounds_of_what_is_under_way():
    up = upstream(pool=ConnectionPool(max_connections=2))
    for _ in range(2):
        assert up.admit(1.0) is None
        up.began(up.pick(1.0), 1.0)
    assert up.admit(1.0) is Refusal.OVER_CONNECTIONS
    regroup(up, *up.group.endpoints, pool=ConnectionPool(max_requests=2))
    assert up.admit(1.0) is Refusal.OVER_REQUESTS
    up.ended(max(up.targets.values(), key=lambda one: one.active), Outcome.OK, 1.0, 0.0)
    assert up.admit(1.0) is None


def test_a_service_of_nothing_says_so():
    assert upstream(()).admit(1.0) is Refusal.NO_ENDPOINT


def test_the_breaker_is_asked_and_told():
    up = upstream(breaker=CircuitBreaker(min_requests=4), outlier=None)
    for outcome in (Outcome.OK, Outcome.ABANDONED, Outcome.SERVER_ERROR, Outcome.RESET):
        ask(up, 1.0, outcome)
        assert up.admit(1.0) is None
    ask(up, 1.0, Outcome.TIMEOUT)
    assert up.admit(1.0) is Refusal.BREAKER_OPEN
    assert up.breaker_state is BreakerState.OPEN
    regroup(up, *up.group.endpoints, breaker=None)
    assert up.admit(1.0) is None


# -- changes -----------------------------------------------------------------------------------------------------------


def test_what_is_known_of_an_endpoint_outlives_a_change():
    up = upstream()
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    up.began(up.targets[B], 1.0)
    regroup(up, *endpoints(3, weight=7))
    assert places(up, 1.0) == {B, C}
    assert up.targets[B].active == 1
    assert up.targets[B].weight == 7


def test_what_ends_after_its_endpoint_is_gone_harms_nobody():
    up = upstream()
    old = up.targets[A]
    up.began(old, 1.0)
    up.began(old, 1.0)
    regroup(up, endpoint(1))
    up.ended(old, Outcome.RESET, 1.0, 0.0)
    regroup(up, *endpoints(2))
    up.ended(old, Outcome.RESET, 1.0, 0.0)
    assert up.active == 0
    assert up.targets[A] is not old
    assert places(up, 1.0) == {A, B}
    assert up.ejections == 0


def test_switching_detection_off_takes_all_back():
    up = upstream()
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    regroup(up, *up.group.endpoints, outlier=None)
    assert places(up, 1.0) == {A, B}


def test_a_new_endpoint_warms_up():
    up = upstream(1, balancer=LoadBalancer(warmup_ms=10_000))
    assert up.pick(100.0).weight == 1
    regroup(up, *endpoints(2))
    shares = {}
    for now in (100.0, 105.0, 110.0):
        counts = Counter(ask(up, now) for _ in range(3_000))
        shares[now] = counts[B] / 3_000
    assert shares[100.0] == pytest.approx(0.1 / 1.1, abs=0.01)
    assert shares[105.0] == pytest.approx(0.5 / 1.5, abs=0.01)
    assert shares[110.0] == pytest.approx(0.5, abs=0.01)


def test_endpoints_that_are_all_new_need_no_warm_up():
    up = upstream(2, balancer=LoadBalancer(warmup_ms=10_000))
    assert {target.weight for target in up.in_use(5.0)} == {1.0}


def test_those_who_choose_elsewhere_are_told_of_each_change():
    told = []
    ups = Upstreams(Random(1), HERE)
    ups.on_change = lambda up: told.append({target.endpoint.place for target in up.in_use(1.0)})
    ups.apply([BackendGroup(WEB, endpoints(2))], [])
    up = ups.get(WEB)
    up.pick(1.0)
    up.pick(1.0)
    fail(up, A, 1.0, Outcome.CONNECT_FAILED, 2)
    up.pick(1.0)
    ups.apply([BackendGroup(WEB, endpoints(3))], [])
    assert ups.get(WEB) is up
    assert up.here is HERE
    up.pick(1.0)
    assert told == [{A, B}, {B}, {B, C}]
    up.probed(C, 1.0, alive=False)
    assert told[-1] == {B}
    ups.apply([], [WEB])
    assert ups.get(WEB) is None
    assert list(ups.all()) == []


# -- anything at all ---------------------------------------------------------------------------------------------------


class Life(RuleBasedStateMachine):
    """Whatever happens, something ready is picked as long as there is something, and counts come back to zero."""

    def __init__(self):
        super().__init__()
        self.now = 100.0
        self.running = []
        self.up = upstream(3, breaker=CircuitBreaker(min_requests=3))

    @rule(gap=st.floats(0, 20))
    def time_goes_on(self, gap):
        self.now += gap

    @rule(
        ready=st.lists(st.booleans(), max_size=5),
        balance=st.sampled_from(list(Balance)),
        detection=st.sampled_from([None, OutlierDetection(), OutlierDetection(max_ejection_percent=50)]),
        warmup=st.sampled_from([0, 5_000]),
    )
    def another_set(self, ready, balance, detection, warmup):
        listed = tuple(endpoint(number, ready=is_ready) for number, is_ready in enumerate(ready))
        policy = Policy(balancer=LoadBalancer(balance, warmup_ms=warmup), outlier=detection)
        self.up.update(BackendGroup(WEB, listed, policy))

    @rule(number=st.integers(0, 5), alive=st.booleans())
    def a_probe_says(self, number, alive):
        self.up.probed(endpoint(number).place, self.now, alive=alive)

    @rule(key=st.none() | st.integers(0, 2**64 - 1))
    def a_request_begins(self, key):
        if self.up.admit(self.now) is None and (target := self.up.pick(self.now, key)) is not None:
            self.up.began(target, self.now)
            self.running.append(target)

    @precondition(lambda self: self.running)
    @rule(outcome=st.sampled_from(list(Outcome)), last=st.booleans(), stood=st.booleans())
    def a_request_ends(self, outcome, last, stood):
        target = self.running.pop(-1 if last else 0)
        if stood:
            self.up.stood(target)
        self.up.ended(target, outcome, self.now, 0.1)

    @invariant()
    def something_ready_is_picked(self):
        ready = [place for place, target in self.up.targets.items() if target.endpoint.ready]
        picked = self.up.pick(self.now)
        assert (picked is None) == (not ready)
        assert picked is None or picked.endpoint.place in ready

    @invariant()
    def all_can_be_tried(self):
        tried = []
        while (target := self.up.pick(self.now, tried=tried)) is not None:
            tried.append(target)
        assert len(tried) == sum(target.endpoint.ready for target in self.up.targets.values())

    @invariant()
    def what_is_under_way_adds_up(self):
        assert self.up.active == len(self.running)
        assert all(target.active == self.running.count(target) for target in self.up.targets.values())

    @invariant()
    def an_ejected_one_is_out_no_longer_than_its_time(self):
        self.up.pick(self.now)
        for target in self.up.targets.values():
            assert not target.ejected or self.now < target.ejected_until_s <= self.now + 300


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40)


def test_an_endpoint_on_trial_is_tried_by_requests_that_take_the_short_way_too():
    up = upstream(2)
    good, bad = up.targets.values()
    for _ in range(10):
        target = up.pick(0.0)
        up.began(target, 0.0)
        up.ended(target, Outcome.CONNECT_FAILED if target is bad else Outcome.OK, 0.0, 0.01)
    assert bad.ejected
    up.in_use(100.0)
    seen = []
    for _ in range(10):
        target = up.usual(100.0)
        if target is None:
            target = up.pick(100.0)
            up.began(target, 100.0)
        up.ended(target, Outcome.OK, 100.0, 0.01)
        up.in_use(100.0)
        seen.append(target)
    assert seen.count(bad) >= 4
    assert good in seen


def test_only_one_request_at_a_time_tries_an_endpoint_on_trial_by_the_short_way():
    up = upstream(2)
    bad = list(up.targets.values())[1]
    for _ in range(10):
        target = up.pick(0.0)
        up.began(target, 0.0)
        up.ended(target, Outcome.CONNECT_FAILED if target is bad else Outcome.OK, 0.0, 0.01)
    up.in_use(100.0)
    assert [up.usual(100.0) for _ in range(6)].count(bad) == 1
