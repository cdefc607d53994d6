"""Objects of a cluster, and the resources that they are of. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from twin.model import Value

GROUP: Final = "devices.kubeedge.io"


class Place(NamedTuple):
    """Names one object of a resource; the namespace is empty where there is none."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Resource:
    """What the API serves under one path."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As objects name it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", sub: str = "") -> str:
        """The path of a collection, an object or a subresource; without a namespace that of all."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        space = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(part for part in (f"{root}{space}/{self.plural}", name, sub) if part)


PODS: Final = Resource("", "v1", "pods", "Pod")
NODES: Final = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES: Final = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
SERVICES: Final = Resource("", "v1", "services", "Service")
EVENTS: Final = Resource("", "v1", "events", "Event")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
DEVICE_MODELS: Final = Resource(GROUP, "v1beta1", "devicemodels", "DeviceModel")
DEVICES: Final = Resource(GROUP, "v1beta1", "devices", "Device")
DEVICE_STATUSES: Final = Resource(GROUP, "v1beta1", "devicestatuses", "DeviceStatus")


@dataclass(frozen=True, slots=True)
class KubeObject:
    """One object. ``raw`` is plain JSON and must not be changed."""

    place: Place
    uid: str
    version: str
    raw: Mapping[str, Value] = field(repr=False)

    @property
    def metadata(self) -> Mapping[str, Value]:
        """Who it is."""
        return part(self.raw, "metadata")

    @property
    def spec(self) -> Mapping[str, Value]:
        """What is wanted."""
        return part(self.raw, "spec")

    @property
    def status(self) -> Mapping[str, Value]:
        """What is observed."""
        return part(self.raw, "status")

    @property
    def deleting(self) -> bool:
        """Whether it is to go."""
        return self.metadata.get("deletionTimestamp") is not None


def read_object(raw: Value, resource: Resource) -> KubeObject | None:
    """An object as it came; None if it is none. Lists leave out what it is, so the resource says it."""
    if not isinstance(raw, dict):
        return None
    metadata = part(raw, "metadata")
    name, uid, version = text(metadata, "name"), text(metadata, "uid"), text(metadata, "resourceVersion")
    if not (name and uid and version):
        return None
    whole = {**raw, "apiVersion": resource.api_version, "kind": resource.kind}
    return KubeObject(Place(text(metadata, "namespace"), name), uid, version, whole)


def part(value: Mapping[str, Value], name: str) -> Mapping[str, Value]:
    """A map inside a map; empty if there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def parts(value: Mapping[str, Value], name: str) -> list[Mapping[str, Value]]:
    """The maps of a list inside a map."""
    found = value.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def text(value: Mapping[str, Value], name: str) -> str:
    """A text inside a map; empty if there is none."""
    found = value.get(name)
    return found if isinstance(found, str) else ""
