"""What this gateway itself offers: its pods and mappers, as endpoints of the Services that select them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edgehub.offers import Offer, Offers, Reported, of_pods, pods_here
from mesh.model.services import Endpoint, Origin, PortKey, ServiceKey, Transport
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.kinds import MapperSpec
from twin.manifest.kube_network import ServicePort, ServiceSpec


@dataclass(frozen=True, slots=True)
class Place:
    """Which gateway this is, where it stands, and by which address others reach it."""

    node: str
    address: str
    zone: str = ""


def offers(view: RegistryView, place: Place, reported: Reported, runs: Callable[[str], bool]) -> Offers:
    """All pods and mappers of this gateway that have an address; ``runs`` says whether a mapper's process does."""
    pods = of_pods(pods_here(view, place.node), reported, place.address)
    mappers = (_of_mapper(one, place, runs) for one in view.all(DocumentKind.MAPPER))
    return Offers([*pods, *filter(None, mappers)])


def endpoints(view: RegistryView, offered: Offers, place: Place) -> dict[PortKey, tuple[Endpoint, ...]]:
    """The endpoints on this gateway of every port of every Service with a selector."""
    found: dict[PortKey, tuple[Endpoint, ...]] = {}
    for stored in view.all(DocumentKind.SERVICE):
        spec = stored.document.spec
        assert isinstance(spec, ServiceSpec)
        if spec.selector:
            selected = offered.selected(stored)
            for port in spec.ports:
                key = PortKey(ServiceKey(stored.ref.namespace, stored.ref.name), port.port, Transport(port.protocol))
                found[key] = tuple(_endpoints(selected, port, place))
    return found


def _of_mapper(stored: Stored, place: Place, runs: Callable[[str], bool]) -> Offer | None:
    spec = stored.document.spec
    assert isinstance(spec, MapperSpec)
    if not spec.ports:
        return None
    ports: dict[tuple[str, str], int] = {(one.name, one.protocol): one.port for one in spec.ports}
    return Offer(stored, place.address, spec.enabled and runs(stored.ref.name), ports, only_named=True)


def _endpoints(offered: list[Offer], port: ServicePort, place: Place) -> Iterator[Endpoint]:
    for one in offered:
        if (number := one.number(port)) is not None:
            yield Endpoint(
                one.address,
                number,
                node=place.node,
                zone=place.zone,
                hostname=one.stored.ref.name,
                ready=one.ready,
                serving=one.ready,
                origin=Origin.HERE,
            )
