"""What we know ourselves: services of the cluster domain, and the reverse names of their addresses.

    SERVICE.NAMESPACE.svc.DOMAIN                      virtual address; headless: each ready endpoint; or a CNAME
    ENDPOINT.SERVICE.NAMESPACE.svc.DOMAIN             one endpoint, by host name or as 10-1-2-3
    _PORT._tcp.SERVICE.NAMESPACE.svc.DOMAIN           SRV
    ZONE.pin._zone.SERVICE.NAMESPACE.svc.DOMAIN       endpoints in a zone only;  .prefer.: else all
    10-1-2-3.NAMESPACE.pod.DOMAIN                     the address in it

Nothing is written out ahead: an answer is made when it is asked for, and kept by ``answers``. So a change of a service
costs the same whether it has three names or three thousand. Names follow the Kubernetes specification of DNS-based
service discovery, version 1.1.0; zonal ones are CoreDNS's.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Final

from mesh.dns.found import NODATA, NXDOMAIN, Found, address_record, of_addresses
from mesh.dns.message import ASKED, Answer, Rcode, Type, record
from mesh.dns.names import Address, address_of, joined, labels_of, reverse, reversed_address, undashed, wire
from mesh.dns.service import ServiceNames, offers
from mesh.dns.settings import DnsSettings, PodNames
from mesh.model.services import Service, ServiceKey

SCHEMA_VERSION: Final = b"1.1.0"
CHAIN: Final = 8
"""How many names of ours may lead from one to the next."""
_SOA_TIMES: Final = struct.Struct("!IIIII")


class Zone:
    """The services as DNS sees them. Changes come in as whole services; each question is answered from memory."""

    def __init__(self, settings: DnsSettings, addresses: Iterable[Address] = ()) -> None:
        domain = wire(settings.domain)
        if domain is None:
            message = f"{settings.domain!r} cannot be a DNS domain"
            raise ValueError(message)
        self._settings = settings
        self._domain = domain
        self._apexes = frozenset((domain, *_reverse_apexes(settings.networks)))
        self._server_addresses = tuple(addresses)
        self._names = ServiceNames(settings, domain)
        self._services: dict[ServiceKey, Service] = {}
        self._namespaces: Counter[str] = Counter()
        self._at_address: dict[Address, set[ServiceKey]] = {}
        self._serial = 0

    @property
    def services(self) -> dict[ServiceKey, Service]:
        """Every service, by key; to be read only."""
        return self._services

    def apply(self, changed: Iterable[Service], gone: Iterable[ServiceKey], serial: int) -> None:
        """Take services that are new or other, drop those that are gone."""
        for key in gone:
            self._drop(key)
        for service in changed:
            self._drop(service.key)
            self._services[service.key] = service
            self._namespaces[service.key.namespace] += 1
            for address in _addresses(service):
                self._at_address.setdefault(address, set()).add(service.key)
        self._serial = serial & 0xFFFFFFFF

    def _drop(self, key: ServiceKey) -> None:
        service = self._services.pop(key, None)
        if service is None:
            return
        self._namespaces[key.namespace] -= 1
        if not self._namespaces[key.namespace]:
            del self._namespaces[key.namespace]
        for address in _addresses(service):
            keys = self._at_address[address]
            keys.discard(key)
            if not keys:
                del self._at_address[address]

    def apex(self, name: bytes) -> bytes | None:
        """The zone of ours that a name (in lower case) is in; None: it is not ours to answer."""
        at = 0
        while name[at]:
            if name[at:] in self._apexes:
                return name[at:]
            at += 1 + name[at]
        address = reversed_address(name) if name.endswith(b"\x04arpa\x00") else None
        return name if address is not None and address in self._at_address else None

    def find(self, name: bytes, kind: int) -> Found | None:
        """Answer a question of class IN for a name in lower case; None: it is not ours."""
        apex = self.apex(name)
        if apex is None:
            return None
        found = self._find(name, kind, apex)
        if found.onward is not None:
            found, apex = self._followed(found, kind, apex)
        if found.onward is None and found.answer.rcode != Rcode.SERVFAIL and _is_negative(found.answer, kind):
            return replace(found, answer=replace(found.answer, authority=(self._soa(apex),)))
        return found

    def _find(self, name: bytes, kind: int, apex: bytes) -> Found:
        if name == apex and kind in (Type.SOA, Type.NS):
            return Found(self._of_apex(kind))
        if apex != self._domain:
            return Found(self._of_reverse(name, kind))
        *front, top = [b"", *labels_of(name[: len(name) - len(apex)] + b"\x00")]
        match top:
            case b"":
                return Found(NODATA)
            case b"svc":
                return self._in_services(front[1:], kind)
            case b"pod":
                return Found(self._of_pod(front[1:], kind))
            case b"dns-version" if not front[1:]:
                return Found(self._of_version(kind))
            case b"dns" if front[1:] == []:
                return Found(NODATA)
            case b"dns" if front[1:] == [b"ns"]:
                return Found(of_addresses(self._server_addresses, kind, self._settings.ttl_s))
        return Found(NXDOMAIN)

    def _in_services(self, labels: list[bytes], kind: int) -> Found:
        if not labels:
            return Found(NODATA)
        *front, namespace = [label.decode("ascii", "replace") for label in labels]
        if not front:
            return Found(NODATA if namespace in self._namespaces else NXDOMAIN)
        for size in range(len(front), 0, -1):  # a service's own name may hold dots
            service = self._services.get(ServiceKey(namespace, ".".join(front[-size:])))
            if service is not None:
                return self._names.find(service, front[: len(front) - size], kind)
        return Found(NXDOMAIN, ServiceKey(namespace, front[-1]))

    def _followed(self, found: Found, kind: int, apex: bytes) -> tuple[Found, bytes]:
        """Follow a CNAME as long as names are ours. The answer follows from several services, so it has no owner."""
        answers = list(found.answer.answers)
        target = found.onward
        for _ in range(CHAIN):
            next_apex = self.apex(target) if target is not None else None
            if target is None or next_apex is None:
                return Found(Answer(found.answer.rcode, tuple(answers)), found.owner, onward=target), apex
            apex = next_apex
            found = replace(self._find(target, kind, apex), owner=None)
            answers += [target + one[len(ASKED) :] for one in found.answer.answers]
            target = found.onward
        return Found(Answer(Rcode.SERVFAIL)), apex

    def _of_pod(self, labels: list[bytes], kind: int) -> Answer:
        mode = self._settings.pod_names
        if mode is PodNames.NONE or len(labels) > 2:
            return NXDOMAIN
        if not labels:
            return NODATA
        namespace = labels[-1].decode("ascii", "replace")
        if len(labels) == 1:
            return NODATA if namespace in self._namespaces else NXDOMAIN
        address = undashed(labels[0])
        if address is None:
            return NXDOMAIN
        keys = self._at_address.get(address, ())
        if mode is PodNames.KNOWN and not any(key.namespace == namespace for key in keys):
            return NXDOMAIN
        return of_addresses((address,), kind, self._settings.ttl_s)

    def _of_reverse(self, name: bytes, kind: int) -> Answer:
        address = reversed_address(name)
        if address is None:
            above = name in self._apexes or any(reverse(one).endswith(name) for one in self._at_address)
            return NODATA if above else NXDOMAIN
        if address not in self._at_address:
            return NXDOMAIN
        if kind != Type.PTR:
            return NODATA
        services = [self._services[key] for key in sorted(self._at_address[address])]
        targets = dict.fromkeys(target for one in services for target in self._names.names_at(one, address))
        return Answer(answers=tuple(record(ASKED, Type.PTR, self._settings.ttl_s, one) for one in targets))

    def _of_version(self, kind: int) -> Answer:
        if kind != Type.TXT:
            return NODATA
        text = bytes((len(SCHEMA_VERSION),)) + SCHEMA_VERSION
        return Answer(answers=(record(ASKED, Type.TXT, self._settings.ttl_s, text),))

    def _of_apex(self, kind: int) -> Answer:
        if kind == Type.SOA:
            return Answer(answers=(self._soa(ASKED),))
        ttl_s = self._settings.ttl_s
        server = b"\x02ns\x03dns" + self._domain
        additional = tuple(address_record(server, one, ttl_s) for one in self._server_addresses)
        return Answer(answers=(record(ASKED, Type.NS, ttl_s, server),), additional=additional)

    def _soa(self, name: bytes) -> bytes:
        times = _SOA_TIMES.pack(self._serial, 7200, 1800, 86_400, self._settings.ttl_s)
        body = b"\x02ns\x03dns" + self._domain + b"\x0ahostmaster" + self._domain + times
        return record(name, Type.SOA, self._settings.ttl_s, body)


def _is_negative(answer: Answer, kind: int) -> bool:
    """Whether it has no record of what was asked; a CNAME before it does not count (RFC 2308, 2.1 and 2.2)."""
    return not any(int.from_bytes(one[_type_at(one) :][:2], "big") == kind for one in answer.answers)


def _type_at(record_bytes: bytes) -> int:
    if record_bytes.startswith(ASKED):
        return len(ASKED)
    at = 0
    while record_bytes[at]:
        at += 1 + record_bytes[at]
    return at + 1


def _addresses(service: Service) -> set[Address]:
    texts = {service.address, *(endpoint.address for endpoint in offers(service))}
    return {address for text in texts if text and (address := address_of(text)) is not None}


def _reverse_apexes(networks: Iterable[str]) -> Iterator[bytes]:
    """The zones of whole octets (nibbles with IPv6) that a network is made of."""
    for text in networks:
        network = ip_network(text)
        step = 8 if network.version == 4 else 4
        for part in network.subnets(new_prefix=-(-network.prefixlen // step) * step):
            host = (part.max_prefixlen - part.prefixlen) // step
            apex = joined(labels_of(reverse(part.network_address))[host:])
            if apex is not None:
                yield apex
