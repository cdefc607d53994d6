"""The bridge between a cluster and a cloud, against the tests' API server."""

import asyncio
import contextlib
from pathlib import Path

import pytest
import yaml

from cloudsync.kube.client import connected
from cloudsync.store.opening import open_store
from tests.cloudsync.kube.rig import Rig, until
from tests.kube_server.access import rules_of
from tests.kube_server.server import KubeServer
from twin.clock import SystemClock
from twin.model import Kind, TwinKey

CRDS = Path("cloudsync/kube/crds")
ROLES = Path("cloudsync/deploy/kubernetes")
MODEL = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "DeviceModel",
    "metadata": {"name": "tank"},
    "spec": {"properties": [{"name": "level", "type": "INT", "accessMode": "ReadOnly"}]},
}

PUMP = TwinKey(Kind.DEVICE, "default", "pump")


def pod(name="web", node="gw-1", **spec):
    container = {"name": "app", "image": "host", "command": ["sleep", "9"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": [container], **spec},
    }


def device(name="pump", node="gw-1"):
    spec = {"deviceModelRef": {"name": "tank"}, "nodeName": node, "properties": [{"name": "level"}]}
    return {"apiVersion": MODEL["apiVersion"], "kind": "Device", "metadata": {"name": name}, "spec": spec}


def roles():
    return [one for path in sorted(ROLES.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]


class World:
    def __init__(self, server, rig, client):
        self.server = server
        self.rig = rig
        self.client = client

    def pod_phase(self, name):
        one = self.server.get("pods", name)
        return one["status"]["phase"] if one else None

    def ready(self, node):
        one = self.server.get("nodes", node, "")
        found = {each["type"]: each["status"] for each in (one or {}).get("status", {}).get("conditions", ())}
        return found.get("Ready")

    def set_of(self, edge):
        return {f"{ref.kind} {ref.name}" for ref, row in edge.rows.items() if row.state.uid}


@pytest.fixture
async def world(tmp_path):
    with KubeServer(bookmark_s=0.2) as server:
        for path in sorted(CRDS.glob("*.yaml")):
            server.create(yaml.safe_load(path.read_text()))
        kubeconfig = server.kubeconfig(tmp_path / "kubeconfig", server.add_user("edgetwin", rules_of(roles())))
        rig = Rig(tmp_path, open_store(f"sqlite:///{tmp_path / 'cloud.db'}", SystemClock()), SystemClock())
        async with connected(str(kubeconfig), "") as client, rig.opened():
            yield World(server, rig, client)


async def synced(edge, holds):
    """Exchange until this is so."""
    for _ in range(200):
        await edge.sync()
        if holds():
            return
        with contextlib.suppress(TimeoutError):
            await until(holds, 0.1)
    raise AssertionError("it never was")


async def test_the_roles_that_are_shipped_are_those_that_are_needed(world):
    server, edge, other = world.server, world.rig.edge("gw-1"), world.rig.edge("gw-2")
    foreign = server.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gw-2"}})
    await edge.sync()
    await other.sync()
    server.create(pod())
    server.create(pod("grand", activeDeadlineSeconds=9))
    server.create(MODEL)
    server.create(device())
    async with world.rig.bridge(world.client):
        await until(lambda: world.ready("gw-1") == "True")
        await synced(edge, lambda: world.pod_phase("web") == "Running")
        await until(lambda: server.all("events"))
        server.delete("pods", "web")
        await synced(edge, lambda: world.pod_phase("web") is None)
        await until(lambda: server.get("devicestatuses", "pump"))
        await edge.report(PUMP, {"level": 7})
        await until(lambda: server.get("devicestatuses", "pump")["status"]["twins"])
        server.merge("nodes", "gw-1", {"metadata": {"labels": {"kubernetes.io/os": "none"}}}, "")
        await until(lambda: server.get("nodes", "gw-1", "")["metadata"]["labels"]["kubernetes.io/os"] == "linux")
    assert server.get("nodes", "gw-2", "") == foreign, "a node that is no gateway is left alone"
    server.delete("customresourcedefinitions", "devicestatuses.devices.kubeedge.io", "")
    async with world.rig.bridge(world.client):
        await until(lambda: (server.get("devices", "pump").get("status") or {}).get("twins"))
        world.rig.known.discard("gw-1")
        await until(lambda: server.get("nodes", "gw-1", "") is None)
    assert server.user("edgetwin").asked == {
        (verb, group, resource)
        for rule in rules_of(roles())
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


async def test_what_pods_need_goes_with_them_and_goes_when_nobody_needs_it(world):
    server, edge = world.server, world.rig.edge("gw-1")
    await edge.sync()
    for name in ("app", "unused"):
        server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": "1"}})
    server.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"k": "s"}})
    server.create(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    )
    piece = {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.7"]}], "ports": [{"port": 80}]}
    about = {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}}
    server.create({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": about, **piece})
    source = [{"configMapRef": {"name": "app"}}, {"secretRef": {"name": "key"}}]
    wanted = pod()
    wanted["spec"]["containers"][0]["envFrom"] = source
    server.create(wanted)
    everything = {"Pod web", "ConfigMap app", "Secret key", "Service web", "EndpointSlice web-1"}
    async with world.rig.bridge(world.client):
        await synced(edge, lambda: world.set_of(edge) == everything)
        server.merge("configmaps", "app", {"data": {"x": "2"}})
        await synced(edge, lambda: _data(edge, "app") == {"x": "2"})
        first = _data(edge, "key")
        assert edge.reader.opened(first["k"], [b"default", b"key", b"k"]) == b"s"
        server.merge("secrets", "key", {"data": {"k": "bmV3"}})  # new
        await synced(edge, lambda: _data(edge, "key") != first)
        again = _data(edge, "key")
        assert edge.reader.opened(again["k"], [b"default", b"key", b"k"]) == b"new"
    async with world.rig.bridge(world.client):
        server.merge("configmaps", "app", {"data": {"x": "3"}})
        await synced(edge, lambda: _data(edge, "app") == {"x": "3"})
        assert _data(edge, "key") == again, "the same Secret is not encrypted anew"
        server.delete("pods", "web")
        await synced(edge, lambda: world.set_of(edge) == set())


async def test_a_pod_moves_to_another_gateway_only_after_the_first_was_told(world):
    first, second = world.rig.edge("gw-1"), world.rig.edge("gw-2")
    await first.sync()
    await second.sync()
    world.server.create(pod())
    async with world.rig.bridge(world.client):
        await synced(first, lambda: world.pod_phase("web") == "Running")
        await first.leave()
        world.server.delete("pods", "web", gracePeriodSeconds=0)  # as who gives a lost node up
        world.server.create(pod(node="gw-2"))
        await synced(second, lambda: world.pod_phase("web") == "Running")
        assert first.pods(), "it is cut off and was told nothing"
        await synced(first, lambda: not first.pods())
        assert world.pod_phase("web") == "Running"
        await second.sync()
        assert second.pods() == {"web": world.server.get("pods", "web")["metadata"]["uid"]}


async def test_a_pod_that_was_never_sent_goes_at_once_and_one_at_a_lost_gateway_waits(world):
    edge = world.rig.edge("gw-1")
    await edge.sync()
    world.server.create(pod())
    async with world.rig.bridge(world.client):
        await synced(edge, lambda: world.pod_phase("web") == "Running")
        await edge.leave()
        world.server.delete("pods", "web")
        world.server.create(pod("never", activeDeadlineSeconds=9))
        await until(lambda: world.server.get("pods", "never")["status"].get("reason") == "UnsupportedByGateway")
        world.server.delete("pods", "never")
        await until(lambda: world.pod_phase("never") is None)
        assert world.pod_phase("web") == "Running"
        await synced(edge, lambda: world.pod_phase("web") is None)


async def test_a_document_of_somebody_else_is_left_alone_and_the_pod_says_so(world):
    edge = world.rig.edge("gw-1")
    await edge.sync()
    world.server.create(pod())
    async with world.rig.bridge(world.client):
        await synced(edge, lambda: world.pod_phase("web") == "Running")
        uid = edge.pods()["web"]
    lost = KubeServer(bookmark_s=0.2)
    with lost:
        lost.create(pod())
        kubeconfig = lost.kubeconfig(world.rig.folder / "other")
        async with connected(str(kubeconfig), "") as client, world.rig.bridge(client):
            await until(lambda: "already" in lost.get("pods", "web")["status"].get("message", ""))
            await edge.sync()
            assert edge.pods() == {"web": uid}


async def test_refusals_and_slow_answers_of_the_api_server_only_delay(world):
    server, edge = world.server, world.rig.edge("gw-1")
    await edge.sync()
    struck = [
        server.faults.fail(429, 2, verb="patch", plural="pods", retry_after=0.05),
        server.faults.fail(409, 2, verb="patch", plural="pods"),
        server.faults.fail(500, 2, verb="create", plural="nodes"),
        server.faults.fail(503, 1, verb="list", plural="pods", retry_after=0.05),
    ]
    server.create(pod())
    async with world.rig.bridge(world.client):
        await synced(edge, lambda: world.pod_phase("web") == "Running")
        await until(lambda: world.ready("gw-1") == "True")
    assert [one.times for one in struck] == [0, 0, 0, 0]


def _data(edge, name):
    return next((row.raw["data"] for ref, row in edge.rows.items() if ref.name == name and row.raw), None)


async def test_nodes_may_have_a_prefix_and_other_namespaces_are_left_alone(world):
    server, edge = world.server, world.rig.edge("gw-1")
    await edge.sync()
    server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "plant"}})
    server.create(pod("other", node="edge-gw-1"))
    server.create(pod("plain", node="gw-1"))
    server.create({**pod("mine", node="edge-gw-1"), "metadata": {"name": "mine", "namespace": "plant"}})
    async with world.rig.bridge(world.client, node_prefix="edge-", namespaces=("plant",), taint=False):
        await until(lambda: world.ready("edge-gw-1") == "True")
        await synced(edge, lambda: world.set_of(edge) == {"Pod mine"})
        assert server.get("nodes", "gw-1", "") is None
        assert "taints" not in server.get("nodes", "edge-gw-1", "")["spec"]
    spaces = {one[2] for one in server.requests if one[0] == "watch" and one[1] != "nodes"}
    assert spaces == {"plant"}


async def test_one_gateway_whose_pods_wait_does_not_let_the_leases_of_others_run_out(world):
    server, edge = world.server, world.rig.edge("gw-1")
    await edge.sync()
    server.create(pod("grand", activeDeadlineSeconds=9))
    refused = server.faults.fail(403, 1000, verb="create", plural="events")
    async with world.rig.bridge(world.client):
        await until(lambda: refused.struck)
        await until(lambda: world.ready("gw-1") == "True")
        await until(lambda: server.get("leases", "gw-1", "kube-node-lease"))


async def test_a_line_that_comes_and_goes_all_the_time_costs_the_cluster_little(world):
    edge = world.rig.edge("gw-1")
    await edge.sync()
    async with world.rig.bridge(world.client):
        await until(lambda: world.ready("gw-1") == "True")
        for _ in range(30):
            await edge.leave()
            await edge.sync()
            await asyncio.sleep(0.02)
        await until(lambda: world.ready("gw-1") == "True")
    assert len([one for one in world.server.requests if one[:2] == ("patch", "nodes/status")]) <= 3


async def test_what_keeps_it_from_following_is_told_until_it_heals(world):
    server = world.server
    refused = server.faults.fail(403, 1000, plural="services")
    async with world.rig.bridge(world.client):
        await until(lambda: "services of all namespaces: " in world.rig.running.trouble())
        refused.times = 0
        await until(lambda: not world.rig.running.trouble())
