"""What the tests of DNS share: a small plant of services, questions by dnspython, a server on loopback."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from mesh.dns import DnsServer, DnsSettings
from mesh.dns.answers import Answers
from mesh.dns.respond import DnsCounters, Responder
from mesh.dns.zone import Zone
from mesh.model.services import Endpoint, Service, ServiceKey, ServicePort, Transport
from mesh.model.table import Table

DOMAIN = "cluster.local"
HERE = DnsSettings(listen=("127.0.0.1:0",), node="here", zone="hall-1", forward=False)


def key(name: str, namespace: str = "default") -> ServiceKey:
    return ServiceKey(namespace, name)


def headless(name: str, *endpoints: Endpoint, port: str = "db", **more) -> Service:
    return Service(key(name), "", (ServicePort(5432, port, endpoints=endpoints),), **more)


def virtual(name: str, address: str, *endpoints: Endpoint, ports=((80, "http"),), namespace="default") -> Service:
    made = tuple(ServicePort(number, label, endpoints=endpoints) for number, label in ports)
    return Service(key(name, namespace), address, made)


PETS = headless(
    "pets",
    Endpoint("10.9.0.3", 6, zone="hall-2"),
    Endpoint("10.9.0.2", 5, zone="hall-1"),
    Endpoint("10.9.0.1", 5, node="here", hostname="pet-0", zone="hall-1"),
    Endpoint("fd00::5", 6, zone="hall-2"),
    Endpoint("10.9.0.9", 5, ready=False, hostname="ill"),
)
PLANT = (
    PETS,
    virtual("web", "127.96.0.1", Endpoint("10.1.0.1", 8080), ports=((80, "http"), (443, "https"), (81, ""))),
    virtual("six", "fd00:96::1", Endpoint("fd00::7", 8080)),
    Service(key("dns"), "127.96.0.53", (ServicePort(53, "dns", Transport.UDP),)),
    Service(key("far"), external_name="www.example.com"),
    Service(key("alias"), external_name=f"pets.default.svc.{DOMAIN}"),
    Service(key("round"), external_name=f"about.default.svc.{DOMAIN}"),
    Service(key("about"), external_name=f"round.default.svc.{DOMAIN}"),
    Service(key("broker"), external_name="192.168.7.7"),
    headless("empty"),
    headless("ill", Endpoint("10.9.1.1", 5, ready=False)),
    virtual("web", "127.96.0.2", namespace="shop"),
    virtual("v1.api", "127.96.0.3"),
)


class Desk:
    """The answering part without sockets. ``asked`` are the services that it has heard of."""

    def __init__(self, services: Iterable[Service] = PLANT, settings: DnsSettings = HERE) -> None:
        self.asked: list[ServiceKey] = []
        self.counters = DnsCounters()
        self.answers = Answers(Zone(settings), recursion=settings.forward, asked=self.asked.append)
        self.responder = Responder(self.answers, None, self.counters)
        self.answers.apply(services, (), 7)

    def raw(self, message: bytes, *, tcp: bool = False) -> bytes | None:
        """The reply, by the look-up of the hot path first; this is what a listener does."""
        ready = None if tcp else self.answers.ready.get(message[2:])
        if ready is not None:
            return message[:2] + ready
        sent: list[bytes] = []
        said = self.responder.respond(message, sent.append, tcp=tcp)
        assert said == bool(sent)
        return sent[0] if sent else None

    def ask(self, name: str, kind: str = "A", *, tcp: bool = False, **more) -> dns.message.Message:
        """Ask twice: the second time the answer may be a ready one, and must be as good."""
        question = dns.message.make_query(name, kind, **more)
        first = dns.message.from_wire(self.raw(question.to_wire(), tcp=tcp))
        second = dns.message.from_wire(self.raw(question.to_wire(), tcp=tcp))
        assert question.is_response(first)
        assert shown(first) == shown(second) or len(first.answer) > 0
        assert sorted(shown(first)) == sorted(shown(second))
        return first


def shown(message: dns.message.Message, section: str = "answer") -> list[str]:
    """Records of a section as text, in their order: ``name ttl type value``, without the class."""
    return [
        f"{rrset.name} {rrset.ttl} {dns.rdatatype.to_text(rrset.rdtype)} {one}"
        for rrset in getattr(message, section)
        for one in rrset
    ]


def values(message: dns.message.Message) -> list[str]:
    return [str(one) for rrset in message.answer for one in rrset]


def code(message: dns.message.Message) -> str:
    return dns.rcode.to_text(message.rcode())


@asynccontextmanager
async def serving(
    services: Iterable[Service] = PLANT,
    settings: DnsSettings = HERE,
    clock: Callable[[], float] = time.monotonic,
    asked: Callable[[ServiceKey], None] | None = None,
) -> AsyncIterator[DnsServer]:
    server = DnsServer(settings, clock=clock, rng=random.SystemRandom(), asked=asked)
    server.program(Table(services={one.key: one for one in services}))
    await server.open()
    try:
        yield server
    finally:
        await server.close()


def upstream_settings(*upstreams: object, **more) -> DnsSettings:
    """Settings of a server that forwards, to nobody unless they are named."""
    texts = tuple(str(one) for one in upstreams)
    more.setdefault("resolv_conf", Path("/nonexistent/resolv.conf"))
    return DnsSettings(listen=("127.0.0.1:0",), node="here", zone="hall-1", upstreams=texts, **more)


async def dig(server: DnsServer, *arguments: str) -> str:
    """What dig prints."""
    place = server.places[0]
    command = ("dig", f"@{place.address}", "-p", str(place.port), "+time=5", "+tries=1", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    return printed.decode()
