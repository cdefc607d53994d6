"""Rates, errors and health, as they come out of the planes' counters."""

import pytest

from edgehub.mesh.traffic import WINDOW_S, Traffic
from mesh.breaker import BreakerState
from mesh.model.services import PortKey, ServiceKey
from mesh.snapshot import (
    EdgeCounts,
    EdgeKey,
    Own,
    PlaceState,
    PlaceView,
    ShareCounts,
    ShareKey,
    Snapshot,
    UpstreamView,
)
from mesh.tally import Counts, bucket_of

pytestmark = pytest.mark.fast

WEB = PortKey(ServiceKey("plant", "web"), 80)
ROUTE = "HTTPRoute plant/split"


def counts(ok=0, bad=0, failed=0, took_ms=2.0):
    times = ((bucket_of(int(took_ms * 1000)), ok + bad),) if ok + bad else ()
    return Counts(by_class=(0, 0, ok, 0, 0, bad), failed=failed, bytes_in=10 * ok, bytes_out=90 * ok, times=times)


def snapshot(*, route="", own=(), edges=(), upstreams=(), **numbers):
    share = ShareCounts(ShareKey(WEB, route, WEB), (("192.0.2.1:80", counts(**numbers)),), own)
    return Snapshot(0, (share,), edges, upstreams)


def test_a_rate_is_what_was_added_over_the_seconds_between():
    traffic = Traffic()
    traffic.took(snapshot(ok=100), 1000)
    traffic.took(snapshot(ok=150), 1005)
    assert traffic.rates()["plant/web"].requests_s == 10


def test_the_first_counters_of_a_process_make_no_rate_of_their_past():
    traffic = Traffic()
    traffic.took(snapshot(ok=100_000), 1000)
    assert traffic.rates()["plant/web"].requests_s == 0


def test_what_is_older_than_the_window_counts_no_more():
    traffic = Traffic()
    for second, ok in enumerate((0, *[500] * 30)):
        traffic.took(snapshot(ok=ok), 1000 + second)
    assert traffic.rates()["plant/web"].requests_s == 0
    (body,) = traffic.bodies()
    assert (body.requests, body.requests_s) == (500, 0)
    assert WINDOW_S < 30


def test_answers_of_the_mesh_itself_are_errors_unless_the_client_is_to_blame():
    traffic = Traffic()
    traffic.took(snapshot(), 1000)
    own = ((Own.NO_ENDPOINT, 2), (Own.BAD_REQUEST, 4))
    traffic.took(snapshot(ok=12, bad=2, own=own), 1010)
    assert traffic.rates()["plant/web"].error_percent == 20


def test_a_try_that_was_repeated_with_success_is_no_error_but_a_loss_of_the_call():
    traffic = Traffic()
    edge = EdgeKey("plant/till", WEB.service)
    traffic.took(snapshot(edges=(EdgeCounts(edge, counts()),)), 1000)
    traffic.took(snapshot(ok=9, failed=1, edges=(EdgeCounts(edge, counts(ok=9, failed=1)),)), 1010)
    assert traffic.rates()["plant/web"].error_percent == 0
    (call,) = traffic.calls()
    assert (call.caller, call.service, call.requests_s, call.loss_percent) == ("plant/till", "plant/web", 1, 10)


def test_the_slowest_hundredth_is_told_within_a_bucket():
    traffic = Traffic()
    traffic.took(snapshot(), 1000)
    traffic.took(snapshot(ok=10, took_ms=4.0), 1010)
    assert 4 <= traffic.rates()["plant/web"].p99_ms <= 4.8


def test_a_route_and_its_service_have_rates_of_their_own():
    traffic = Traffic()
    traffic.took(snapshot(route=ROUTE), 1000)
    traffic.took(snapshot(route=ROUTE, ok=10), 1010)
    assert {name: one.requests_s for name, one in traffic.rates().items()} == {"plant/web": 1, ROUTE: 1}
    assert [body.name for body in traffic.bodies()] == ["plant/web"]


def test_a_process_that_began_anew_counts_from_nothing():
    traffic = Traffic()
    traffic.took(snapshot(ok=1000, own=((Own.TIMEOUT, 5),)), 1000)
    traffic.took(snapshot(ok=10), 1010)
    assert traffic.rates()["plant/web"].requests_s == 1
    traffic.began_anew()
    assert traffic.rates() == {}


def test_places_that_are_held_off_and_breakers_that_are_not_closed_are_told():
    traffic = Traffic()
    places = (PlaceView("a:1", PlaceState.IN_USE), PlaceView("b:1", PlaceState.EJECTED))
    other = UpstreamView(PortKey(WEB.service, 81), breaker=BreakerState.HALF_OPEN)
    traffic.took(snapshot(upstreams=(UpstreamView(WEB, places, BreakerState.OPEN), other)), 1000)
    assert traffic.health()[WEB] == {"b:1": "ejected"}
    assert traffic.breakers() == {WEB.service: BreakerState.OPEN.value}
