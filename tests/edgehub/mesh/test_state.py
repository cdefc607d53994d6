"""What the mesh's process says, and which services and routes look other for it."""

import pytest

from edgehub.mesh.state import State
from mesh.alerts import Alert
from mesh.frames import Counted, PlaneState, Programmed, Ready, Refused
from mesh.model.alarms import AlarmMetric, AlarmRule
from mesh.model.routes import RouteKey, RouteKind
from mesh.model.services import Plane, PortKey, ServiceKey
from mesh.problems import Problem, Reason
from mesh.snapshot import PlaceState, PlaceView, Snapshot, UpstreamView

pytestmark = pytest.mark.fast

WEB, SHOP = ServiceKey("plant", "web"), ServiceKey("plant", "shop")
ROUTE = RouteKey(RouteKind.HTTP, "plant", "split")
TAKEN = (Problem(Reason.ADDRESS_TAKEN, "another has it"),)


def counted(*states):
    places = tuple(PlaceView(f"192.0.2.{number}:80", state) for number, state in enumerate(states))
    return Counted(snapshot=Snapshot(0, upstreams=(UpstreamView(PortKey(WEB, 80), places),)))


def test_problems_that_come_change_or_go_make_their_subject_look_other():
    state = State()
    assert state.took(Programmed(number=1, problems={WEB: TAKEN, ROUTE: TAKEN}), 0) == {WEB, ROUTE}
    assert state.took(Programmed(number=2, problems={WEB: TAKEN}), 0) == {ROUTE}
    assert state.took(Programmed(number=3), 0) == set()
    assert state.problems == {WEB: TAKEN}
    assert state.programmed == 3


def test_an_endpoint_that_is_held_off_makes_its_service_look_other():
    state = State()
    assert state.took(counted(PlaceState.IN_USE), 1) == set()
    assert state.took(counted(PlaceState.EJECTED), 2) == {WEB}
    assert state.took(counted(PlaceState.EJECTED), 3) == set()
    assert state.took(counted(PlaceState.IN_USE), 4) == {WEB}


def test_a_refused_table_is_told_until_a_later_one_is_taken():
    state = State()
    state.took(Programmed(number=4), 0)
    state.took(Refused(number=5, why="an address is none"), 0)
    state.took(Programmed(number=4), 0)
    assert (state.refused, state.programmed) == ("an address is none", 4)
    state.took(Programmed(number=6), 0)
    assert state.refused == ""


def test_another_process_has_carried_out_nothing_yet():
    state = State()
    state.took(Ready(pid=1, planes=(PlaneState(plane=Plane.NFTABLES),)), 0)
    state.took(Programmed(number=4), 0)
    assert state.default_plane is Plane.NFTABLES
    rule = AlarmRule("plant/slow", (WEB,), AlarmMetric.P99_MS, threshold=500)
    state.alerted([Alert(rule, WEB, True, 0.0, 812.345, "slow")], 0.0, 1_000_000)
    state.began_anew()
    assert (state.ready, state.programmed, state.default_plane) == (None, 0, Plane.USERSPACE)
    assert not state.firing  # it says so again if it is still so


def test_an_alarm_stands_until_it_is_over_and_tells_since_when_by_the_clock_on_the_wall():
    state, rule = State(), AlarmRule("plant/slow", (WEB,), AlarmMetric.P99_MS, threshold=500)
    state.alerted([Alert(rule, WEB, True, 90.0, 812.345, "slow")], 100.0, 1_000_000)
    body = state.firing["plant/slow", WEB]
    assert (body.since, body.value, body.firing) == (990_000, 812.3, True)
    assert state.alerts_of(WEB) == ("plant/slow",)
    assert state.alerts_of(SHOP) == ()
    state.alerted([Alert(rule, WEB, False, 100.0, 100, "")], 100.0, 1_000_000)
    assert not state.firing
    assert state.alerts_of(WEB) == ()
