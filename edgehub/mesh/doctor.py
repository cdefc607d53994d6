"""Looks along the whole way from a name to an endpoint, from outside as a client does, and says what is broken."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Final, Protocol

from twin.wire.mesh import MeshReply, RouteTwin

CONNECT_S: Final = 1.0
RESOLV_CONF: Final = Path("/etc/resolv.conf")
_SHOWN: Final = 50
"""Services of which name and ports are tried."""


class Verdict(StrEnum):
    """How one thing is."""

    WELL = "ok"
    DOUBTFUL = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``code`` names the check for programs."""

    code: str
    verdict: Verdict
    text: str
    remedy: str = ""


class Outside(Protocol):
    """What a client of the mesh can do, from outside of it."""

    def ask(self, server: str, name: str, record: str, *, tcp: bool) -> tuple[str, list[str]]:
        """Ask a DNS server; status and answers. Raises OSError or an EdgetwinError."""
        ...

    def connect(self, address: str, port: int) -> str:
        """Try a TCP connection; why it cannot be made, or nothing."""
        ...

    def is_ours(self, address: str) -> bool:
        """Whether packets to an address stay on this machine."""
        ...

    def resolv_conf(self) -> str:
        """The text of the machine's own resolver settings."""
        ...


class Machine:
    """This machine."""

    def __init__(self, ask: Callable[..., tuple[str, list[str]]]) -> None:
        self._ask = ask

    def ask(self, server: str, name: str, record: str, *, tcp: bool) -> tuple[str, list[str]]:
        """As a client does."""
        return self._ask(server, name, record, tcp=tcp)

    def connect(self, address: str, port: int) -> str:
        """As a client does, and closed at once."""
        try:
            socket.create_connection((address, port), timeout=CONNECT_S).close()
        except OSError as error:
            return error.strerror or str(error) or "timed out"
        return ""

    def is_ours(self, address: str) -> bool:
        """An address that can be bound is one of this machine's."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            try:
                one.bind((address, 0))
            except OSError as error:
                return error.errno != errno.EADDRNOTAVAIL
        return True

    def resolv_conf(self) -> str:
        """Its text; empty if there is none."""
        try:
            return RESOLV_CONF.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


def examine(mesh: MeshReply, routes: Iterable[RouteTwin], outside: Outside) -> Iterator[Finding]:
    """All findings, in the order of the way from the name to the endpoint."""
    known = list(routes)
    running = mesh.state == "running"
    yield _process(mesh)
    if running:
        yield from _checks(mesh)
        yield _virtual(mesh, outside)
        if mesh.dns:
            yield from _dns(mesh, known, outside)
        yield from _ports(known, outside)
    yield _resolver(mesh, outside)
    yield from _conditions(known)
    yield from _endpoints(known)


def _process(mesh: MeshReply) -> Finding:
    if mesh.state in ("off", "idle"):
        text = "the mesh is off" if mesh.state == "off" else "there is no Service and no route, nothing is loaded"
        return Finding("process", Verdict.DOUBTFUL, text, "Apply a Service, or see mesh.enabled.")
    if mesh.state != "running":
        text = f"the process of the mesh is {mesh.state}, started {mesh.restarts} times again"
        remedy = "Read the hub's log; lines of the child mesh say why it ends."
        return Finding("process", Verdict.BROKEN, text, remedy)
    again = f", started {mesh.restarts} times again" if mesh.restarts else ""
    return Finding("process", Verdict.WELL, f"process {mesh.pid} runs{again}")


def _checks(mesh: MeshReply) -> Iterator[Finding]:
    """What the process finds when it looks at itself: planes, nftables, peers, tunnel."""
    for problem in mesh.problems:
        yield Finding("plane", Verdict.BROKEN, problem)
    for one in mesh.checks:
        yield Finding(one.check, Verdict.WELL if one.well else Verdict.BROKEN, one.text, one.remedy)


def _virtual(mesh: MeshReply, outside: Outside) -> Finding:
    address = str(ip_network(mesh.network)[-2])
    if outside.is_ours(address):
        return Finding("addresses", Verdict.WELL, f"{mesh.network} leads to this machine")
    text = f"{mesh.network} does not lead to this machine"
    remedy = f"Restart the hub as root, which sets the route, or run: ip route add local {mesh.network} dev lo"
    return Finding("addresses", Verdict.BROKEN, text, remedy)


def _dns(mesh: MeshReply, routes: list[RouteTwin], outside: Outside) -> Iterator[Finding]:
    answers = True
    for tcp, way in ((False, "UDP"), (True, "TCP")):
        try:
            status, _ = outside.ask(mesh.dns, mesh.domain, "SOA", tcp=tcp)
        except Exception as error:  # noqa: BLE001 whatever keeps a client from an answer is the finding
            answers = False
            remedy = "Another program may have the port; set mesh.dns.listen, and see the hub's log."
            yield Finding(f"dns-{way.lower()}", Verdict.BROKEN, str(error), remedy)
            continue
        well = status == "NOERROR"
        verdict, text = (
            (Verdict.WELL, f"{mesh.dns} answers over {way}") if well else (Verdict.BROKEN, f"it says {status}")
        )
        yield Finding(f"dns-{way.lower()}", verdict, text)
    if answers:
        yield from _names(mesh, routes, outside)


def _names(mesh: MeshReply, routes: list[RouteTwin], outside: Outside) -> Iterator[Finding]:
    tried = [one for one in routes if one.kind == "Service" and one.address][:_SHOWN]
    for one in tried:
        namespace, _, service = one.name.partition("/")
        name = f"{service}.{namespace}.svc.{mesh.domain}"
        status, answers = outside.ask(mesh.dns, name, "AAAA" if ":" in one.address else "A", tcp=False)
        if not any(answer.endswith(f" {one.address}") for answer in answers):
            text = f"{name} is {', '.join(answers) or status}, not {one.address}"
            yield Finding("dns-names", Verdict.BROKEN, text, "Restart the hub; if it stays, its log says why.")
            return
    yield Finding("dns-names", Verdict.WELL, f"{len(tried)} names lead to their services")


def _ports(routes: list[RouteTwin], outside: Outside) -> Iterator[Finding]:
    tried = 0
    for one in [one for one in routes if one.kind == "Service" and one.address][:_SHOWN]:
        programmed = one.conditions.get("Programmed")
        for port in one.ports:
            if port.transport != "TCP" or not port.plane or not (programmed and programmed.holds):
                continue
            tried += 1
            served = any(endpoint.port == port.port and endpoint.health == "ready" for endpoint in one.endpoints)
            if served and (why := outside.connect(one.address, port.port)):
                text = f"{one.name} at {one.address}:{port.port} ({port.plane}) takes no connection: {why}"
                yield Finding("ports", Verdict.BROKEN, text, "See which program has the port: ss -ltnp")
                return
    yield Finding("ports", Verdict.WELL, f"{tried} ports of services are served")


def _resolver(mesh: MeshReply, outside: Outside) -> Finding:
    servers = [words[1] for line in outside.resolv_conf().splitlines() if (words := line.split())[:1] == ["nameserver"]]
    own = mesh.dns.rpartition(":")[0].strip("[]")
    if own and own in servers:
        text = f"{RESOLV_CONF} of this machine names the mesh's DNS {own}"
        remedy = "Take it out: then the machine's own names depend on the hub. Pods are told of it without that."
        return Finding("resolv-conf", Verdict.DOUBTFUL, text, remedy)
    if not servers:
        text = f"{RESOLV_CONF} names no server: the mesh has nowhere to forward names that are not its own"
        return Finding("resolv-conf", Verdict.DOUBTFUL, text, "Name servers in mesh.dns.upstreams.")
    return Finding("resolv-conf", Verdict.WELL, f"{RESOLV_CONF} is as the machine has it")


def _conditions(routes: list[RouteTwin]) -> Iterator[Finding]:
    broken = [
        (one, name, condition) for one in routes for name, condition in one.conditions.items() if not condition.holds
    ]
    for one, name, condition in broken[:_SHOWN]:
        text = f"{one.kind} {one.name} is not {name}: {condition.reason}: {condition.message}"
        yield Finding("conditions", Verdict.BROKEN, text)
    if not broken:
        yield Finding("conditions", Verdict.WELL, f"{len(routes)} services and routes are in force")


def _endpoints(routes: list[RouteTwin]) -> Iterator[Finding]:
    services = [one for one in routes if one.kind == "Service" and one.ports]
    empty = [one for one in services if not any(endpoint.health in ("ready", "stale") for endpoint in one.endpoints)]
    for one in empty[:_SHOWN]:
        states = ", ".join(f"{endpoint.place} {endpoint.health}" for endpoint in one.endpoints) or "there is none"
        remedy = "See `edgetwin pods` for what its selector finds, or list endpoints in an EndpointSlice."
        yield Finding("endpoints", Verdict.BROKEN, f"{one.name} has no endpoint that may be used: {states}", remedy)
    if not empty:
        yield Finding("endpoints", Verdict.WELL, f"each of {len(services)} services has an endpoint")
