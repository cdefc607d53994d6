"""Objects of a cluster as the tests write them."""

import itertools

from cloudsync.kube.objects import (
    CONFIG_MAPS,
    DEVICE_MODELS,
    DEVICES,
    ENDPOINT_SLICES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    read_object,
)
from tests.kube_server.defaults import defaulted

CLUSTER = "c-1"
RESOURCES = {
    one.kind: one for one in (PODS, NODES, CONFIG_MAPS, SECRETS, SERVICES, ENDPOINT_SLICES, DEVICES, DEVICE_MODELS)
}
_versions = itertools.count(1)


def obj(kind, name, namespace="default", *, uid="", version="", metadata=None, **body):
    """An object as a watch tells of it."""
    about = {"name": name, "uid": uid or f"uid-{name}", "resourceVersion": version or str(next(_versions))}
    about |= {"namespace": namespace} if namespace else {}
    return read_object({"metadata": {**about, **(metadata or {})}, **body}, RESOURCES[kind])


def container(name="app", **more):
    return {"name": name, "image": "host", "command": ["sleep", "9"], **more}


def pod(name="web", node="gw-1", *, uid="", status=None, metadata=None, **spec):
    """A pod as an API server has it: with all its defaults."""
    raw = {"metadata": {"name": name}, "spec": {"containers": [container()], "nodeName": node, **spec}}
    whole = defaulted("Pod", raw)
    return obj("Pod", name, uid=uid, metadata=metadata, spec=whole["spec"], status=status or whole["status"])


def model(name="tank", properties=None):
    said = properties or [{"name": "valve", "type": "INT", "accessMode": "ReadWrite"}]
    return obj("DeviceModel", name, spec={"properties": said})


def device(name="pump", node="gw-1", model="tank", desired=None, **spec):
    valve = {"name": "valve", **({"desired": {"value": desired}} if desired is not None else {})}
    return obj(
        "Device", name, spec={"deviceModelRef": {"name": model}, "nodeName": node, "properties": [valve], **spec}
    )
