"""Services as their documents say it, with the endpoints that EndpointSlices and Endpoints list. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Final, TypeAlias

from mesh.model.services import AppProtocol, Endpoint, Origin, Plane, Service, ServiceKey, ServicePort, Transport
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind, Ref
from twin.manifest.kube_network import SERVICE_NAME, Endpoints, EndpointSlice, ServiceSpec, SessionAffinity
from twin.manifest.kube_network import Endpoint as ListedEndpoint
from twin.manifest.kube_network import EndpointPort as ListedPort
from twin.manifest.kube_network import ServicePort as PortOfService
from twin.manifest.kube_rules import annotations_of
from twin.manifest.marks import PLANE, TUNNEL

AddressOf: TypeAlias = Callable[[ServiceKey, str], str]
"""The virtual address of a service, given the one that its document asks for, which may be empty."""
_HTTP: Final = ("http", "ws", "kubernetes.io/ws")
_AFFINITY_S: Final = 10_800
"""As in Kubernetes, where a Service says nothing of it."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """One endpoint behind ports of these names."""

    name: str
    transport: Transport
    endpoint: Endpoint


def services_of(view: RegistryView, node: str, by_cloud: Set[Ref], address_of: AddressOf) -> dict[ServiceKey, Service]:
    """Every Service; ``by_cloud``: the documents that came from there."""
    listed = _listed(view, by_cloud)
    found: dict[ServiceKey, Service] = {}
    for stored in view.all(DocumentKind.SERVICE):
        key = ServiceKey(stored.ref.namespace, stored.ref.name)
        found[key] = _service(stored, key, listed.get(key, ()), node, address_of)
    return found


def tunnels_of(view: RegistryView) -> dict[str, str]:
    """Where the tunnel of each other gateway is reached, host:port; empty: by the relay alone."""
    found: dict[str, str] = {}
    for stored in view.all(DocumentKind.ENDPOINT_SLICE):
        tunnel, spec = annotations_of(stored.document).get(TUNNEL), stored.document.spec
        if tunnel is not None and isinstance(spec, EndpointSlice):
            found.update({one.node_name: tunnel for one in spec.endpoints if one.node_name})
    return found


def plane_of(stored: Stored) -> Plane | None:
    """The data plane that a document asks for."""
    plane = annotations_of(stored.document).get(PLANE)
    return Plane(plane) if plane in set(Plane) else None


def _service(stored: Stored, key: ServiceKey, listed: Iterable[_Listed], node: str, address_of: AddressOf) -> Service:
    spec = stored.document.spec
    assert isinstance(spec, ServiceSpec)
    # What documents say of pods here is known better here.
    counting = [one for one in listed if not (spec.selector and one.endpoint.node == node)]
    ports = tuple(_port(port, counting) for port in spec.ports)
    if spec.type == "ExternalName":
        name = (spec.external_name or "").removesuffix(".")
        return Service(key, ports=ports, external_name=name, generation=stored.generation)
    sticky = spec.session_affinity_config and spec.session_affinity_config.client_ip
    affinity_s = sticky.timeout_seconds if sticky else _AFFINITY_S
    return Service(
        key,
        "" if spec.headless else address_of(key, spec.cluster_ip),
        ports,
        publish_not_ready=spec.publish_not_ready_addresses,
        affinity_s=affinity_s if spec.session_affinity is SessionAffinity.CLIENT_IP else 0,
        local_only=spec.internal_traffic_policy == "Local",
        plane=plane_of(stored),
        generation=stored.generation,
    )


def _port(port: PortOfService, listed: Iterable[_Listed]) -> ServicePort:
    name, transport = port.name or "", Transport(port.protocol)
    places: dict[str, Endpoint] = {}
    for one in listed:
        if one.name == name and one.transport is transport:
            places.setdefault(one.endpoint.place, one.endpoint)
    app = AppProtocol.HTTP if (port.app_protocol or "").lower() in _HTTP else AppProtocol.RAW
    return ServicePort(port.port, name, transport, app, port.node_port or 0, tuple(places.values()))


def _listed(view: RegistryView, by_cloud: Set[Ref]) -> Mapping[ServiceKey, list[_Listed]]:
    """All endpoints of documents, those that were applied here first."""
    found: defaultdict[ServiceKey, list[_Listed]] = defaultdict(list)
    for stored in view.all(DocumentKind.ENDPOINT_SLICE):
        name = stored.document.labels.get(SERVICE_NAME, "")
        found[ServiceKey(stored.ref.namespace, name)] += _of_slice(stored, _origin(stored, by_cloud))
    sliced = frozenset(found)
    for stored in view.all(DocumentKind.ENDPOINTS):
        key = ServiceKey(stored.ref.namespace, stored.ref.name)
        if key not in sliced:  # a cluster has the same in both
            found[key] += _of_endpoints(stored, _origin(stored, by_cloud))
    for ones in found.values():
        ones.sort(key=lambda one: one.endpoint.origin is Origin.CLOUD)
    return found


def _origin(stored: Stored, by_cloud: Set[Ref]) -> Origin:
    return Origin.CLOUD if stored.ref in by_cloud else Origin.LISTED


def _of_slice(stored: Stored, origin: Origin) -> Iterator[_Listed]:
    spec = stored.document.spec
    assert isinstance(spec, EndpointSlice)
    inside = TUNNEL in annotations_of(stored.document)
    for one in spec.endpoints:
        # All addresses of one endpoint are the same one, and more than the first are not asked for by anybody.
        for port in spec.ports if one.addresses else ():
            yield _Listed(port.name or "", Transport(port.protocol), _endpoint(one, port, origin, inside=inside))


def _endpoint(one: ListedEndpoint, port: ListedPort, origin: Origin, *, inside: bool) -> Endpoint:
    said = one.conditions
    ready, terminating = said.ready is not False, said.terminating is True
    return Endpoint(
        one.addresses[0],
        port.port,
        node=one.node_name or "",
        zone=one.zone or "",
        hostname=one.hostname or "",
        weight=one.weight,
        ready=ready,
        serving=ready if said.serving is None else said.serving,
        terminating=terminating,
        via=(one.node_name or "") if inside else "",
        origin=origin,
    )


def _of_endpoints(stored: Stored, origin: Origin) -> Iterator[_Listed]:
    spec = stored.document.spec
    assert isinstance(spec, Endpoints)
    for subset in spec.subsets:
        for port in subset.ports:
            for ready, addresses in ((True, subset.addresses), (False, subset.not_ready_addresses)):
                for one in addresses:
                    node, hostname = one.node_name or "", one.hostname or ""
                    endpoint = Endpoint(
                        one.ip, port.port, node=node, hostname=hostname, ready=ready, serving=ready, origin=origin
                    )
                    yield _Listed(port.name or "", Transport(port.protocol), endpoint)
