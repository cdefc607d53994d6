"""What is shown of documents and twins: as Kubernetes and KubeEdge lay it out, and never a Secret."""

import json

import pytest

from edgehub.kubeapi import resources
from edgehub.kubeapi.table import Include, table
from twin.manifest.document import DocumentKind, Ref
from twin.model import Kind, TwinKey

pytestmark = pytest.mark.fast

POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: shop, labels: {app: web}}
spec:
  containers:
  - name: app
    image: host
    command: [serve]
    ports: [{name: http, containerPort: 8080}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {tier: front}}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
"""
RUNNING = {
    "phase": "Running",
    "ready": True,
    "reason": "",
    "containers": {"app": {"state": "running", "ready": True, "restarts": 2}},
    "conditions": {"Ready": True},
    "events": [
        {"at": 1_699_999_000_000, "container": "app", "reason": "Started", "message": "run 2"},
        {"at": 1_699_999_500_000, "container": "app", "reason": "Started", "message": "run 3"},
    ],
}


def pod(name="web", **changes):
    return POD.replace("NAME", name)


def test_a_pod_has_the_status_of_its_twin(site):
    site.apply(pod())
    site.report(Kind.POD, "shop", "web", **RUNNING)
    shown = site.shown(resources.PODS)["web"]
    assert shown["spec"]["nodeName"] == "gw-1"
    status = shown["status"]
    assert (status["phase"], status["hostIP"], status["podIP"]) == ("Running", "192.0.2.7", "192.0.2.7")
    assert status["startTime"] == "2023-11-14T22:05:00Z"
    (container,) = status["containerStatuses"]
    assert (container["restartCount"], container["ready"], container["started"]) == (2, True, True)
    assert container["state"] == {"running": {"startedAt": "2023-11-14T22:05:00Z"}}
    (condition,) = status["conditions"]
    assert (condition["type"], condition["status"]) == ("Ready", "True")
    assert condition["lastTransitionTime"] == "2023-11-14T22:13:20Z"


def test_a_pod_that_has_told_nothing_yet_is_pending(site):
    site.apply(pod())
    status = site.shown(resources.PODS)["web"]["status"]
    assert status["phase"] == "Pending"
    assert "podIP" not in status
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}


@pytest.mark.parametrize(
    ("told", "state", "last"),
    [
        (
            {"state": "waiting", "reason": "CrashLoopBackOff", "exit_code": 3},
            {"waiting": {"reason": "CrashLoopBackOff"}},
            {"terminated": {"exitCode": 3}},
        ),
        (
            {"state": "exited", "reason": "Completed", "exit_code": 0},
            {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": None, "finishedAt": None}},
            {},
        ),
        (
            {"state": "exited", "reason": "Error", "message": "no disk", "exit_code": 1},
            {
                "terminated": {
                    "exitCode": 1,
                    "reason": "Error",
                    "message": "no disk",
                    "startedAt": None,
                    "finishedAt": None,
                }
            },
            {},
        ),
    ],
)
def test_a_container_that_does_not_run_says_why(site, told, state, last):
    site.apply(pod())
    site.report(Kind.POD, "shop", "web", phase="Running", containers={"app": told})
    (container,) = site.shown(resources.PODS)["web"]["status"]["containerStatuses"]
    assert (container["state"], container["lastState"]) == (state, last)


def test_pods_and_devices_of_other_gateways_are_not_shown(site):
    site.apply(pod().replace("spec:", "spec:\n  nodeName: gw-2", 1))
    assert site.shown(resources.PODS) == {}


def test_secrets_and_their_namespaces_are_not_shown(site):
    site.apply(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: hidden}\nstringData: {password: hunter2}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: seen}\ndata: {a: b}\n"
    )
    assert set(site.shown(resources.NAMESPACES)) == {"default", "seen"}
    texts = [one.text() for resource in resources.ALL for one in site.view.items(resource)]
    assert not any("hunter2" in text or "hidden" in text for text in texts)
    assert site.shown(resources.CONFIG_MAPS)["c"]["data"] == {"a": "b"}


def test_a_service_has_what_kubernetes_fills_in(site):
    site.apply(SERVICE.replace(", targetPort: http", ""))
    shown = site.shown(resources.SERVICES)["web"]
    assert shown["spec"]["type"] == "ClusterIP"
    assert shown["spec"]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}]
    assert shown["metadata"]["labels"] == {"tier": "front"}


def test_a_service_is_reached_at_the_pods_that_are_ready(site):
    site.apply(SERVICE + "---" + pod("one") + "---" + pod("two") + "---" + pod("other").replace("app: web", "app: db"))
    site.report(Kind.POD, "shop", "one", ready=True)
    site.report(Kind.POD, "shop", "two", ready=False)
    (subset,) = site.shown(resources.ENDPOINTS)["web"]["subsets"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert [one["targetRef"]["name"] for one in subset["addresses"]] == ["one"]
    slices = site.shown(resources.ENDPOINT_SLICES)["edgetwin-web"]
    assert slices["metadata"]["labels"]["kubernetes.io/service-name"] == "web"
    assert slices["addressType"] == "IPv4"
    ready = {one["targetRef"]["name"]: one["conditions"]["ready"] for one in slices["endpoints"]}
    assert ready == {"one": True, "two": False}
    assert {one["nodeName"] for one in slices["endpoints"]} == {"gw-1"}


def test_what_a_cluster_says_of_pods_here_is_left_out_and_of_others_kept(site):
    site.apply(
        SERVICE
        + "---"
        + pod("one")
        + """---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-abc, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.0.0.1], nodeName: gw-1, conditions: {ready: true}}
- {addresses: [10.0.0.2], nodeName: gw-2, conditions: {ready: true}}
ports: [{name: http, port: 8080}]
"""
    )
    site.report(Kind.POD, "shop", "one", ready=False)
    slices = site.shown(resources.ENDPOINT_SLICES)
    assert [one["addresses"] for one in slices["web-abc"]["endpoints"]] == [["10.0.0.2"]]
    (subset,) = site.shown(resources.ENDPOINTS)["web"]["subsets"]
    assert [one["ip"] for one in subset["addresses"]] == ["10.0.0.2"]
    assert [one["ip"] for one in subset["notReadyAddresses"]] == ["192.0.2.7"]


def test_a_pod_with_a_network_of_its_own_is_reached_there_once_its_address_is_known(site):
    own = pod("one").replace("image: host", "image: docker.io/library/web:1")
    site.apply(SERVICE + "---" + own)
    site.report(Kind.POD, "shop", "one", ready=True, events=RUNNING["events"])
    assert "podIP" not in site.shown(resources.PODS)["one"]["status"]
    assert site.shown(resources.ENDPOINTS)["web"]["subsets"] == []
    site.report(Kind.POD, "shop", "one", ready=True, address="10.89.0.5", events=RUNNING["events"])
    assert site.shown(resources.PODS)["one"]["status"]["podIP"] == "10.89.0.5"
    (subset,) = site.shown(resources.ENDPOINTS)["web"]["subsets"]
    assert [one["ip"] for one in subset["addresses"]] == ["10.89.0.5"]


def test_not_ready_pods_are_published_where_the_service_says_so(site):
    site.apply(SERVICE.replace("selector:", "publishNotReadyAddresses: true, selector:") + "---" + pod("one"))
    (subset,) = site.shown(resources.ENDPOINTS)["web"]["subsets"]
    assert "notReadyAddresses" not in subset


def test_a_port_name_that_a_pod_has_not_is_not_reached_there(site):
    site.apply(SERVICE.replace("targetPort: http", "targetPort: metrics") + "---" + pod("one"))
    assert site.shown(resources.ENDPOINTS)["web"]["subsets"] == []
    assert site.shown(resources.ENDPOINT_SLICES) == {}


def test_endpoints_of_a_document_are_shown_and_mirrored_into_a_slice(site):
    site.apply(
        "apiVersion: v1\nkind: Service\nmetadata: {name: scale}\nspec: {ports: [{port: 9100}]}\n---\n"
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: scale}\n"
        'subsets: [{addresses: [{ip: 192.0.2.10}, {ip: "2001:db8::1"}], ports: [{port: 9100}]}]\n'
    )
    (subset,) = site.shown(resources.ENDPOINTS)["scale"]["subsets"]
    assert [one["ip"] for one in subset["addresses"]] == ["192.0.2.10", "2001:db8::1"]
    slices = site.shown(resources.ENDPOINT_SLICES)
    assert {name: one["addressType"] for name, one in slices.items()} == {
        "edgetwin-scale-mirror": "IPv4",
        "edgetwin-scale-mirror-2": "IPv6",
    }


DEVICE = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: tank}
spec:
  properties:
  - {name: level, type: float, minimum: 0, maximum: 100}
  - {name: valve, type: INT, accessMode: readwrite}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: t1, labels: {hall: north}}
spec:
  deviceModelRef: {name: tank}
  gateway: gw-1
  properties:
  - {name: level, collectCycle: 500ms}
  - {name: valve, desired: {value: 40}}
"""


def test_devices_are_shown_in_kubeedges_layout(site):
    site.apply(DEVICE)
    site.report(Kind.DEVICE, "default", "t1", level=12.5, valve=None)
    model = site.shown(resources.DEVICE_MODELS)["tank"]["spec"]["properties"]
    assert model[0] == {"name": "level", "type": "FLOAT", "accessMode": "ReadOnly", "minimum": "0", "maximum": "100"}
    assert model[1]["accessMode"] == "ReadWrite"
    device = site.shown(resources.DEVICES)["t1"]
    assert device["apiVersion"] == "devices.kubeedge.io/v1beta1"
    assert device["spec"]["nodeName"] == "gw-1"
    level, valve = device["spec"]["properties"]
    assert level["collectCycle"] == 500
    assert valve["desired"] == {"value": "40"}
    twins = {one["propertyName"]: one for one in device["status"]["twins"]}
    assert twins["level"]["reported"]["value"] == "12.5"
    assert twins["level"]["reported"]["metadata"]["timestamp"] == "1700000000000"
    assert twins["valve"]["reported"]["value"] == ""
    status = site.shown(resources.DEVICE_STATUSES)["t1"]
    assert status["status"] == device["status"]
    assert status["metadata"]["ownerReferences"][0]["name"] == "t1"


def test_a_v1alpha2_device_is_shown_as_v1beta1(site, request):
    site.apply((request.config.rootpath / "docs/examples/kubeedge-v1alpha2.yaml").read_text())
    (device,) = site.shown(resources.DEVICES).values()
    assert device["spec"]["deviceModelRef"]["name"] in site.shown(resources.DEVICE_MODELS)
    assert all(isinstance(one["name"], str) for one in device["spec"]["properties"])


def test_a_twin_of_an_earlier_document_of_the_name_is_not_shown(site):
    site.apply(pod())
    site.report(Kind.POD, "shop", "web", **RUNNING)
    site.documents = type(site.documents)()
    site.apply(pod())
    assert site.shown(resources.PODS)["web"]["status"]["phase"] == "Pending"


def test_every_resource_has_columns(site):
    site.apply(DEVICE + "---" + SERVICE + "---" + pod("one"))
    site.report(Kind.POD, "shop", "one", **RUNNING)
    site.report(Kind.DEVICE, "default", "t1", level=12.5)
    cells = {}
    for resource in resources.ALL:
        site.shown(resource)
        texts = [one.text() for one in site.view.items(resource)]
        made = table(resource, texts, 5, Include.METADATA)
        names = [one["name"] for one in made["columnDefinitions"]]
        assert names[0] == "Name"
        assert all(len(row["cells"]) == len(names) for row in made["rows"])
        cells[resource] = [row["cells"] for row in made["rows"]]
        assert json.dumps(made)
    assert cells[resources.PODS] == [["one", "1/1", "Running", "2", "192.0.2.7", "gw-1"]]
    assert cells[resources.SERVICES] == [["web", "ClusterIP", "<none>", "80/TCP", "app=web"]]
    assert cells[resources.ENDPOINTS] == [["web", "192.0.2.7:8080"]]
    assert cells[resources.DEVICES] == [["t1", "tank", "level=12.5", "gw-1"]]
    assert cells[resources.NODES] == [["gw-1", "Ready", "9.9"]]


def test_a_table_holds_as_much_of_each_object_as_is_asked(site):
    site.apply(SERVICE)
    site.shown(resources.SERVICES)
    texts = [one.text() for one in site.view.items(resources.SERVICES)]
    beside = {include: table(resources.SERVICES, texts, 5, include)["rows"][0]["object"] for include in Include}
    assert beside[Include.NONE] is None
    assert beside[Include.METADATA]["kind"] == "PartialObjectMetadata"
    assert beside[Include.OBJECT]["spec"]["type"] == "ClusterIP"


ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: split, namespace: shop, labels: {tier: front}}
spec:
  hostnames: [shop.example]
  parentRefs: [{kind: Service, group: "", name: web, port: 80}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
"""
TAKEN = {"Accepted": {"holds": False, "reason": "NotAllowedByListeners", "message": "another has it"}}


def test_a_route_has_the_conditions_that_this_gateway_reports(site):
    site.apply(SERVICE + "---" + ROUTE)
    before = site.shown(resources.HTTP_ROUTES)["split"]
    parent = {"kind": "Service", "group": "", "name": "web", "port": 80}
    assert before["status"] == {
        "parents": [{"parentRef": parent, "controllerName": "edgetwin.dev/mesh", "conditions": []}]
    }
    assert (before["apiVersion"], before["spec"]["hostnames"]) == ("gateway.networking.k8s.io/v1", ["shop.example"])
    told = Ref(DocumentKind.HTTP_ROUTE, "shop", "split")
    site.told(TwinKey(Kind.ROUTE, "shop", "split.httproute.gw-1"), told, conditions=TAKEN)
    (said,) = site.shown(resources.HTTP_ROUTES)["split"]["status"]["parents"][0]["conditions"]
    assert said == {
        "type": "Accepted",
        "status": "False",
        "reason": "NotAllowedByListeners",
        "message": "another has it",
        "observedGeneration": 1,
        "lastTransitionTime": "2023-11-14T22:13:20Z",
    }
    rows = table(resources.HTTP_ROUTES, [json.dumps(site.shown(resources.HTTP_ROUTES)["split"])], 1, Include.NONE)
    assert rows["rows"][0]["cells"][:3] == ["split", "shop.example", "NotAllowedByListeners"]


def test_routes_of_bytes_and_of_server_names_are_there_too(site):
    tcp = ROUTE.replace("HTTPRoute", "TCPRoute").replace("  hostnames: [shop.example]\n", "")
    site.apply(SERVICE + "---" + tcp + "---" + ROUTE.replace("HTTPRoute", "TLSRoute"))
    assert site.shown(resources.TCP_ROUTES)["split"]["apiVersion"] == "gateway.networking.k8s.io/v1alpha2"
    assert "split" in site.shown(resources.TLS_ROUTES)
