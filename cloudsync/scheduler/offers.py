"""Pods of gateways as the cloud's Services select them, and the EndpointSlices that tell others of them. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cloudsync.placing import Carried
from cloudsync.scheduler.interest import Name
from twin.exchange import DocumentRef
from twin.manifest.catalog import content_hash
from twin.manifest.document import Document, DocumentKind
from twin.manifest.kube import PodSpec
from twin.manifest.kube_engine import has_own_network
from twin.manifest.kube_network import DISCOVERY, SERVICE_NAME, AddressFamily, ServiceSpec, family_of
from twin.manifest.marks import TUNNEL
from twin.model import Kind, TwinKey, Value

MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
_STEM: Final = 50
Target: TypeAlias = int | str


@dataclass(frozen=True, slots=True)
class Offer:
    """One pod at one gateway."""

    gateway: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    named: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Its ports by name and protocol."""
    own_network: bool = False

    @property
    def key(self) -> TwinKey:
        """Its twin."""
        return TwinKey(Kind.POD, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Way:
    """How one gateway is reached by the others, as it tells it."""

    address: str = ""
    tunnel: str = ""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a pod is, as its gateway tells it."""

    ready: bool = False
    address: str = ""


def offer_of(gateway: str, document: Document) -> Offer:
    """A pod's document at a gateway."""
    spec = document.spec
    assert isinstance(spec, PodSpec)
    ports = (port for container in spec.containers for port in container.ports if port.name)
    named: dict[tuple[str, str], int] = {(port.name or "", port.protocol): port.container_port for port in ports}
    return Offer(gateway, document.namespace, document.name, document.labels, named, has_own_network(spec))


def selected(services: Iterable[tuple[Name, ServiceSpec]], offers: Iterable[Offer]) -> dict[Name, list[Offer]]:
    """The pods of each Service; those that have none are left out."""
    by_label: defaultdict[tuple[str, str, str], list[Offer]] = defaultdict(list)
    for offer in offers:
        for label, value in offer.labels.items():
            by_label[offer.namespace, label, value].append(offer)
    found: dict[Name, list[Offer]] = {}
    for name, spec in services:
        first = next(iter(spec.selector.items()))
        wanted = spec.selector.items()
        fit = [one for one in by_label.get((name[0], *first), ()) if wanted <= one.labels.items()]
        if fit:
            found[name] = fit
    return found


def slices(
    name: Name,
    spec: ServiceSpec,
    offers: Iterable[Offer],
    standings: Mapping[tuple[str, TwinKey], Standing],
    ways: Mapping[str, Way],
) -> dict[str, dict[DocumentRef, Carried]]:
    """The EndpointSlices of a Service by the gateway that the pods are at: one for each set of port numbers there."""
    groups: defaultdict[_Group, list[tuple[str, Offer, Standing]]] = defaultdict(list)
    for offer in sorted(offers, key=lambda one: one.name):
        standing, way = standings.get((offer.gateway, offer.key)), ways.get(offer.gateway, Way())
        if standing is None:
            continue
        address = standing.address or ("" if offer.own_network else way.address)
        ports = _numbers(spec, offer)
        if ports and (family := family_of(address)):
            inside = bool(way.tunnel) or offer.own_network
            groups[_Group(offer.gateway, ports, family, inside=inside)].append((address, offer, standing))
    found: defaultdict[str, dict[DocumentRef, Carried]] = defaultdict(dict)
    for group, members in groups.items():
        way = ways.get(group.gateway, Way())
        raw = _slice(name, spec, group, members, way)
        ref = DocumentRef(DocumentKind.ENDPOINT_SLICE.value, name[0], group.name(name[1]))
        found[group.gateway][ref] = Carried(raw, content_hash(raw))
    return dict(found)


@dataclass(frozen=True, slots=True)
class _Group:
    """What endpoints of one slice have in common."""

    gateway: str
    ports: tuple[int, ...]
    family: AddressFamily
    inside: bool
    """Whether others come to them only through their gateway."""

    def name(self, service: str) -> str:
        """Of at most 63 characters, and the same for the same."""
        text = f"{service} {self.gateway} {self.ports} {self.family} {self.inside}"
        return f"{service[:_STEM].rstrip('-.')}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _numbers(spec: ServiceSpec, offer: Offer) -> tuple[int, ...]:
    """The number of each port of the Service at a pod; 0 for a name that it does not have; empty if it has none."""
    targets: Iterator[tuple[Target, str]] = (
        (one.port if one.target_port is None else one.target_port, one.protocol) for one in spec.ports
    )
    numbers = tuple(
        target if isinstance(target, int) else offer.named.get((target, protocol), 0) for target, protocol in targets
    )
    return numbers if any(numbers) else ()


def _slice(
    name: Name, spec: ServiceSpec, group: _Group, members: Iterable[tuple[str, Offer, Standing]], way: Way
) -> dict[str, Value]:
    ports: list[Value] = [
        {"name": one.name or "", "port": number, "protocol": one.protocol}
        for one, number in zip(spec.ports, group.ports, strict=True)
        if number
    ]
    endpoints: list[Value] = []
    for address, offer, standing in members:
        endpoint: dict[str, Value] = {
            "addresses": [address],
            "conditions": {"ready": standing.ready},
            "nodeName": group.gateway,
            "targetRef": {"kind": "Pod", "namespace": offer.namespace, "name": offer.name},
        }
        if way.zone:
            endpoint["zone"] = way.zone
        endpoints.append(endpoint)
    labels: dict[str, Value] = {SERVICE_NAME: name[1], MANAGED_BY: "edgetwin"}
    metadata: dict[str, Value] = {"namespace": name[0], "name": group.name(name[1]), "labels": labels}
    if group.inside:
        metadata["annotations"] = {TUNNEL: way.tunnel}
    return {
        "apiVersion": DISCOVERY,
        "kind": DocumentKind.ENDPOINT_SLICE.value,
        "metadata": metadata,
        "addressType": group.family.value,
        "endpoints": endpoints,
        "ports": ports,
    }
