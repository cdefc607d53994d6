"""From objects of a cluster to documents: what is added changes nothing, what a gateway cannot do is named."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudsync.kube.devices import node_of, taken_device, taken_model
from cloudsync.kube.marks import CLUSTER as MARK
from cloudsync.kube.marks import cluster_of
from cloudsync.kube.objects import CONFIG_MAPS, SECRETS, Place
from cloudsync.kube.reducing import reduced
from cloudsync.kube.taking import needed, taken
from tests.cloudsync.kube.words import CLUSTER, container, device, model, obj, pod
from twin.manifest.problems import InvalidManifest
from twin.manifest.read import read_parsed
from twin.manifest.yaml import Parsed

pytestmark = pytest.mark.fast

NAMES = st.sampled_from(["a", "b2", "c-3"])
PROBES = st.fixed_dictionaries(
    {"httpGet": st.fixed_dictionaries({"port": st.integers(1, 65535)})}, optional={"periodSeconds": st.integers(1, 60)}
) | st.just({"tcpSocket": {"port": 80}})
VARIABLES = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["A", "B"]),
            "value": st.text(st.characters(codec="ascii", categories=["L"]), max_size=5),
        }
    )
    | st.just({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}})
    | st.just({"name": "C", "valueFrom": {"configMapKeyRef": {"name": "app", "key": "k"}}}),
    max_size=2,
)
CONTAINERS = st.fixed_dictionaries(
    {"image": st.sampled_from(["host", "file:///srv/x.tar"]), "command": st.just(["run"])},
    optional={
        "args": st.just(["--fast"]),
        "env": VARIABLES,
        "ports": st.just([{"containerPort": 8080}]),
        "livenessProbe": PROBES,
        "resources": st.just({"limits": {"memory": "64Mi", "cpu": "500m"}}),
        "volumeMounts": st.just([{"name": "scratch", "mountPath": "/scratch"}]),
    },
)
SPECS = st.fixed_dictionaries(
    {
        "containers": st.dictionaries(NAMES, CONTAINERS, min_size=1, max_size=2).map(
            lambda found: [{"name": name, **one} for name, one in found.items()]
        ),
        "volumes": st.just([{"name": "scratch", "emptyDir": {}}, {"name": "conf", "configMap": {"name": "app"}}]),
    },
    optional={
        "restartPolicy": st.sampled_from(["Always", "OnFailure", "Never"]),
        "terminationGracePeriodSeconds": st.integers(0, 60),
        "hostNetwork": st.just(True),
        "nodeSelector": st.just({"edge": "yes"}),
        "tolerations": st.just([{"operator": "Exists"}]),
    },
)


def read(spec):
    raw = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec}
    return read_parsed([Parsed("Pod web", raw)]).documents[0].spec


@given(SPECS)
def test_what_an_api_server_adds_to_a_pod_changes_nothing(spec):
    written = {name: one for name, one in spec.items() if name not in ("nodeSelector", "tolerations")}
    mine = read({**written, "nodeName": "gw-1"})
    assert reduced(pod(**copy.deepcopy(spec)), "gw-1", CLUSTER).spec == _with_requests(mine, spec)


def _with_requests(spec, raw):
    """An API server says what is needed, where only what is allowed was said."""
    made = [
        one.model_copy(update={"resources": one.resources.model_copy(update={"requests": one.resources.limits})})
        for one in spec.containers
    ]
    if raw.get("hostNetwork"):
        made = [
            one.model_copy(
                update={"ports": tuple(p.model_copy(update={"host_port": p.container_port}) for p in one.ports)}
            )
            for one in made
        ]
    return spec.model_copy(update={"containers": tuple(made)})


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"securityContext": {"runAsUser": 1000}}, "spec.securityContext"),
        ({"containers": [container(securityContext={"privileged": True})]}, "spec.containers[0].securityContext"),
        ({"containers": [container(stdin=True)]}, "spec.containers[0].stdin"),
        ({"containers": [container(terminationMessagePath="/x")]}, "spec.containers[0].terminationMessagePath"),
        (
            {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}]},
            "spec.volumes[0].persistentVolumeClaim",
        ),
        ({"volumes": [{"name": "d", "projected": {"sources": []}}]}, "spec.volumes[0].projected"),
        (
            {"volumes": [{"name": "d", "secret": {"secretName": "s", "defaultMode": 256}}]},
            "spec.volumes[0].secret.defaultMode",
        ),
        ({"hostPID": True}, "spec.hostPID"),
        ({"dnsPolicy": "None"}, "spec.dnsPolicy"),
        ({"dnsConfig": {"nameservers": ["192.0.2.1"]}}, "spec.dnsConfig"),
        ({"readinessGates": [{"conditionType": "x"}]}, "spec.readinessGates"),
        ({"activeDeadlineSeconds": 9}, "spec.activeDeadlineSeconds"),
        ({"hostAliases": [{"ip": "192.0.2.1"}]}, "spec.hostAliases"),
        ({"initContainers": [container("side", restartPolicy="Always")]}, "spec.initContainers[0].restartPolicy"),
        ({"runtimeClassName": "process", "containers": [container(image="nginx:1.27")]}, "spec.containers[0].image"),
        ({"runtimeClassName": "gvisor"}, "spec.runtimeClassName"),
    ],
)
def test_what_a_gateway_cannot_do_is_refused_with_its_path(spec, path):
    with pytest.raises(InvalidManifest) as told:
        reduced(pod(**spec), "gw-1", CLUSTER)
    assert path in {one.path for one in told.value.problems}


def test_a_document_says_which_cluster_it_is_of_and_nothing_of_the_cluster_s_books():
    notes = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "note": "mine"}
    about = {"annotations": notes, "labels": {"app": "web"}, "managedFields": [{}], "ownerReferences": [{}]}
    document = reduced(pod(metadata=about), "gw-1", CLUSTER)
    assert cluster_of(document) == CLUSTER
    assert document.raw["metadata"] == {
        "namespace": "default",
        "name": "web",
        "labels": {"app": "web"},
        "annotations": {"note": "mine", MARK: CLUSTER},
    }
    assert "status" not in document.raw


def test_the_same_pod_told_again_is_the_same_document():
    one = pod()
    again = pod(status={"phase": "Running"}, tolerations=[{"operator": "Exists"}])
    assert reduced(one, "gw-1", CLUSTER).raw == reduced(again, "gw-1", CLUSTER).raw


def test_a_pod_needs_the_documents_that_it_names():
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "two", "key": "k"}}},
    ]
    source = [{"configMapRef": {"name": "three"}}, {"secretRef": {"name": "four"}}]
    volumes = [{"name": "v", "configMap": {"name": "five"}}, {"name": "w", "secret": {"secretName": "six"}}]
    document = reduced(pod(containers=[container(env=env, envFrom=source)], volumes=volumes), "gw-1", CLUSTER)
    assert set(needed("default", document.spec)) == {
        *((CONFIG_MAPS, Place("default", name)) for name in ("one", "three", "five")),
        *((SECRETS, Place("default", name)) for name in ("two", "four", "six")),
    }


def test_a_service_is_what_those_inside_the_cluster_see_of_it():
    port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30080}
    spec = {"type": "NodePort", "clusterIP": "10.96.0.7", "externalTrafficPolicy": "Cluster", "ports": [port]}
    found = taken(obj("Service", "web", spec=spec), CLUSTER)
    assert found.raw["spec"] == {
        "type": "ClusterIP",
        "clusterIP": "10.96.0.7",
        "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
    }
    left = obj("Service", "web", spec={**spec, "type": "ClusterIP", "externalName": "before.example.com"})
    assert taken(left, CLUSTER).raw["spec"] == found.raw["spec"]


def test_a_service_that_is_a_name_is_taken_as_one_without_what_it_was_before():
    named = {"type": "ExternalName", "externalName": "example.com", "sessionAffinity": "None"}
    before = {"selector": {"app": "far"}, "clusterIP": "10.96.0.9", "ports": [{"port": 80, "nodePort": 30080}]}
    found = taken(obj("Service", "far", spec={**named, **before}), CLUSTER)
    assert found.raw["spec"] == {"type": "ExternalName", "externalName": "example.com", "ports": [{"port": 80}]}
    assert found.spec.external_name == "example.com"
    with pytest.raises(InvalidManifest):
        taken(obj("Service", "far", spec={"type": "ExternalName"}), CLUSTER)


def test_endpoint_slices_and_config_come_as_they_are():
    body = {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.7"]}], "ports": [{"port": 80}]}
    found = taken(
        obj("EndpointSlice", "web-1", metadata={"labels": {"kubernetes.io/service-name": "web"}}, **body), CLUSTER
    )
    assert {name: found.raw[name] for name in body} == body
    config = taken(obj("ConfigMap", "app", data={"a": "1"}, binaryData={"b": "aGk="}), CLUSTER)
    assert config.raw["data"] == {"a": "1"}


def test_a_device_goes_to_the_gateway_of_its_node_whatever_the_node_is_called():
    document = taken_device(device(node="edge-gw-1", desired="7"), "gw-1", CLUSTER)
    assert document.spec.gateway_name == "gw-1"
    assert document.spec.properties[0].desired.value == "7"


def test_the_older_api_shows_in_the_fields():
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["edge-gw-1"]}]}
    spec = {"deviceModelRef": {"name": "tank"}, "nodeSelector": {"nodeSelectorTerms": [term]}}
    twins = [{"propertyName": "valve", "desired": {"value": "7"}, "reported": {"value": "1"}}]
    old = obj("Device", "pump", spec=spec, status={"twins": twins})
    assert node_of(old) == "edge-gw-1"
    document = taken_device(old, "gw-1", CLUSTER)
    assert document.spec.gateway_name == "gw-1"
    assert document.spec.properties[0].desired.value == "7"
    made = taken_model(model(properties=[{"name": "valve", "type": {"int": {"accessMode": "ReadWrite"}}}]), CLUSTER)
    assert made.spec.properties[0].type == "INT"


def test_what_a_gateway_reports_of_an_old_device_does_not_change_its_document():
    spec = {"deviceModelRef": {"name": "tank"}, "propertyVisitors": [{"propertyName": "valve"}]}
    twin = {"propertyName": "valve", "desired": {"value": "7"}}
    before = obj("Device", "pump", spec=spec, status={"twins": [twin]})
    after = obj(
        "Device", "pump", spec=spec, status={"twins": [{**twin, "reported": {"value": "5"}}], "state": "online"}
    )
    assert taken_device(before, "gw-1", CLUSTER).raw == taken_device(after, "gw-1", CLUSTER).raw
