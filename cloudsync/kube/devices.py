"""Devices and DeviceModels of KubeEdge's group as documents. Pure.

A cluster converts nothing between v1alpha2 and v1beta1 but the name of the version, so what an object is shows in the
fields that it has.
"""

from __future__ import annotations

from typing import Final

from cloudsync.kube.marks import marked
from cloudsync.kube.objects import KubeObject, Place, part, parts, text
from twin.manifest import v1alpha2
from twin.manifest.document import Document
from twin.manifest.read import read_parsed
from twin.manifest.yaml import Parsed
from twin.model import Value

_ALPHA: Final = ("nodeSelector", "propertyVisitors", "data")
_HOSTNAMES: Final = ("", "kubernetes.io/hostname")


def taken_device(device: KubeObject, gateway: str, cluster: str) -> Document:
    """The document of a device at its gateway. Raises InvalidManifest."""
    spec = dict(device.spec)
    if _is_alpha(device):
        selector: Value = {"matchExpressions": [{"key": "", "operator": "In", "values": [gateway]}]}
        spec["nodeSelector"] = {"nodeSelectorTerms": [selector]}
        twins: Value = [
            {"propertyName": one.get("propertyName"), "desired": one["desired"]}
            for one in parts(device.status, "twins")
            if one.get("desired") is not None
        ]
        body: dict[str, Value] = {"spec": spec, "status": {"twins": twins}}  # people write desired values there
        return _read(device, v1alpha2.VERSION, cluster, body)
    spec["nodeName"] = gateway
    return _read(device, text(device.raw, "apiVersion"), cluster, {"spec": spec})


def taken_model(model: KubeObject, cluster: str) -> Document:
    """The document of a device model. Raises InvalidManifest."""
    old = any(isinstance(one.get("type"), dict) for one in parts(model.spec, "properties"))
    version = v1alpha2.VERSION if old else text(model.raw, "apiVersion")
    return _read(model, version, cluster, {"spec": dict(model.spec)})


def node_of(device: KubeObject) -> str:
    """The node that a device names; empty if it names none, or more than one."""
    if not _is_alpha(device):
        return text(device.spec, "nodeName")
    names = {
        name
        for term in parts(part(device.spec, "nodeSelector"), "nodeSelectorTerms")
        for one in parts(term, "matchExpressions")
        if one.get("key") in _HOSTNAMES and one.get("operator") == "In"
        for name in _strings(one.get("values"))
    }
    return names.pop() if len(names) == 1 else ""


def model_of(device: KubeObject) -> Place:
    """The model that a device names."""
    return Place(device.place.namespace, text(part(device.spec, "deviceModelRef"), "name"))


def _is_alpha(device: KubeObject) -> bool:
    return any(name in device.spec for name in _ALPHA)


def _strings(value: Value) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _read(one: KubeObject, version: str, cluster: str, body: dict[str, Value]) -> Document:
    kind = text(one.raw, "kind")
    whole: Value = {"apiVersion": version, "kind": kind, "metadata": marked(one.metadata, cluster), **body}
    return read_parsed([Parsed(f"{kind} {one.place}", whole)]).documents[0]
