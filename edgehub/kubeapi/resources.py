"""The resources that are served, as a Kubernetes client finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twin.manifest.kinds import KUBEEDGE
from twin.manifest.kube import V1
from twin.manifest.kube_network import DISCOVERY

_GATEWAY_API: Final = "gateway.networking.k8s.io"  # not imported: with it would come the models of all routes


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object, and what it is called in paths."""

    api_version: str
    plural: str
    kind: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    fields: frozenset[str] = frozenset()
    """What a field selector may name besides ``metadata.name`` and ``metadata.namespace``."""

    @property
    def group(self) -> str:
        """The group; empty for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def qualified(self) -> str:
        """Its name in messages, with the group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


NAMESPACES: Final = Resource(
    V1, "namespaces", "Namespace", ("ns",), namespaced=False, fields=frozenset({"status.phase"})
)
NODES: Final = Resource(V1, "nodes", "Node", ("no",), namespaced=False)
PODS: Final = Resource(V1, "pods", "Pod", ("po",), fields=frozenset({"spec.nodeName", "status.phase"}))
SERVICES: Final = Resource(V1, "services", "Service", ("svc",))
ENDPOINTS: Final = Resource(V1, "endpoints", "Endpoints", ("ep",))
CONFIG_MAPS: Final = Resource(V1, "configmaps", "ConfigMap", ("cm",))
ENDPOINT_SLICES: Final = Resource(DISCOVERY, "endpointslices", "EndpointSlice")
HTTP_ROUTES: Final = Resource(f"{_GATEWAY_API}/v1", "httproutes", "HTTPRoute")
# The version that every client knows which knows them at all.
TCP_ROUTES: Final = Resource(f"{_GATEWAY_API}/v1alpha2", "tcproutes", "TCPRoute")
TLS_ROUTES: Final = Resource(f"{_GATEWAY_API}/v1alpha2", "tlsroutes", "TLSRoute")
DEVICES: Final = Resource(KUBEEDGE, "devices", "Device")
DEVICE_MODELS: Final = Resource(KUBEEDGE, "devicemodels", "DeviceModel")
DEVICE_STATUSES: Final = Resource(KUBEEDGE, "devicestatuses", "DeviceStatus")

ALL: Final = (
    *(NAMESPACES, NODES, PODS, SERVICES, ENDPOINTS, CONFIG_MAPS, ENDPOINT_SLICES),
    *(HTTP_ROUTES, TCP_ROUTES, TLS_ROUTES),
    *(DEVICES, DEVICE_MODELS, DEVICE_STATUSES),
)
"""All that is served. Secrets are not, ever."""


def found(api_version: str, plural: str) -> Resource | None:
    """The resource of a path."""
    return next((one for one in ALL if (one.api_version, one.plural) == (api_version, plural)), None)
