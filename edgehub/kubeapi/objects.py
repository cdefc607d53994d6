"""Documents as Kubernetes objects. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias

from edgehub.kubeapi.resources import NAMESPACES, NODES, Resource
from edgehub.kubeapi.view import Content, ObjectKey
from twin.manifest.catalog import Stored
from twin.manifest.kube import PodSpec
from twin.manifest.kube_fields import RestartPolicy
from twin.manifest.kube_network import ServiceSpec
from twin.model import Value

Json: TypeAlias = dict[str, Value]


def content(
    resource: Resource, key: ObjectKey, metadata: Json, body: Json, *, fields: Mapping[str, str] | None = None
) -> Content:
    """An object as the view keeps it. ``metadata`` says more than its name; the version comes first in it."""
    about: Json = {"resourceVersion": "", "name": key.name}
    if key.namespace:
        about["namespace"] = key.namespace
    whole = {"metadata": about | metadata, "apiVersion": resource.api_version, "kind": resource.kind, **body}
    labels = metadata.get("labels")
    known = {"metadata.name": key.name, "metadata.namespace": key.namespace, **(fields or {})}
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    return Content(key, text, _strings(labels), known)


def metadata_of(stored: Stored) -> Json:
    """Labels, annotations and identity of a document."""
    about = mapping(stored.document.raw.get("metadata"))
    said = {key: about[key] for key in ("labels", "annotations") if about.get(key)}
    return {"uid": stored.uid, "generation": stored.generation, "creationTimestamp": None, **said}


def key_of(stored: Stored) -> ObjectKey:
    """The name of a document."""
    return ObjectKey(stored.ref.namespace, stored.ref.name)


def whole_of(stored: Stored) -> Json:
    """What a document says beside its metadata: of the kinds that are served as they were written."""
    written = stored.document.raw
    return {key: written[key] for key in written if key not in ("apiVersion", "kind", "metadata", "status")}


def pod_body(stored: Stored, node: str, status: Json) -> Json:
    """A pod, with what Kubernetes would fill in."""
    spec = stored.document.spec
    assert isinstance(spec, PodSpec)
    written = mapping(stored.document.raw.get("spec"))
    filled: Json = {"restartPolicy": RestartPolicy.ALWAYS.value, "terminationGracePeriodSeconds": 30}
    return {"spec": {**filled, **written, "nodeName": node}, "status": status}


def service_body(stored: Stored) -> Json:
    """A Service, with what Kubernetes would fill in."""
    spec = stored.document.spec
    assert isinstance(spec, ServiceSpec)
    written = mapping(stored.document.raw.get("spec"))
    ports: list[Value] = [
        {
            "protocol": one.protocol,
            "targetPort": one.port if one.target_port is None else one.target_port,
            **mapping(as_is),
        }
        for one, as_is in zip(spec.ports, elements(written.get("ports")), strict=True)
    ]
    filled: Json = {"type": "ClusterIP", "sessionAffinity": "None", **written}
    if ports:
        filled["ports"] = ports
    return {"spec": filled, "status": {"loadBalancer": {}}}


def namespace_content(name: str) -> Content:
    """A namespace; there is one if something is in it."""
    status: Json = {"phase": "Active"}
    labels: Json = {"labels": {"kubernetes.io/metadata.name": name}}
    body: Json = {"spec": {}, "status": status}
    return content(NAMESPACES, ObjectKey("", name), labels, body, fields={"status.phase": "Active"})


def node_content(name: str, address: str, version: str) -> Content:
    """The gateway itself."""
    labels: Json = {"labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}}
    addresses: list[Value] = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]
    ready: Json = {"type": "Ready", "status": "True", "reason": "HubReady", "message": "the hub of the gateway answers"}
    info: Json = {"kubeletVersion": version, "operatingSystem": "linux"}
    status: Json = {"addresses": addresses, "conditions": [ready], "nodeInfo": info}
    return content(NODES, ObjectKey("", name), labels, {"spec": {}, "status": status})


def time_of(at_ms: int) -> str:
    """An instant as Kubernetes writes it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def mapping(value: Value) -> Json:
    """A map, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def elements(value: Value) -> list[Value]:
    """A list, or an empty one for anything else."""
    return value if isinstance(value, list) else []


def _strings(value: Value) -> dict[str, str]:
    return {key: one for key, one in mapping(value).items() if isinstance(one, str)}
