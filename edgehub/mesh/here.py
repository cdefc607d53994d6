"""What this gateway itself offers: its pods and mappers, as endpoints of the Services that select them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edgehub.kubeapi.pod_status import address_of, is_ready
from mesh.model.services import Endpoint, Origin, PortKey, ServiceKey, Transport
from twin.document import Slot
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.kinds import MapperSpec
from twin.manifest.kube import PodSpec
from twin.manifest.kube_network import ServicePort, ServiceSpec
from twin.model import Kind, TwinKey

Reported: TypeAlias = Callable[[TwinKey, str], Mapping[str, Slot]]
"""What the twin of a document, given its uid, reports; nothing if there is none (yet)."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which gateway this is, where it stands, and by which address others reach it."""

    node: str
    address: str
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """One pod or mapper that Services can select."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    address: str
    ready: bool
    named: Mapping[tuple[str, Transport], int]
    """Its ports by name."""
    only_named: bool = False
    """Whether it listens on no other numbers."""

    def number(self, port: ServicePort) -> int | None:
        """The port behind one of a Service; None if it has none."""
        target, transport = port.target_port or port.port, Transport(port.protocol)
        if isinstance(target, str):
            return self.named.get((target, transport))
        offered = not self.only_named or (target, transport) in {(n, t) for (_, t), n in self.named.items()}
        return target if offered else None


def offers(view: RegistryView, place: Place, reported: Reported, runs: Callable[[str], bool]) -> Iterator[Offer]:
    """All pods and mappers of this gateway that have an address; ``runs`` says whether a mapper's process does."""
    for stored in view.all(DocumentKind.POD):
        spec = stored.document.spec
        assert isinstance(spec, PodSpec)
        if spec.node_name in (None, place.node):
            told = reported(TwinKey(Kind.POD, stored.ref.namespace, stored.ref.name), stored.uid)
            if address := address_of(spec, told, place.address):
                yield _of_pod(stored, spec, address, ready=is_ready(told))
    for stored in view.all(DocumentKind.MAPPER):
        spec = stored.document.spec
        assert isinstance(spec, MapperSpec)
        if spec.ports:
            ports = {(one.name, Transport(one.protocol)): one.port for one in spec.ports}
            ready, labels = spec.enabled and runs(stored.ref.name), stored.document.labels
            yield Offer(stored.ref.namespace, stored.ref.name, labels, place.address, ready, ports, only_named=True)


def endpoints(view: RegistryView, offered: Iterable[Offer], place: Place) -> dict[PortKey, tuple[Endpoint, ...]]:
    """The endpoints on this gateway of every port of every Service with a selector."""
    by_namespace: dict[str, list[Offer]] = {}
    for one in offered:
        by_namespace.setdefault(one.namespace, []).append(one)
    found: dict[PortKey, tuple[Endpoint, ...]] = {}
    for stored in view.all(DocumentKind.SERVICE):
        spec = stored.document.spec
        assert isinstance(spec, ServiceSpec)
        if not spec.selector:
            continue
        wanted = spec.selector.items()
        fit = [one for one in by_namespace.get(stored.ref.namespace, ()) if wanted <= one.labels.items()]
        for port in spec.ports:
            key = PortKey(ServiceKey(stored.ref.namespace, stored.ref.name), port.port, Transport(port.protocol))
            found[key] = tuple(_endpoints(fit, port, place))
    return found


def _of_pod(stored: Stored, spec: PodSpec, address: str, *, ready: bool) -> Offer:
    named = {
        (one.name, Transport(one.protocol)): one.container_port
        for container in spec.containers
        for one in container.ports
        if one.name
    }
    return Offer(stored.ref.namespace, stored.ref.name, stored.document.labels, address, ready, named)


def _endpoints(offered: Iterable[Offer], port: ServicePort, place: Place) -> Iterator[Endpoint]:
    for one in offered:
        if (number := one.number(port)) is not None:
            yield Endpoint(
                one.address,
                number,
                node=place.node,
                zone=place.zone,
                hostname=one.name,
                ready=one.ready,
                serving=one.ready,
                origin=Origin.HERE,
            )
