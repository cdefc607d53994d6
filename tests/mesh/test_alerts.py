"""When people are told, and when they are told that it is over."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.alerts import CALM_S, WINDOW_S, Alerts
from mesh.breaker import BreakerState
from mesh.model.alarms import AlarmMetric, AlarmRule, Operator
from mesh.model.services import ServiceKey
from mesh.snapshot import Own, PlaceState, PlaceView, ShareCounts, ShareKey, Snapshot, UpstreamView
from mesh.tally import Tally
from tests.mesh.service import WEB

pytestmark = pytest.mark.fast

SHOP = WEB.service
ERRORS = AlarmRule("plant/errors", (SHOP,), AlarmMetric.ERROR_PERCENT, threshold=10)


class Site:
    """Traffic of one service, second by second."""

    def __init__(self, *rules):
        self.alerts = Alerts()
        self.alerts.follow(rules)
        self.tally = Tally()
        self.own: dict[Own, int] = {}
        self.views: tuple[UpstreamView, ...] = ()
        self.now_s = 100.0

    def second(self, good=0, bad=0, took_s=0.01, own=None):
        for status, number in ((200, good), (503, bad)):
            for _ in range(number):
                self.tally.answered(status, took_s)
        for why in own or ():
            self.own[why] = self.own.get(why, 0) + 1
        share = ShareCounts(ShareKey(WEB), (("10.0.0.1:80", self.tally.counts()),), tuple(self.own.items()))
        other = replace(share, key=ShareKey(replace(WEB, service=ServiceKey("plant", "other"))))
        events = self.alerts.look(Snapshot(self.now_s, (share, other), upstreams=self.views), self.now_s)
        self.now_s += 1.0
        return [(event.firing, round(event.value, 3)) for event in events]

    def seconds(self, count, **traffic):
        return [event for _ in range(count) for event in self.second(**traffic)]


def view(*states, **more):
    return UpstreamView(WEB, tuple(PlaceView(f"10.0.0.{at}:80", state) for at, state in enumerate(states)), **more)


def test_more_errors_than_said_fire_and_are_over_by_a_margin():
    site = Site(ERRORS)
    assert site.seconds(20, good=100) == []
    assert site.second(good=0, bad=200) == [(True, pytest.approx(18.182, abs=0.01))]
    assert [rule.key for rule, _ in site.alerts.firing()] == ["plant/errors"]
    # The bad second leaves the window after ten more; then it must stay away for a while.
    assert site.seconds(int(WINDOW_S + CALM_S) - 1, good=100) == []
    assert site.second(good=100) == [(False, 0.0)]
    assert site.alerts.firing() == []


def test_it_must_hold_for_so_long():
    site = Site(replace(ERRORS, for_ms=3_000))
    site.second()
    assert site.seconds(3, good=1, bad=9) == []
    assert site.second(good=1, bad=9) == [(True, 90.0)]


def test_a_pause_begins_the_time_anew():
    site = Site(AlarmRule("plant/idle", (SHOP,), AlarmMetric.EJECTED, for_ms=2_000))
    site.views = (view(PlaceState.EJECTED),)
    assert site.seconds(2) == []
    site.views = (view(PlaceState.IN_USE),)
    assert site.second() == []
    site.views = (view(PlaceState.EJECTED),)
    assert site.seconds(2) == []
    assert site.second() == [(True, 1.0)]


def test_a_value_within_the_margin_keeps_an_alarm_up():
    site = Site(AlarmRule("plant/fast", (SHOP,), AlarmMetric.REQUESTS_PER_SECOND, threshold=100))
    site.second()
    assert site.seconds(1, good=120) == [(True, 120.0)]
    assert site.seconds(40, good=95) == []
    assert site.seconds(int(WINDOW_S + CALM_S) + 1, good=89) == [(False, 89.0)]


def test_a_value_that_comes_back_while_it_clears_is_one_alarm():
    site = Site(AlarmRule("plant/out", (SHOP,), AlarmMetric.EJECTED))
    site.views = (view(PlaceState.PROBE_FAILED, PlaceState.IN_USE, PlaceState.EJECTED),)
    assert site.second() == [(True, 2.0)]
    for _ in range(5):
        site.views = (view(PlaceState.IN_USE),)
        assert site.seconds(int(CALM_S) - 1) == []
        site.views = (view(PlaceState.EJECTED),)
        assert site.second() == []
    site.views = (view(PlaceState.IN_USE),)
    assert site.seconds(int(CALM_S) + 1) == [(False, 0.0)]


@pytest.mark.parametrize(
    ("operator", "fires", "stays"),
    [(Operator.OVER, 11, 10), (Operator.AT_LEAST, 10, 9), (Operator.UNDER, 9, 10), (Operator.AT_MOST, 10, 11)],
)
def test_operators(operator, fires, stays):
    rule = AlarmRule("plant/rate", (SHOP,), AlarmMetric.REQUESTS_PER_SECOND, operator, threshold=10)
    for rate, fired in ((fires, [True]), (stays, [])):
        site = Site(rule)
        site.second()
        assert [firing for firing, _ in site.second(good=rate)] == fired


def test_slow_answers():
    site = Site(AlarmRule("plant/slow", (SHOP,), AlarmMetric.P99_MS, threshold=500))
    site.second()
    assert site.second(good=100, took_s=0.01) == []
    ((fired, value),) = site.second(good=5, took_s=0.9)
    assert fired
    assert 900 <= value <= 1_125


def test_without_traffic_there_is_nothing_to_compare():
    rules = [replace(ERRORS, key=f"plant/{op.name}", operator=op, threshold=50) for op in Operator]
    slow = AlarmRule("plant/quick", (SHOP,), AlarmMetric.P99_MS, Operator.UNDER, threshold=5)
    assert Site(*rules, slow).seconds(5) == []


def test_answers_of_the_mesh_itself_count():
    site = Site(replace(ERRORS, threshold=30))
    site.second()
    assert site.second(good=6, own=[Own.RATE_LIMITED] * 4) == []  # clients ask too much: no fault of the service
    assert site.second(own=[Own.NO_ENDPOINT, Own.UNREACHED] * 4) == [(True, pytest.approx(44.444, abs=0.01))]


def test_what_comes_by_another_s_route_counts_too():
    rule = AlarmRule("plant/fast", (SHOP,), AlarmMetric.REQUESTS_PER_SECOND, threshold=9)
    alerts, tally = Alerts(), Tally()
    alerts.follow([rule])
    front = replace(WEB, service=ServiceKey("plant", "front"))
    for now in (1.0, 2.0):
        shares = tuple(
            ShareCounts(key, (("10.0.0.1:80", tally.counts()),))
            for key in (
                ShareKey(front, "HTTPRoute plant/front", WEB),
                ShareKey(WEB, "", WEB),
                ShareKey(front, "", front),
            )
        )
        events = alerts.look(Snapshot(now, shares), now)
        for _ in range(10):
            tally.answered(200, 0.1)
    assert [event.value for event in events] == [20.0]


def test_an_open_breaker_is_an_alarm_until_it_is_closed():
    site = Site(AlarmRule("plant/spared", (SHOP,), AlarmMetric.BREAKER_OPEN))
    assert site.second() == []
    site.views = (view(breaker=BreakerState.OPEN),)
    assert site.second() == [(True, 1.0)]
    site.views = (view(breaker=BreakerState.HALF_OPEN),)
    assert site.seconds(20) == []
    site.views = (view(),)
    assert site.seconds(20) == [(False, 0.0)]


def test_no_endpoint_that_is_well_is_an_alarm():
    site = Site(AlarmRule("plant/gone", (SHOP,), AlarmMetric.NO_ENDPOINT))
    site.views = (view(PlaceState.EJECTED, PlaceState.RESERVE),)
    assert site.second() == []
    site.views = (view(PlaceState.EJECTED, PlaceState.NOT_READY),)
    (event,) = site.alerts.look(Snapshot(200.0, upstreams=site.views), 200.0)
    assert (event.about, event.text) == (SHOP, "plant/web: no endpoint of it is well")


def test_a_rule_that_goes_takes_its_alarm_with_it():
    rule = AlarmRule("plant/gone", (SHOP,), AlarmMetric.NO_ENDPOINT, summary="the shop is closed", severity="critical")
    site = Site(rule)
    site.views = (view(),)
    assert site.second() == [(True, 1.0)]
    site.alerts.follow([replace(rule, severity="info")])
    assert site.second() == []
    site.alerts.follow([])
    assert site.alerts.firing() == [(replace(rule, severity="info"), SHOP)]
    (event,) = site.alerts.look(Snapshot(300.0), 300.0)
    assert (event.firing, event.rule.severity) == (False, "info")
    assert site.alerts.look(Snapshot(301.0), 301.0) == []


def test_words_of_people_are_used():
    site = Site(AlarmRule("plant/gone", (SHOP,), AlarmMetric.NO_ENDPOINT, summary="the shop is closed"))
    (event,) = site.alerts.look(Snapshot(1.0, upstreams=(view(),)), 1.0)
    assert event.text == "the shop is closed"
    (event,) = Site(replace(ERRORS, metric=AlarmMetric.EJECTED, threshold=0)).alerts.look(
        Snapshot(1.0, upstreams=(view(PlaceState.EJECTED),)), 1.0
    )
    assert event.text == "plant/web: ejected is 1 (> 0 is an alarm)"


def test_counters_that_began_anew_are_no_negative_rate():
    site = Site(AlarmRule("plant/quiet", (SHOP,), AlarmMetric.REQUESTS_PER_SECOND, Operator.UNDER, threshold=5))
    site.seconds(5, good=10)
    site.tally = Tally()
    assert site.seconds(5, good=10) == []


@given(st.lists(st.integers(0, 3), max_size=60))
def test_alarms_and_their_ends_take_turns(ejected):
    site, firing = Site(AlarmRule("plant/out", (SHOP,), AlarmMetric.EJECTED, threshold=1, for_ms=2_000)), False
    for number in ejected:
        site.views = (view(*[PlaceState.EJECTED] * number),)
        for fired, _ in site.second():
            assert fired is not firing
            firing = fired
    site.views = (view(PlaceState.IN_USE),)
    assert len(site.seconds(10)) == firing


def test_what_is_remembered_is_bounded():
    site = Site(ERRORS)
    site.seconds(100, good=1)
    assert len(site.alerts._seen[SHOP]) <= WINDOW_S + 2
    site.alerts.follow([])
    site.second()
    assert not site.alerts._seen
