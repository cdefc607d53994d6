"""Which pods and mappers of the gateway stand behind a Service, and how they are."""

import pytest

from edgehub.mesh.here import Place, endpoints, offers
from mesh.model.services import Origin, PortKey, ServiceKey, Transport
from twin.document import Slot
from twin.manifest.catalog import RegistryView, applied
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.model import Kind, TwinKey

pytestmark = pytest.mark.fast

HERE = Place("gw-1", "192.0.2.1", "hall-1")
DOCUMENTS = """
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: plant, labels: {app: web, tier: front}}
spec: {containers: [{name: app, image: host, command: [serve], ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: plant, labels: {app: web}}
spec: {nodeName: gw-2, containers: [{name: app, image: host, command: [serve]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-3, namespace: other, labels: {app: web}}
spec: {containers: [{name: app, image: host, command: [serve]}]}
---
apiVersion: edgetwin.dev/v1
kind: Mapper
metadata: {name: modbus, labels: {app: registers}}
spec: {ports: [{name: metrics, port: 9200}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: plant}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}, {name: raw, port: 81, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: registers}
spec:
  selector: {app: registers}
  ports: [{name: m, port: 80, targetPort: metrics}, {name: n, port: 81, targetPort: 1}]
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: plant}
spec: {ports: [{port: 80}]}
"""
WEB, REGISTERS = ServiceKey("plant", "web"), ServiceKey("default", "registers")


@pytest.fixture(scope="module")
def view():
    documents = read_documents([Source("plant.yaml", DOCUMENTS.encode())]).documents
    uids = iter(f"u{number}" for number in range(100))
    return applied(RegistryView(), documents, lambda: next(uids))[0]


def found(view, reported=None, runs=()):
    told = reported or {}
    offered = offers(view, HERE, lambda key, _: told.get(str(key), {}), lambda name: name in runs)
    return endpoints(view, offered, HERE)


def slots(**values):
    return {name: Slot(value, 1, 0, "hub", 0) for name, value in values.items()}


def test_a_ready_pod_of_this_gateway_is_an_endpoint_at_its_named_port(view):
    (one,) = found(view, {"pod/plant/web-1": slots(ready=True)})[PortKey(WEB, 80)]
    assert (one.place, one.node, one.zone, one.hostname) == ("192.0.2.1:8080", "gw-1", "hall-1", "web-1")
    assert (one.ready, one.origin) == (True, Origin.HERE)


def test_a_pod_that_is_not_ready_stays_in_the_list_and_says_so(view):
    (one,) = found(view, {"pod/plant/web-1": slots(ready=False)})[PortKey(WEB, 80)]
    assert (one.ready, one.serving) == (False, False)


def test_a_port_without_a_target_is_that_of_the_pod_with_the_same_number(view):
    (one,) = found(view)[PortKey(WEB, 81, Transport.UDP)]
    assert one.port == 81


def test_a_mapper_is_an_endpoint_while_its_process_runs(view):
    (one,) = found(view, runs=("modbus",))[PortKey(REGISTERS, 80)]
    assert (one.place, one.ready) == ("192.0.2.1:9200", True)
    (one,) = found(view)[PortKey(REGISTERS, 80)]
    assert not one.ready


def test_a_mapper_offers_only_the_ports_that_it_names(view):
    assert found(view, runs=("modbus",))[PortKey(REGISTERS, 81)] == ()


def test_a_service_without_a_selector_has_nothing_of_this_gateway(view):
    assert PortKey(ServiceKey("plant", "outside"), 80) not in found(view)


def test_the_address_of_a_pod_with_a_network_of_its_own_is_its_own():
    key = TwinKey(Kind.POD, "plant", "web-1")
    text = DOCUMENTS.split("---")[0].replace("image: host, command: [serve]", "image: nginx")
    documents = read_documents([Source("p.yaml", (text + "---" + DOCUMENTS.split("---")[4]).encode())]).documents
    view = applied(RegistryView(), documents, lambda: "u")[0]
    assert found(view)[PortKey(WEB, 80)] == ()
    (one,) = found(view, {str(key): slots(ready=True, address="10.89.0.7")})[PortKey(WEB, 80)]
    assert one.place == "10.89.0.7:8080"
