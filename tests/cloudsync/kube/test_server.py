"""The tests' API server, tried with clients that share no code with ours: kubectl and kr8s."""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import kr8s.asyncio
import pytest
import yaml
from kr8s.asyncio.objects import ConfigMap, Pod, new_class

from tests.kube_server.server import KubeServer

CRDS = Path("cloudsync/kube/crds")
KUBECTL = [path for path in (shutil.which("kubectl"), os.environ.get("EDGETWIN_TEST_KUBECTL")) if path]
needs_kubectl = pytest.mark.skipif(not KUBECTL, reason="kubectl is not here; tools/peers.sh installs it as root")
POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: web}}
spec:
  containers:
  - {name: app, image: host, command: [sleep, "1000"]}
"""
DEVICE = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "Device",
    "metadata": {"name": "pump"},
    "spec": {"deviceModelRef": {"name": "tank"}, "nodeName": "gw-1", "properties": [{"name": "valve"}]},
}


@pytest.fixture
def server():
    with KubeServer(bookmark_s=0.2) as made:
        yield made


class Kubectl:
    def __init__(self, program, server, folder):
        self.program = program
        self.environment = {
            **os.environ,
            "KUBECONFIG": str(server.kubeconfig(folder / "kubeconfig")),
            "HOME": str(folder),
        }

    def __call__(self, *words, stdin="", code=0):
        done = subprocess.run(
            [self.program, *words], input=stdin, env=self.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")

    def json(self, *words):
        return json.loads(self(*words, "-o", "json"))

    def start(self, *words):
        return subprocess.Popen(
            [self.program, *words], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


@pytest.fixture(params=KUBECTL)
def kubectl(request, server, tmp_path):
    return Kubectl(request.param, server, tmp_path)


@pytest.fixture
async def api(server, tmp_path):
    made = await kr8s.asyncio.api(kubeconfig=str(server.kubeconfig(tmp_path / "kr8s")))
    yield made
    if made._session is not None:  # it has no way to be closed
        await made._session.aclose()


@pytest.fixture
async def http(server):
    async with httpx.AsyncClient(
        base_url=server.url, verify=trusted(server), headers={"Authorization": f"Bearer {server.token}"}
    ) as client:
        yield client


def trusted(server):
    return ssl.create_default_context(cafile=server.ca)


def crds(server):
    for path in sorted(CRDS.glob("*.yaml")):
        server.create(yaml.safe_load(path.read_text()))


# -- kubectl ---------------------------------------------------------------------------------------------------------


@needs_kubectl
def test_kubectl_applies_changes_patches_and_deletes(kubectl):
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {a: '1', b: '2'}\n"
    assert "created" in kubectl("apply", "--validate=false", "-f", "-", stdin=config)
    assert "unchanged" in kubectl("apply", "--validate=false", "-f", "-", stdin=config)
    changed = config.replace(", b: '2'", ", c: '3'")
    assert "configured" in kubectl("apply", "--validate=false", "-f", "-", stdin=changed)
    assert kubectl.json("get", "configmap", "app")["data"] == {"a": "1", "c": "3"}
    kubectl("patch", "configmap", "app", "--type=merge", "-p", '{"data": {"a": null, "d": "4"}}')
    kubectl("patch", "configmap", "app", "--type=json", "-p", '[{"op": "replace", "path": "/data/c", "value": "5"}]')
    kubectl("label", "configmap", "app", "hall=north")
    found = kubectl.json("get", "cm", "-l", "hall=north")["items"]
    assert [one["data"] for one in found] == [{"c": "5", "d": "4"}]
    assert kubectl.json("get", "cm", "-l", "hall notin (north)")["items"] == []
    assert "deleted" in kubectl("delete", "configmap", "app")
    assert "NotFound" in kubectl("get", "configmap", "app", code=1)


@needs_kubectl
def test_kubectl_waits_for_a_pod_and_for_its_end(kubectl, server):
    kubectl("apply", "--validate=false", "-f", "-", stdin=POD.replace("NAME", "web"))
    server.bind("web", "node-1")
    assert [
        one["spec"]["nodeName"]
        for one in kubectl.json("get", "po", "--field-selector", "spec.nodeName=node-1")["items"]
    ]
    waiting = kubectl.start("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    server.merge("pods", "web", ready, part="status")
    assert "condition met" in waiting.communicate(timeout=30)[0]
    deleting = kubectl.start("delete", "pod", "web")
    while "deletionTimestamp" not in server.get("pods", "web")["metadata"]:
        assert deleting.poll() is None
    server.delete("pods", "web", gracePeriodSeconds=0)
    assert "deleted" in deleting.communicate(timeout=30)[0]


@needs_kubectl
def test_kubectl_applies_on_the_server_and_is_told_of_a_conflict(kubectl):
    config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: app}\ndata: {a: '1', b: '2'}\n"
    kubectl("apply", "--server-side", "--validate=false", "--field-manager=one", "-f", "-", stdin=config)
    other = config.replace("b: '2'", "b: '9'")
    told = kubectl("apply", "--server-side", "--validate=false", "--field-manager=two", "-f", "-", stdin=other, code=1)
    assert "conflict" in told
    assert ".data.b" in told
    words = ("apply", "--server-side", "--validate=false", "--field-manager=two", "--force-conflicts", "-f", "-")
    kubectl(*words, stdin=other)
    less = config.replace(", b: '2'", "")
    kubectl("apply", "--server-side", "--validate=false", "--field-manager=one", "-f", "-", stdin=less)
    assert kubectl.json("get", "configmap", "app")["data"] == {"a": "1", "b": "9"}


@needs_kubectl
def test_kubectl_makes_custom_resources_and_their_schema_is_kept(kubectl):
    for path in sorted(CRDS.glob("*.yaml")):
        kubectl("apply", "--validate=false", "-f", str(path))
    kubectl("wait", "--for=condition=Established", "crd/devices.devices.kubeedge.io", "--timeout=30s")
    kubectl("apply", "--validate=false", "-f", "-", stdin=yaml.safe_dump(DEVICE))
    wrong = json.loads(json.dumps(DEVICE))
    wrong["spec"]["nodeName"] = 7
    told = kubectl("apply", "--validate=false", "-f", "-", stdin=yaml.safe_dump(wrong), code=1)
    assert "spec.nodeName in body must be of type string" in told
    assert kubectl.json("get", "device", "pump")["spec"]["nodeName"] == "gw-1"
    assert kubectl.json("get", "devices.v1alpha2.devices.kubeedge.io", "pump")["apiVersion"].endswith("/v1alpha2")
    assert {"devices", "devicemodels", "devicestatuses"} <= {
        one.split()[0] for one in kubectl("api-resources", "--no-headers").splitlines()
    }


@needs_kubectl
def test_kubectl_follows_a_watch_and_may_do_only_what_its_role_allows(kubectl, server, tmp_path):
    watching = kubectl.start("get", "configmaps", "--watch", "-o", "name")
    for number in range(3):
        server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}})
    lines = [watching.stdout.readline().split() for _ in range(3)]
    watching.kill()
    watching.communicate()
    assert lines == [[f"configmap/c{number}"] for number in range(3)]
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    token = server.add_user("reader", rules)
    poor = Kubectl(kubectl.program, server, tmp_path)
    server.kubeconfig(Path(poor.environment["KUBECONFIG"]), token)
    assert len(poor.json("get", "configmaps")["items"]) == 3
    assert 'User "reader" cannot delete resource "configmaps"' in poor("delete", "configmap", "c1", code=1)


# -- kr8s ------------------------------------------------------------------------------------------------------------


async def test_kr8s_creates_watches_patches_and_deletes(api, server):
    seen = []
    begun = asyncio.Event()

    async def follow():
        async for event, one in api.watch("pods", namespace="default"):
            seen.append((event, one.name, one.status.get("phase")))
            begun.set()
            if event == "DELETED":
                return

    pod = await Pod(yaml.safe_load(POD.replace("NAME", "web")), namespace="default", api=api)
    async with asyncio.TaskGroup() as group:
        group.create_task(follow())
        await pod.create()
        await begun.wait()
        await pod.patch({"status": {"phase": "Running"}}, subresource="status")
        await pod.refresh()
        assert pod.status.phase == "Running"
        assert pod.spec.terminationGracePeriodSeconds == 30
        await pod.delete()
    assert seen[0][:2] == ("ADDED", "web")
    assert seen[-1] == ("DELETED", "web", "Running")


async def test_kr8s_finds_custom_resources_by_discovery(api, server):
    crds(server)
    device = new_class("Device", "devices.kubeedge.io/v1beta1", namespaced=True, asyncio=True)
    made = await device(DEVICE, namespace="default", api=api)
    await made.create()
    found = [one async for one in api.get("devices.devices.kubeedge.io", namespace="default")]
    assert [one.raw["spec"]["nodeName"] for one in found] == ["gw-1"]


async def test_kr8s_is_told_of_a_conflict(api, server):
    one = await ConfigMap({"metadata": {"name": "app"}, "data": {"a": "1"}}, namespace="default", api=api)
    await one.create()
    server.merge("configmaps", "app", {"data": {"a": "2"}})
    with pytest.raises(kr8s.ServerError) as told:
        await one.patch({"metadata": {"resourceVersion": one.raw["metadata"]["resourceVersion"]}, "data": {"a": "3"}})
    assert told.value.response.status_code == 409


# -- what neither of them asks for -----------------------------------------------------------------------------------


async def lines(http, path, **query):
    """Events of a watch."""
    async with http.stream("GET", path, params={"watch": "1", **query}) as answer:
        async for line in answer.aiter_lines():
            yield json.loads(line)


async def test_a_watch_goes_on_from_a_version_marks_its_place_and_is_refused_after_compaction(server, http):
    server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    listed = (await http.get("/api/v1/configmaps")).json()
    assert [one["metadata"]["name"] for one in listed["items"]] == ["a"]
    version = listed["metadata"]["resourceVersion"]
    server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}})
    server.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}})
    found = []
    async for event in lines(http, "/api/v1/configmaps", resourceVersion=version, allowWatchBookmarks="true"):
        found.append(event)
        if event["type"] == "BOOKMARK":
            break
    assert [(one["type"], one["object"]["metadata"].get("name")) for one in found] == [
        ("ADDED", "b"),
        ("BOOKMARK", None),
    ]
    assert int(found[1]["object"]["metadata"]["resourceVersion"]) > int(
        found[0]["object"]["metadata"]["resourceVersion"]
    )
    server.compact()
    refused = [event async for event in lines(http, "/api/v1/configmaps", resourceVersion=version)]
    assert [(one["type"], one["object"]["code"]) for one in refused] == [("ERROR", 410)]


async def test_an_object_that_no_longer_fits_the_selector_is_told_as_deleted(server, http):
    server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"on": "yes"}}})
    events = lines(http, "/api/v1/configmaps", labelSelector="on=yes")
    assert (await anext(events))["type"] == "ADDED"
    server.merge("configmaps", "a", {"metadata": {"labels": {"on": "no"}}})
    assert (await anext(events))["type"] == "DELETED"
    await events.aclose()


async def test_long_lists_come_in_pages_of_one_moment(server, http):
    for number in range(5):
        server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}})
    first = (await http.get("/api/v1/configmaps", params={"limit": 2})).json()
    server.delete("configmaps", "c4")
    more = first["metadata"]["continue"]
    rest = (await http.get("/api/v1/configmaps", params={"limit": 9, "continue": more})).json()
    assert [one["metadata"]["name"] for one in first["items"] + rest["items"]] == ["c0", "c1", "c2", "c3", "c4"]
    server.compact()
    assert (await http.get("/api/v1/configmaps", params={"continue": more})).status_code == 410


async def test_a_write_that_knew_another_version_or_another_life_is_a_conflict(server, http):
    made = server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}})
    server.merge("configmaps", "a", {"data": {"x": "2"}})
    path = "/api/v1/namespaces/default/configmaps/a"
    assert (await http.put(path, json=made)).status_code == 409
    gone = {"preconditions": {"uid": "another"}}
    assert (await http.request("DELETE", path, json=gone)).status_code == 409
    assert (
        await http.request("DELETE", path, json={"preconditions": {"uid": made["metadata"]["uid"]}})
    ).status_code == 200


async def test_status_is_a_resource_of_its_own_where_there_is_one(server, http):
    crds(server)
    server.create(DEVICE)
    group = "/apis/devices.kubeedge.io/v1beta1/namespaces/default/devices/pump"
    merge = {"Content-Type": "application/merge-patch+json"}
    assert (await http.patch(f"{group}/status", json={"status": {}}, headers=merge)).status_code == 404
    assert (await http.patch(group, json={"status": {"state": "online"}}, headers=merge)).json()["status"] == {
        "state": "online"
    }
    server.create(yaml.safe_load(POD.replace("NAME", "web")))
    path = "/api/v1/namespaces/default/pods/web"
    assert (await http.patch(path, json={"status": {"phase": "Failed"}}, headers=merge)).json()["status"][
        "phase"
    ] == "Pending"
    frozen = await http.patch(path, json={"spec": {"nodeName": "here"}}, headers=merge)
    assert frozen.status_code == 422


async def test_a_bound_pod_ends_in_its_grace_period_and_finalizers_hold_others(server, http):
    server.create(yaml.safe_load(POD.replace("NAME", "web")))
    server.bind("web", "gw-1")
    again = await http.post("/api/v1/namespaces/default/pods/web/binding", json={"target": {"name": "gw-2"}})
    assert again.status_code == 409
    server.delete("pods", "web")
    assert server.get("pods", "web")["metadata"]["deletionGracePeriodSeconds"] == 30
    server.delete("pods", "web", gracePeriodSeconds=0)
    assert server.get("pods", "web") is None
    server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "finalizers": ["x/y"]}})
    server.delete("configmaps", "a")
    assert "deletionTimestamp" in server.get("configmaps", "a")["metadata"]
    server.merge("configmaps", "a", {"metadata": {"finalizers": None}})
    assert server.get("configmaps", "a") is None


async def test_dependents_go_with_their_owner(server):
    crds(server)
    owner = server.create(DEVICE)
    reference = {"apiVersion": owner["apiVersion"], "kind": "Device", "name": "pump", "uid": owner["metadata"]["uid"]}
    server.create(
        {
            "apiVersion": "devices.kubeedge.io/v1beta1",
            "kind": "DeviceStatus",
            "metadata": {"name": "pump", "ownerReferences": [reference]},
            "status": {"state": "online"},
        }
    )
    server.delete("devices", "pump")
    assert server.get("devicestatuses", "pump") is None


async def test_faults_are_answers_that_fail_and_watches_that_end_in_the_middle(server, http):
    fault = server.faults.fail(429, 1, plural="pods", retry_after=7)
    answer = await http.get("/api/v1/pods")
    assert (answer.status_code, answer.headers["retry-after"], fault.struck) == (429, "7", 1)
    assert (await http.get("/api/v1/pods")).status_code == 200
    server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    events = lines(http, "/api/v1/configmaps")
    assert (await anext(events))["type"] == "ADDED"
    server.call(server.faults.cut_next_lines)
    server.merge("configmaps", "a", {"data": {"x": "2"}})
    with pytest.raises(json.JSONDecodeError):
        await anext(events)
    events = lines(http, "/api/v1/configmaps")
    assert (await anext(events))["type"] == "ADDED"
    server.call(server.faults.cut_watches)
    with pytest.raises(httpx.RemoteProtocolError):
        await anext(events)


async def test_restarted_it_has_its_data_or_another_identity(server, http):
    server.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    uid = server.get("namespaces", "kube-system", "")["metadata"]["uid"]
    server.restart()
    assert server.get("configmaps", "a") is not None
    assert server.get("namespaces", "kube-system", "")["metadata"]["uid"] == uid
    server.restart(lose_data=True)
    assert server.get("configmaps", "a") is None
    assert server.get("namespaces", "kube-system", "")["metadata"]["uid"] != uid
    assert (await http.get("/api/v1/namespaces")).status_code == 200


async def test_nobody_without_a_token(server):
    async with httpx.AsyncClient(base_url=server.url, verify=trusted(server)) as stranger:
        assert (await stranger.get("/api/v1/pods")).status_code == 401
