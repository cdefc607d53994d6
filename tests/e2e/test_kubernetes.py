"""A cluster as the source of truth: pods and devices of the tests' API server on a real cloud and a real gateway."""

import asyncio
import contextlib
import os
import shutil
import signal
import time

import pytest

from tests.cloudsync.process import CloudProcess
from tests.docs.conftest import ROOT, read_page
from tests.docs.reader import Reader
from tests.e2e.kube_site import KubeSite, pod
from tests.e2e.test_pods import alive, starts
from twin.errors import UnknownTwin

MODEL = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "DeviceModel",
    "metadata": {"name": "tank", "namespace": "default"},
    "spec": {
        "properties": [
            {"name": "valve", "type": "INT", "accessMode": "ReadWrite"},
            {
                "name": "level",
                "type": "INT",
                "accessMode": "ReadOnly",
                "visitors": {
                    "protocolName": "modbus",
                    "configData": {"register": "HoldingRegister", "offset": 2, "limit": 1},
                },
            },
        ]
    },
}


def device(name, node="gw-1", **valve):
    properties = [{"name": "valve", **valve}]
    protocol = {"protocolName": "modbus", "configData": {"ip": "127.0.0.1", "port": 502, "slaveID": 1}}
    spec = {"deviceModelRef": {"name": "tank"}, "nodeName": node, "properties": properties, "protocol": protocol}
    spec["simulate"] = True  # a field of ours, which the definition lets through
    about = {"name": name, "namespace": "default"}
    return {"apiVersion": "devices.kubeedge.io/v1beta1", "kind": "Device", "metadata": about, "spec": spec}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with KubeSite(tmp_path_factory.mktemp("kube")) as made:
        made.ready("True")
        yield made


def gone(site, name):
    site.until(lambda: site.cluster.get("pods", name) is None)


def record_of(site, uid):
    """The start of the container of one life of a pod."""
    found = [one for place, one in starts(site.hub).items() if f"/{uid}/" in place]
    return found[0] if found else None


def test_a_gateway_is_a_node_with_a_lease(site):
    node = site.ready("True")
    assert (
        node["metadata"]["labels"].items()
        >= {"edgetwin.dev/gateway": "gw-1", "node-role.kubernetes.io/edge": ""}.items()
    )
    assert node["spec"]["taints"] == [{"key": "node-role.kubernetes.io/edge", "effect": "NoSchedule"}]
    assert node["status"]["capacity"]["pods"] == "110"
    assert int(node["status"]["capacity"]["cpu"]) >= 1
    assert {"type": "Hostname", "address": "gw-1"} in node["status"]["addresses"]
    lease = site.until(lambda: site.cluster.get("leases", "gw-1", "kube-node-lease"))
    assert lease["spec"]["holderIdentity"] == "gw-1"
    assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"]


TYPED = ("kubectl", "mosquitto_pub", "mosquitto_sub")


@pytest.mark.skipif(not all(map(shutil.which, TYPED)), reason="tools/peers.sh installs kubectl and mosquitto-clients")
def test_a_kubeedge_cluster_is_connected_as_its_page_shows(site):
    ports = {"-p 1883": f"-p {site.hub.environment['EDGETWIN_BROKER_PORT']}"}
    plain = {"kubectl apply": "kubectl apply --validate=false"}  # the tests' API server publishes no schema
    reader = Reader(site.folder / "gateway", ROOT, {"KUBECONFIG": str(site.kubeconfig)}, ports | plain)
    reader.read(read_page(ROOT / "docs/kubeedge-cluster.md"))
    site.cluster.delete("devices", "lamp")
    site.cluster.delete("devicemodels", "lamp-model")


def test_a_pod_runs_with_its_config_is_made_anew_and_goes(site):
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app"}, "data": {"WORD": "hello"}}
    site.cluster.create(config)
    site.cluster.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"KEY": "s3cret"}}
    )
    wanted = pod("web", 'test "$WORD$KEY" = hellos3cret && exec sleep 100000')
    source = [{"configMapRef": {"name": "app"}}, {"secretRef": {"name": "key"}}]
    wanted["spec"]["containers"][0]["envFrom"] = source
    made = site.run(wanted)
    status = site.pod_is("web", phase="Running")["status"]
    uid = made["metadata"]["uid"]
    assert {one["type"]: one["status"] for one in status["conditions"]}["Ready"] == "True"
    assert status["containerStatuses"][0].items() >= {"name": "app", "ready": True, "restartCount": 0}.items()
    assert "running" in status["containerStatuses"][0]["state"]
    assert status["hostIP"] == status["podIP"]
    first = record_of(site, uid)
    assert alive(first)
    site.cluster.delete("pods", "web")
    gone(site, "web")
    assert not alive(first)
    assert record_of(site, uid) is None
    again = site.run(wanted)
    site.pod_is("web", phase="Running")
    assert record_of(site, again["metadata"]["uid"]).pid != first.pid
    site.cluster.delete("pods", "web")
    gone(site, "web")


def test_a_pod_that_ends_is_told_with_its_exit_code(site):
    site.run(pod("job", "exit 3", restartPolicy="Never"))
    status = site.pod_is("job", phase="Failed")["status"]
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
    site.cluster.delete("pods", "job")
    gone(site, "job")


def test_what_a_gateway_cannot_do_is_told_with_its_path_and_nothing_runs(site):
    wanted = pod("grand", volumes=[{"name": "disk", "persistentVolumeClaim": {"claimName": "disk"}}])
    made = site.run(wanted)
    status = site.pod_is("grand", phase="Pending", reason="UnsupportedByGateway")["status"]
    assert "spec.volumes[0].persistentVolumeClaim" in status["message"]
    events = site.until(lambda: [one for one in site.cluster.all("events") if one["reason"] == "UnsupportedByGateway"])
    assert events[0]["involvedObject"]["uid"] == made["metadata"]["uid"]
    assert record_of(site, made["metadata"]["uid"]) is None
    site.cluster.delete("pods", "grand")
    gone(site, "grand")


async def test_devices_of_the_cluster_are_twins_and_their_values_are_told(site):
    site.cluster.create(MODEL)
    site.cluster.create(device("pump", desired={"value": "40"}))
    async with site.hub.client() as edge:
        await desired_is(edge, "pump", 40)
        await edge.set("pump", {"valve": 50})
        status = site.until(lambda: told(site, "pump", "valve", "observedDesired", "50"))
        assert status["metadata"]["ownerReferences"][0]["kind"] == "Device"
        site.until(lambda: told(site, "pump", "level", "reported"))
        assert site.cluster.get("devicestatuses", "pump")["status"]["state"] == "online"
        site.cluster.merge("devices", "pump", {"spec": {"properties": [{"name": "valve", "desired": {"value": "70"}}]}})
        await desired_is(edge, "pump", 70)
        site.cluster.merge("devices", "pump", {"spec": {"deviceModelRef": {"name": "none"}}})
        site.until(lambda: [one for one in site.cluster.all("events") if "none" in one["message"]])
        assert (await edge.get("pump")).desired["valve"].value == 70
        site.cluster.delete("devices", "pump")
        await unknown(edge, "pump")


async def test_a_device_of_kubeedges_older_api_is_served_too(site):
    model = {
        "apiVersion": "devices.kubeedge.io/v1alpha2",
        "kind": "DeviceModel",
        "metadata": {"name": "old", "namespace": "default"},
        "spec": {"properties": [{"name": "valve", "type": {"int": {"accessMode": "ReadWrite"}}}]},
    }
    term = {"matchExpressions": [{"key": "", "operator": "In", "values": ["gw-1"]}]}
    old = {
        "apiVersion": "devices.kubeedge.io/v1alpha2",
        "kind": "Device",
        "metadata": {"name": "oldest", "namespace": "default"},
        "spec": {"deviceModelRef": {"name": "old"}, "nodeSelector": {"nodeSelectorTerms": [term]}},
        "status": {"twins": [{"propertyName": "valve", "desired": {"value": "7"}}]},
    }
    site.cluster.create(model)
    site.cluster.create(old)
    async with site.hub.client() as edge:
        await desired_is(edge, "oldest", 7)
    site.until(lambda: told(site, "oldest", "valve", "observedDesired", "7"))
    site.cluster.delete("devices", "oldest")


async def desired_is(edge, name, value):
    """Wait until a twin desires this of its valve."""
    last = None
    async with asyncio.timeout(30):
        while last != value:
            with contextlib.suppress(UnknownTwin):
                leaf = (await edge.get(name)).desired.get("valve")
                last = leaf.value if leaf else None
            await asyncio.sleep(0.05)


async def unknown(edge, name):
    """Wait until there is no such twin."""
    async with asyncio.timeout(30):
        with contextlib.suppress(UnknownTwin):
            while True:
                await edge.get(name)
                await asyncio.sleep(0.05)


def told(site, name, what, side, value=None):
    """The DeviceStatus if it tells this of a property; any value if none is given."""
    one = site.cluster.get("devicestatuses", name)
    twins = {each["propertyName"]: each for each in (one or {}).get("status", {}).get("twins", ())}
    found = twins.get(what, {}).get(side, {}).get("value")
    return one if found is not None and value in (None, found) else None


def test_pods_are_left_alone_by_restarts_of_what_is_above_them(site):
    made = site.run(pod("steady"))
    site.pod_is("steady", phase="Running")
    first = record_of(site, made["metadata"]["uid"])
    os.kill(site.cloud.children()["kube"], signal.SIGKILL)
    site.cluster.restart()
    site.cluster.compact()
    site.cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {"A": "1"}})
    wanted = pod("after")
    wanted["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "late"}}]
    site.run(wanted)
    site.pod_is("after", phase="Running")
    assert site.cluster.get("pods", "steady")["status"]["containerStatuses"][0]["restartCount"] == 0
    assert record_of(site, made["metadata"]["uid"]) == first
    assert alive(first)
    for name in ("steady", "after"):
        site.cluster.delete("pods", name)
        gone(site, name)


def test_a_cluster_that_refuses_is_an_alarm_of_the_cloud(site):
    def alarms():
        return [one for one in site.cloud.json_status()["alarms"] if "Kubernetes" in one]

    refused = site.cluster.faults.fail(403, 10_000, plural="services")
    site.cluster.faults.cut_watches()
    (alarm,) = site.until(alarms)
    assert "services of all namespaces" in alarm
    refused.times = 0
    site.until(lambda: not alarms())


def test_what_the_cluster_said_while_the_line_was_down_is_done_when_it_is_back(site):
    kept = site.run(pod("kept"))
    site.run(pod("dropped"))
    for name in ("kept", "dropped"):
        site.pod_is(name, phase="Running")
    first = record_of(site, kept["metadata"]["uid"])
    site.line.cut()
    node = site.ready("Unknown")
    assert {one["type"]: one["status"] for one in node["status"]["conditions"]}["Ready"] == "Unknown"
    site.cluster.delete("pods", "dropped")
    late = site.run(pod("late"))
    site.until(lambda: "Pod default/dropped is gone in the cluster" in site.cloud.log.read_text())
    assert site.cluster.get("pods", "dropped") is not None, "a pod that may still run is not gone"
    assert alive(first)
    os.kill(first.pid, signal.SIGKILL)  # the gateway goes on by itself
    site.line.restore()
    gone(site, "dropped")
    site.pod_is("late", phase="Running")
    site.ready("True")
    assert record_of(site, late["metadata"]["uid"]) is not None
    site.until(lambda: site.cluster.get("pods", "kept")["status"]["containerStatuses"][0]["restartCount"] == 1)
    for name in ("kept", "late"):
        site.cluster.delete("pods", name)
        gone(site, name)


def test_a_gateway_that_was_killed_is_unknown_and_ready_when_it_is_back(site):
    began_s = time.monotonic()
    site.hub.kill()
    site.ready("Unknown")
    assert time.monotonic() - began_s < 40
    site.hub.start()
    site.ready("True")


def test_another_cluster_at_the_same_address_changes_nothing(site):
    made = site.run(pod("ours"))
    site.pod_is("ours", phase="Running")
    first = record_of(site, made["metadata"]["uid"])
    site.cluster.restart(lose_data=True)  # the last test of this site
    site.ready("True")
    again = site.run(pod("ours"))
    status = site.pod_is("ours", phase="Pending", reason="UnsupportedByGateway")["status"]
    assert "already" in status["message"]
    assert record_of(site, again["metadata"]["uid"]) is None
    assert record_of(site, made["metadata"]["uid"]) == first
    assert alive(first)


def test_two_clusters_are_refused_before_anything_starts(tmp_path):
    made = CloudProcess(tmp_path / "state", EDGETWIN_CLOUD_KUBE_KUBECONFIG="x", EDGETWIN_CLOUD_KUBE_IN_CLUSTER="true")
    done = made.run("cloud", "run", check=False)
    assert done.returncode != 0
    assert "two clusters" in done.stderr
