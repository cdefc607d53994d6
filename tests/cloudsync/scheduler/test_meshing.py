"""Services of the cloud at the gateways that use them, with where the pods of other gateways are reached."""

import contextlib

import pytest

from cloudsync.placing import Carried, Placing
from tests.cloudsync.scheduler.site import deployment, gateway, open_site, pod
from twin.errors import StoreError
from twin.manifest.catalog import content_hash
from twin.manifest.problems import InvalidManifest
from twin.wire.api import ApplyMode

pytestmark = pytest.mark.fast

SHOP = "Service plant/shop"


def service(name="shop", *, labels=None, gateways=None, **spec):
    metadata = {"namespace": "plant", "name": name, **({"labels": labels} if labels else {})}
    if gateways:
        metadata["annotations"] = {"edgetwin.dev/gateways": gateways}
    said = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": said}


def route(name, parent, *backends):
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"namespace": "plant", "name": name},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": parent}],
            "rules": [{"backendRefs": [{"name": one, "port": 80} for one in backends]}],
        },
    }


def policy(name, target, kind="Service", **spec):
    return {
        "apiVersion": "edgetwin.dev/v1",
        "kind": "Policy",
        "metadata": {"namespace": "plant", "name": name},
        "spec": {"targetRefs": [{"kind": kind, "name": target}], **(spec or {"stale": {}})},
    }


@pytest.fixture
def site(tmp_path):
    with open_site(tmp_path, "gw-1", "gw-2") as made:
        made.report_own("gw-1", mesh={"interest": [], "address": "192.0.2.1", "tunnel": ""})
        made.report_own("gw-2", mesh={"interest": [], "address": "192.0.2.2", "tunnel": ""})
        yield made


def asked(site, name, *services, tick=78, **more):
    said = {"interest": list(services), "address": f"192.0.2.{name[-1]}", "tunnel": "", **more}
    site.report_own(name, mesh=said, tick=tick)


def slices(site, name):
    return {what: row.raw for what, row in site.documents(name).items() if what.startswith("EndpointSlice")}


def test_a_service_goes_to_the_gateways_that_asked_for_it_and_no_others(site):
    site.apply(service(), service("other"))
    site.settle(3)
    assert (site.documents("gw-1"), site.documents("gw-2")) == ({}, {})
    asked(site, "gw-2", "plant/shop", "plant/nosuch")
    site.settle(3)
    assert set(site.documents("gw-1")) == set()
    assert set(site.documents("gw-2")) == {SHOP}
    asked(site, "gw-2", tick=79)
    site.settle(3)
    assert set(site.documents("gw-2")) == set()


def test_a_service_goes_where_its_annotation_says(site):
    site.apply(service(gateways="*"), service("other", gateways="gw-2, gw-9"))
    site.settle(3)
    assert set(site.documents("gw-1")) == {SHOP}
    assert set(site.documents("gw-2")) == {SHOP, "Service plant/other"}


def test_what_a_service_needs_goes_with_it(site):
    listed = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "plant", "name": "far-1", "labels": {"kubernetes.io/service-name": "far"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["192.0.2.9"]}],
        "ports": [{"name": "http", "port": 8080}],
    }
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"namespace": "plant", "name": "far"},
        "spec": {"host": "far.plant.svc.cluster.local"},
    }
    alarm = {
        "apiVersion": "edgetwin.dev/v1",
        "kind": "AlarmRule",
        "metadata": {"namespace": "plant", "name": "front"},
        "spec": {"service": {"matchLabels": {"tier": "front"}}, "metric": "noEndpoint"},
    }
    instead = {"backendRef": {"name": "last", "port": 80}}
    spare = policy("spare", "far", degrade=[{"when": "noEndpoint", "then": instead}])
    limits = policy("limits", "shop", "HTTPRoute", rateLimit={"tokenBucket": {"maxTokens": 1}})
    site.apply(
        service(labels={"tier": "front"}, gateways="gw-1"),
        *(service("far"), service("last"), service("none"), listed, rule, alarm, spare),
        *(route("shop", "shop", "far"), route("far", "far", "none"), limits),
    )
    site.settle(3)
    assert set(site.documents("gw-1")) == {
        SHOP,
        "HTTPRoute plant/shop",
        "Policy plant/limits",
        "AlarmRule plant/front",
        "Service plant/far",
        "EndpointSlice plant/far-1",
        "DestinationRule plant/far",
        "Policy plant/spare",
    }
    assert site.documents("gw-2") == {}


def test_pods_are_told_to_the_other_gateways(site):
    site.apply(service(), deployment(2))
    site.settle(5)
    (one, other) = sorted(site.where())
    places = {name: there for name, (there,) in site.where().items()}
    assert set(places.values()) == {"gw-1", "gw-2"}  # each has a pod, and so the Service
    site.report(places[one], one, ready=True)
    site.report(places[other], other, ready=False)
    site.settle(5)
    for mine, theirs in ((one, other), (other, one)):
        ((_, raw),) = slices(site, places[mine]).items()
        (endpoint,) = raw["endpoints"]
        assert endpoint["addresses"] == [f"192.0.2.{places[theirs][-1]}"]
        assert endpoint["conditions"] == {"ready": theirs == one}
        assert endpoint["nodeName"] == places[theirs]
        assert raw["metadata"]["labels"]["kubernetes.io/service-name"] == "shop"
        assert raw["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert "annotations" not in raw["metadata"]


def test_a_change_of_one_pod_changes_one_document(site):
    site.apply(service(), deployment(2))
    site.settle(5)
    places = {name: there for name, (there,) in site.where().items()}
    for name, there in places.items():
        site.report(there, name, ready=True)
    site.settle(5)
    before = {there: site.documents(there) for there in places.values()}
    (one, _) = sorted(places)
    site.report(places[one], one, tick=100, ready=False)
    site.settle(5)
    changed = [
        (there, what)
        for there, had in before.items()
        for what, row in site.documents(there).items()
        if had.get(what) != row
    ]
    assert [what.partition(" ")[0] for _, what in changed] == ["EndpointSlice"]
    assert changed[0][0] != places[one]


def test_pods_in_networks_of_their_own_are_reached_through_their_gateway(site):
    asked(site, "gw-2", tunnel="192.0.2.2:20006", zone="south", tick=80)
    site.apply(service(gateways="*"), own_network("shop-a", "gw-2"))
    site.settle(5)
    site.report("gw-2", "plant/shop-a", ready=True, address="10.89.0.7")
    site.settle(5)
    ((_, raw),) = slices(site, "gw-1").items()
    assert raw["metadata"]["annotations"] == {"edgetwin.dev/tunnel": "192.0.2.2:20006"}
    assert (raw["endpoints"][0]["addresses"], raw["endpoints"][0]["zone"]) == (["10.89.0.7"], "south")


def own_network(name, there):
    made = pod(name, nodeName=there, runtimeClassName="podman")
    made["metadata"]["labels"] = {"app": "shop"}
    made["spec"]["containers"] = [{"name": "app", "image": "docker.io/library/nginx:1"}]
    return made


def test_pods_that_a_gateway_has_of_its_own_are_told_too(site):
    raw = own_network("shop-own", "gw-1")
    site.put("gw-1", raw)
    site.apply(service(gateways="gw-2"))
    site.settle(5)
    site.report("gw-1", "plant/shop-own", ready=True, address="10.89.0.8")
    site.settle(5)
    ((_, found),) = slices(site, "gw-2").items()
    assert found["endpoints"][0]["addresses"] == ["10.89.0.8"]
    assert found["metadata"]["annotations"] == {"edgetwin.dev/tunnel": ""}  # by the relay
    assert SHOP in site.documents("gw-1")  # it runs a pod of the selector
    assert slices(site, "gw-1") == {}


def test_a_service_that_a_gateway_has_of_its_own_is_left_as_it_is(site):
    site.put("gw-1", service(ports=[{"port": 1}]))
    site.apply(service(gateways="*"))
    site.settle(5)
    assert site.documents("gw-1")[SHOP].raw["spec"]["ports"] == [{"port": 1}]
    site.apply(service(), mode=ApplyMode.DELETE)
    site.settle(5)
    assert set(site.documents("gw-1")) == {SHOP}
    assert site.documents("gw-2") == {}


def test_what_came_into_being_at_a_gateway_since_it_was_looked_at_is_left_as_it_is(site):
    site.put("gw-1", service(ports=[{"port": 1}]))
    own = site.documents("gw-1")[SHOP]
    placing = Placing(site.gateways_hub, site.store, new_uid=site.ids.uid)
    raw = service()
    site.run(placing.carry("gw-1", {own.state.ref: Carried(raw, content_hash(raw))}, [], by="x"))
    site.run(placing.carry("gw-1", {}, [own.state.ref], by="x"))
    assert site.documents("gw-1") == {SHOP: own}


def test_what_was_carried_and_changed_or_deleted_at_a_gateway_comes_back(site):
    site.apply(service(gateways="gw-1"))
    site.settle(3)
    whole = site.documents("gw-1")[SHOP]
    site.put("gw-1", service(ports=[{"port": 1}]))
    site.settle(12)
    again = site.documents("gw-1")[SHOP]
    assert (again.raw, again.state.uid) == (whole.raw, whole.state.uid)
    assert again.state.generation > whole.state.generation
    site.take("gw-1", SHOP)
    site.settle(12)
    assert site.documents("gw-1")[SHOP].raw == whole.raw
    assert site.documents("gw-1")[SHOP].state.uid != whole.state.uid  # a life that has ended does not come back


def test_the_last_service_is_taken_away_by_a_scheduler_that_never_knew_it(site):
    site.apply(service(gateways="*"))
    site.settle(3)
    site.apply(service(), mode=ApplyMode.DELETE)
    site.new_scheduler()
    site.settle(20)
    assert (site.documents("gw-1"), site.documents("gw-2")) == ({}, {})


def test_nothing_goes_to_a_gateway_that_was_shut_out(site):
    site.apply(service(gateways="*"))
    site.unknown.add("gw-2")
    site.settle(5)
    assert set(site.documents("gw-1")) == {SHOP}
    assert site.documents("gw-2") == {}


def test_once_all_is_there_nothing_is_written(site):
    site.apply(service(gateways="*"), deployment(2), gateway("gw-1"))
    site.settle(5)
    for name, (there,) in site.where().items():
        site.report(there, name, ready=True)
    site.settle(5)
    writes = site.writes
    site.settle(20)
    assert site.writes <= writes + 20  # leases alone


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("write", range(1, 6))
def test_a_worker_killed_at_any_write_leaves_what_the_next_one_completes(tmp_path, write, late):
    with open_site(tmp_path, "gw-1", "gw-2") as site:
        site.apply(service(gateways="*"), route("r", "shop", "shop"), service("other"))
        site.fails_at, site.is_late = site.writes + write, late
        for _ in range(3):
            with contextlib.suppress(StoreError):
                site.settle(2)
            site.fails_at = 0
            site.new_scheduler()
            site.wait(11)
        site.settle(3)
        for name in ("gw-1", "gw-2"):
            assert set(site.documents(name)) == {SHOP, "HTTPRoute plant/r"}
            assert all(row.state.generation == 1 for row in site.documents(name).values())


def test_a_document_that_no_gateway_could_use_is_refused_before_it_is_carried(site):
    bad = route("bad", "shop", "shop")
    bad["spec"]["hostnames"] = ["*"]
    with pytest.raises(InvalidManifest, match="wildcard in the wrong place"):
        site.apply(bad)
