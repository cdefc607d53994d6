"""Services without a document here, as gateways tell of them that have one and run endpoints of it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from edgehub.mesh.listed import AddressOf
from mesh.grouping import port_key
from mesh.model.services import AppProtocol, PortKey, Service, ServiceKey, ServicePort

MOST: Final = 1000
"""Services that are taken; of more the first by name, so that no peer fills the memory or the network of addresses."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a port is like, beside its number and its endpoints."""

    name: str = ""
    app: AppProtocol = AppProtocol.RAW
    headless: bool = False


def shapes_of(services: Iterable[Service]) -> dict[PortKey, Shape]:
    """What is told of services that are known here."""
    return {port_key(one, port): Shape(port.name, port.app, not one.address) for one in services for port in one.ports}


def learnt(told: Mapping[PortKey, Shape], known: Set[ServiceKey], address_of: AddressOf) -> dict[ServiceKey, Service]:
    """The services that are told of and not ``known``, without endpoints."""
    ports: defaultdict[ServiceKey, list[tuple[PortKey, Shape]]] = defaultdict(list)
    for key, shape in sorted(told.items(), key=lambda one: one[0]):
        if key.service not in known:
            ports[key.service].append((key, shape))
    return {service: _service(service, ports[service], address_of) for service in sorted(ports)[:MOST]}


def _service(key: ServiceKey, told: list[tuple[PortKey, Shape]], address_of: AddressOf) -> Service:
    ports: list[ServicePort] = []
    for port, shape in told:
        taken = {one.name for one in ports}  # two gateways may mean different ports by one name
        name = "" if shape.name in taken else shape.name
        ports.append(ServicePort(port.port, name, port.transport, shape.app))
    headless = all(shape.headless for _, shape in told)
    return Service(key, "" if headless else address_of(key, ""), tuple(ports))
