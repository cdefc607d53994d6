"""ConfigMaps, Secrets, Services and EndpointSlices as documents, and which of them a pod needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from cloudsync.kube.marks import marked
from cloudsync.kube.objects import CONFIG_MAPS, SECRETS, KubeObject, Place, Resource, part
from cloudsync.kube.reducing import read
from cloudsync.kube.secrets import VERSION
from twin.manifest.document import Document
from twin.manifest.kube import PodSpec
from twin.model import Value

_CONTENT: Final[Mapping[str, tuple[str, ...]]] = {
    "ConfigMap": ("data", "binaryData", "immutable"),
    "Secret": ("data", "type", "immutable"),
    "Service": ("spec",),
    "EndpointSlice": ("addressType", "endpoints", "ports"),
}
_OUTSIDE: Final = (
    *("externalIPs", "externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"),
    *("loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges", "trafficDistribution"),
)
"""What a Service says to those outside the cluster."""
_NAMED: Final = ("type", "externalName", "ports")
"""What counts of a Service that is another name for something."""


def taken(one: KubeObject, cluster: str) -> Document:
    """The document of an object. Raises InvalidManifest for one that a gateway has no use for."""
    about = marked(one.metadata, cluster)
    if one.raw["kind"] == "Secret":
        about["annotations"] = {**part(about, "annotations"), VERSION: f"{one.uid}/{one.version}"}
    body: dict[str, Value] = {"metadata": about}
    body |= {name: one.raw[name] for name in _CONTENT[str(one.raw["kind"])] if one.raw.get(name) is not None}
    if one.raw["kind"] == "Service":
        body["spec"] = _inside(one)
    return read(one, body)


def _inside(service: KubeObject) -> Value:
    """A Service as those inside the cluster see it: an address whatever its type, or the name of something else."""
    spec = {name: one for name, one in service.spec.items() if name not in _OUTSIDE}
    if spec.get("type") == "ExternalName":  # Kubernetes keeps what it had before it became a name
        spec = {name: one for name, one in spec.items() if name in _NAMED}
    else:
        spec.pop("externalName", None)
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        spec["type"] = "ClusterIP"
    ports = spec.get("ports")
    if isinstance(ports, list):
        spec["ports"] = [
            {name: value for name, value in port.items() if name != "nodePort"} if isinstance(port, dict) else port
            for port in ports
        ]
    return spec


def needed(namespace: str, spec: PodSpec) -> Iterator[tuple[Resource, Place]]:
    """The ConfigMaps and Secrets that a pod names; that one is missing is for the gateway to tell."""
    for volume in spec.volumes:
        if volume.config_map is not None:
            yield CONFIG_MAPS, Place(namespace, volume.config_map.name)
        if volume.secret is not None:
            yield SECRETS, Place(namespace, volume.secret.secret_name)
    for container in spec.all_containers:
        for source in container.env_from:
            if source.config_map_ref is not None:
                yield CONFIG_MAPS, Place(namespace, source.config_map_ref.name)
            if source.secret_ref is not None:
                yield SECRETS, Place(namespace, source.secret_ref.name)
        for variable in container.env:
            if (of := variable.value_from) is None:
                continue
            if of.config_map_key_ref is not None:
                yield CONFIG_MAPS, Place(namespace, of.config_map_key_ref.name)
            if of.secret_key_ref is not None:
                yield SECRETS, Place(namespace, of.secret_key_ref.name)
