"""The names of one service, and what is answered to them. Pure: a service and a question in, an answer out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import groupby
from typing import Final

from mesh.dns.found import NODATA, NXDOMAIN, Found, address_record, of_addresses, type_of
from mesh.dns.message import ASKED, Answer, Type, record
from mesh.dns.names import Address, address_of, dashed, text_of, wire
from mesh.dns.order import STALE, Turns, distance
from mesh.dns.settings import DnsSettings
from mesh.model.services import Endpoint, Service, ServicePort

_SRV: Final = struct.Struct("!HHH")


class ServiceNames:
    """Answers for services of a domain, as they look from one gateway."""

    def __init__(self, settings: DnsSettings, domain: bytes) -> None:
        self._settings = settings
        self._domain = text_of(domain)

    def find(self, service: Service, prefix: list[str], kind: int) -> Found:
        """Answer for a service, or for a name below it: ``prefix`` holds the labels before the service's own."""
        if service.external_name and not service.address:
            return self._of_external(service, kind) if not prefix else Found(NXDOMAIN, service.key)
        headless = not service.address
        offered = offers(service)
        if headless and not offered and prefix[-1:] != ["_zone"]:
            return Found(NXDOMAIN, service.key)  # as the specification wants it, though the service is known
        match prefix:
            case []:
                return self._of_all(service, offered, kind)
            case [*zone, ("pin" | "prefer") as choice, "_zone"] if headless and zone:
                near = [one for one in offered if one.zone.lower() == ".".join(zone)]
                return self._of_endpoints(service, near if near or choice == "pin" else offered, kind)
            case ["_zone"] | ["pin" | "prefer", "_zone"] if headless:
                return Found(NODATA, service.key)
            case [port, transport] if port.startswith("_"):
                return self._of_port(service, port[1:], transport, kind)
            case [transport] if transport.startswith("_"):
                named = any(port.name and _label(port) == transport for port in service.ports)
                return Found(NODATA if named else NXDOMAIN, service.key)
            case [host]:
                one = [each for each in offered if _host(each) == host.encode()]
                return self._of_endpoints(service, one, kind) if one else Found(NXDOMAIN, service.key)
        return Found(NXDOMAIN, service.key)

    def names_at(self, service: Service, address: Address) -> Iterator[bytes]:
        """Every name of a service that leads to an address."""
        own = self._own(service)
        if own is None:
            return
        if address_of(service.address) == address:
            yield own
        for endpoint in offers(service):
            if address_of(endpoint.address) == address:
                yield _below(_host(endpoint), own)

    def _own(self, service: Service) -> bytes | None:
        return wire(f"{service.key.name}.{service.key.namespace}.svc.{self._domain}")

    def _of_all(self, service: Service, offered: list[Endpoint], kind: int) -> Found:
        if not service.address:
            return self._of_endpoints(service, offered, kind)
        address = address_of(service.address)
        return Found(of_addresses((address,) if address else (), kind, self._ttl_s(offered)), service.key)

    def _of_endpoints(self, service: Service, endpoints: list[Endpoint], kind: int) -> Found:
        ranked: dict[Address, tuple[int, int]] = {}
        for endpoint in endpoints:
            address = address_of(endpoint.address)
            if address is not None and type_of(address) == kind:
                rank = self._distance(endpoint), -endpoint.weight
                ranked[address] = min(ranked.get(address, rank), rank)
        order = sorted(ranked, key=lambda one: (ranked[one][0], one.packed))
        ttl_s = self._ttl_s(endpoints)
        groups = [[-ranked[one][1] for one in group] for _, group in groupby(order, key=lambda one: ranked[one][0])]
        answers = tuple(address_record(ASKED, one, ttl_s) for one in order)
        return Found(Answer(answers=answers), service.key, Turns(groups) if len(answers) > 1 else None)

    def _of_port(self, service: Service, name: str, transport: str, kind: int) -> Found:
        own = self._own(service)
        port = next((one for one in service.ports if one.name.lower() == name and _label(one) == transport), None)
        if port is None or not name or own is None:
            return Found(NXDOMAIN, service.key)
        if kind != Type.SRV:
            return Found(NODATA, service.key)
        if not service.address:
            return Found(self._srv_of_endpoints(service, port, own), service.key)
        ttl_s = self._ttl_s(port.endpoints)
        address = address_of(service.address)
        answer = record(ASKED, Type.SRV, ttl_s, _SRV.pack(0, 1, port.port) + own)
        return Found(Answer(answers=(answer,), additional=_glue(own, address, ttl_s)), service.key)

    def _srv_of_endpoints(self, service: Service, port: ServicePort, own: bytes) -> Answer:
        """Priorities say what is near, weights how much each gets of its kind: clients choose as in RFC 2782."""
        answers: dict[bytes, None] = {}
        additional: dict[bytes, None] = {}
        offered = [one for one in port.endpoints if _is_offered(service, one)]
        ttl_s = self._ttl_s(offered)
        for endpoint in sorted(offered, key=lambda one: (self._distance(one), one.place)):
            address = address_of(endpoint.address)
            target = _below(_host(endpoint), own) if address is not None else wire(endpoint.address)
            if target is not None:
                body = _SRV.pack(self._distance(endpoint), min(max(endpoint.weight, 0), 65_535), endpoint.port) + target
                answers[record(ASKED, Type.SRV, ttl_s, body)] = None
                additional |= dict.fromkeys(_glue(target, address, ttl_s))
        return Answer(answers=tuple(answers), additional=tuple(additional))

    def _of_external(self, service: Service, kind: int) -> Found:
        address = address_of(service.external_name)
        if address is not None:  # a CNAME of digits would lead nowhere
            return Found(of_addresses((address,), kind, self._settings.ttl_s), service.key)
        target = wire(service.external_name)
        if target is None:
            return Found(NXDOMAIN, service.key)
        alias = Answer(answers=(record(ASKED, Type.CNAME, self._settings.ttl_s, target),))
        return Found(alias, service.key, onward=None if kind == Type.CNAME else target)

    def _distance(self, endpoint: Endpoint) -> int:
        return distance(endpoint, self._settings.node, self._settings.zone)

    def _ttl_s(self, endpoints: list[Endpoint] | tuple[Endpoint, ...]) -> int:
        """Long where nothing fresh is known: it will not be so soon, and asking again costs power."""
        stale = bool(endpoints) and all(self._distance(one) == STALE for one in endpoints)
        return self._settings.stale_ttl_s if stale else self._settings.ttl_s


def offers(service: Service) -> list[Endpoint]:
    """The endpoints that DNS may name, of every port."""
    return [one for port in service.ports for one in port.endpoints if _is_offered(service, one)]


def _is_offered(service: Service, endpoint: Endpoint) -> bool:
    return endpoint.ready or service.publish_not_ready


def _glue(name: bytes, address: Address | None, ttl_s: int) -> tuple[bytes, ...]:
    return (address_record(name, address, ttl_s),) if address is not None else ()


def _below(label: bytes, name: bytes) -> bytes:
    return bytes((len(label),)) + label + name


def _host(endpoint: Endpoint) -> bytes:
    """The label of an endpoint: its host name where it is one label, else its address; of a far name, nothing."""
    name = wire(endpoint.hostname) if endpoint.hostname else None
    if name is not None and len(name) == name[0] + 2:
        return name[1:-1]
    address = address_of(endpoint.address)
    return dashed(address) if address is not None else b""


def _label(port: ServicePort) -> str:
    return "_" + port.transport.value.lower()
