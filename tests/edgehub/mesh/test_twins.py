"""What the twins of services and routes are called, report, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgehub.mesh.here import Place
from edgehub.mesh.twins import Live, changed, differs, route_twin, service_twin, twin_key
from mesh.compile import compile_table
from mesh.model.routes import Route, RouteKey, RouteKind
from mesh.model.services import Endpoint, PortKey, Service, ServiceKey, ServicePort
from mesh.model.table import Table
from mesh.problems import Problem, Reason
from twin.model import NAME
from twin.wire.mesh import RouteRates, RouteTwin

pytestmark = pytest.mark.fast

HERE = Place("gw-1", "192.0.2.1", "hall-1")
WEB = ServiceKey("plant", "web")
NAMES = st.from_regex(NAME, fullmatch=True)


def web(*endpoints):
    return Service(WEB, "127.96.1.2", (ServicePort(80, "http", endpoints=endpoints),))


def told(service, live=None, problems=()):
    compiled = compile_table(Table({service.key: service}))
    return service_twin(service, compiled.programme, problems, live or Live(), HERE, programmed=True)


@given(NAMES, NAMES)
def test_the_name_of_a_twin_is_always_a_name(name, gateway):
    assert NAME.fullmatch(twin_key(ServiceKey("plant", name), gateway).name)


@given(NAMES, NAMES, NAMES, NAMES)
def test_two_services_or_gateways_never_share_a_twin(name, gateway, other, other_gateway):
    if "." not in name + other:
        same = (name, gateway) == (other, other_gateway)
        keys = twin_key(ServiceKey("plant", name), gateway), twin_key(ServiceKey("plant", other), other_gateway)
        assert (keys[0] == keys[1]) is same


def test_a_route_has_its_kind_in_the_name_of_its_twin():
    key = RouteKey(RouteKind.HTTP, "plant", "web")
    assert str(twin_key(key, "gw-1")) == "route/plant/web.httproute.gw-1"
    assert str(twin_key(WEB, "gw-1")) == "route/plant/web.gw-1"


def test_endpoints_come_in_the_order_in_which_they_are_preferred():
    far, near = Endpoint("192.0.2.9", 80, node="gw-9"), Endpoint("192.0.2.2", 80, node="gw-2", zone="hall-1")
    here, old = Endpoint("192.0.2.1", 80, node="gw-1"), Endpoint("192.0.2.8", 80, node="gw-8", stale=True)
    bad, ends = Endpoint("192.0.2.7", 80, ready=False), Endpoint("192.0.2.6", 80, terminating=True)
    live = Live({PortKey(WEB, 80): {"192.0.2.2:80": "ejected"}})
    shown = [(one.place, one.health) for one in told(web(bad, far, ends, old, near, here), live).endpoints]
    assert shown == [
        ("192.0.2.1:80", "ready"),
        ("192.0.2.9:80", "ready"),
        ("192.0.2.8:80", "stale"),
        ("192.0.2.2:80", "ejected"),
        ("192.0.2.6:80", "terminating"),
        ("192.0.2.7:80", "not-ready"),
    ]


def test_a_problem_is_the_condition_that_it_makes_false():
    one = told(web(), problems=(Problem(Reason.PLANE_FAILED, "port 80 is taken"),))
    condition = one.conditions["Programmed"]
    assert (condition.holds, condition.reason, condition.message) == (False, "PlaneFailed", "port 80 is taken")
    assert one.conditions["Accepted"].holds
    assert one.ports[0].plane == "userspace"


def test_a_route_that_nothing_carries_out_yet_is_pending():
    route = Route(RouteKey(RouteKind.HTTP, "plant", "split"), (PortKey(WEB, 80), PortKey(WEB, 0)), ())
    one = route_twin(route, (), RouteRates(), programmed=False)
    assert (one.parents, one.conditions["Programmed"].reason) == (["plant/web:80", "plant/web"], "Pending")


def test_only_what_is_other_is_reported():
    before = told(web(Endpoint("192.0.2.1", 80))).model_dump(mode="json")
    now = told(web(Endpoint("192.0.2.1", 80, ready=False)))
    assert set(changed(before, now, rates=True)) == {"endpoints"}
    assert changed(now.model_dump(mode="json"), now, rates=True) == {}


@pytest.mark.parametrize(
    ("before", "now", "worth"),
    [
        ((100, 1, 5), (110, 1.5, 5.9), False),
        ((100, 0, 5), (130, 0, 5), True),
        ((100, 1, 5), (100, 3, 5), True),
        ((100, 0, 5), (100, 0, 7), True),
        ((0.2, 0, 0), (0, 0, 0), True),
        ((0, 0, 0), (0.1, 0, 0), True),
        ((1, 0, 1), (1.4, 0, 1), False),
    ],
)
def test_rates_are_reported_when_they_differ_by_more_than_their_noise(before, now, worth):
    rates = [RouteRates(requests_s=a, error_percent=b, p99_ms=c) for a, b, c in (before, now)]
    assert differs(*rates) is worth
    twins = [RouteTwin(kind="Service", name="plant/web", rates=one) for one in rates]
    said = twins[0].model_dump(mode="json")
    assert bool(changed(said, twins[1], rates=True)) is worth
    assert changed(said, twins[1], rates=False) == {}
