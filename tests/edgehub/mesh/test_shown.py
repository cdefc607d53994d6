"""What the mesh's commands print of what they are told."""

import pytest

from edgehub.commands.mesh_graph import tree
from edgehub.commands.mesh_resolve import full_name
from edgehub.commands.mesh_routes import route_of
from edgehub.commands.mesh_top import busiest, size_text
from twin.wire.api import LeafBody, TwinBody
from twin.wire.mesh import CallBody, MeshReply, TrafficBody

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("web", "web.shop.svc.cluster.local"),
        ("web.plant", "web.plant.svc.cluster.local"),
        ("web.plant.svc", "web.plant.svc.cluster.local"),
        ("web.plant.svc.cluster.local", "web.plant.svc.cluster.local"),
        ("_http._tcp.web.plant.svc.cluster.local", "_http._tcp.web.plant.svc.cluster.local"),
        ("example.org.", "example.org"),
        ("www.example.org", "www.example.org"),
    ],
)
def test_a_short_name_is_completed_as_a_pod_would(written, meant):
    assert full_name(written, "shop", "cluster.local") == meant


def test_the_graph_shows_what_a_called_service_calls_below_it():
    calls = [
        CallBody(caller="till", service="shop", requests_s=20.4, p99_ms=4.1),
        CallBody(caller="shop", service="stock", requests_s=1, p99_ms=1.25, loss_percent=0.2),
        CallBody(caller="till", service="clock", requests_s=1, p99_ms=1),
    ]
    assert list(tree(calls)) == [
        "till",
        "├─ shop  20.4/s, p99 4.1 ms",
        "│  └─ stock  1.0/s, p99 1.2 ms, 0.2 % lost",
        "└─ clock  1.0/s, p99 1.0 ms",
    ]


def test_services_that_call_each_other_in_a_circle_are_shown_once():
    calls = [CallBody(caller="a", service="b"), CallBody(caller="b", service="a")]
    assert [line.split("  0")[0] for line in tree(calls)] == ["a", "└─ b", "   └─ a"]


def test_the_busiest_service_comes_first():
    reply = MeshReply(
        state="running",
        traffic=[TrafficBody(name="a", requests=9), TrafficBody(name="b", requests_s=1), TrafficBody(name="c")],
    )
    assert [one.name for one in busiest(reply)] == ["b", "a", "c"]


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (71_500, "71.5 kB"), (3.2e12, "3.2 TB")])
def test_sizes_are_read_by_people(size, text):
    assert size_text(size) == text


def test_a_twin_that_has_not_reported_yet_is_no_route():
    assert route_of(TwinBody(twin="route/plant/web.gw-1", version=1)) is None
    told = {"kind": LeafBody(value="Service"), "name": LeafBody(value="plant/web"), "other": LeafBody(value=1)}
    assert route_of(TwinBody(twin="route/plant/web.gw-1", version=1, reported=told)).name == "plant/web"
