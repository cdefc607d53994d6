"""One port of a service with the routes that name it: its frontend, and what is wrong with them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from mesh.grouping import beyond_kernel
from mesh.model.policies import Policy
from mesh.model.programme import BoundRule, Frontend
from mesh.model.routes import Backend, Mirror, Route, RouteKind, Rule
from mesh.model.services import AppProtocol, Plane, PortKey, Service, ServiceKey, ServicePort, Transport
from mesh.precedence import ordered
from mesh.problems import Problem, Reason, Subject

Statement: TypeAlias = tuple[Subject, Problem]
Claim: TypeAlias = tuple[str, int, Transport]
"""An address that a frontend listens on; an empty one stands for all of the gateway's."""
Bound: TypeAlias = tuple[Route, Policy | None]

_READS: Final = {
    RouteKind.HTTP: AppProtocol.HTTP,
    RouteKind.TLS: AppProtocol.TLS,
    RouteKind.TCP: AppProtocol.RAW,
}
"""What each kind of route reads. Of several kinds at one port the first in this order counts, as Gateway API says."""


@dataclass(frozen=True, slots=True)
class Around:
    """What a frontend depends on beside its own port."""

    default_plane: Plane
    owners: tuple[tuple[Claim, PortKey], ...]
    """Its addresses, and the port that has each."""
    routes: tuple[Bound, ...]
    """Bound to it, the oldest first."""
    beyond_kernel: tuple[tuple[ServiceKey, str], ...]
    """Of the services behind it those whose policy the kernel cannot carry out, and why."""
    no_kernel: str = ""
    """Why this machine has no nftables; empty: it has."""


def claims_of(service: Service, port: ServicePort) -> Iterator[Claim]:
    """Where clients of a port arrive."""
    if service.external_name:
        return
    if service.address:
        yield service.address, port.port, port.transport
    if port.node_port:
        yield "", port.node_port, port.transport


def frontend_of(service: Service, port: ServicePort, around: Around) -> tuple[Frontend | None, tuple[Statement, ...]]:
    """The frontend of a port; None if clients arrive nowhere."""
    key = PortKey(service.key, port.port, port.transport)
    said: list[Statement] = []
    kept: list[Claim] = []
    for claim, owner in around.owners:
        if owner == key:
            kept.append(claim)
        else:
            said.append((service.key, _taken(key, claim, owner)))
    if not kept:
        return None, tuple(said)
    chosen, refused = _chosen(key, port, around.routes)
    said += refused
    app = _READS[chosen[0][0].key.kind] if chosen else port.app
    rules = ordered(chosen) if chosen else (BoundRule(Rule(backends=(Backend(key),))),)
    if app is AppProtocol.RAW:
        rules = rules[:1]  # nothing tells the connections apart
    plane, statement = _plane(service, app, rules, chosen, around)
    said += statement
    addresses = tuple(address for address, _, _ in kept if address)
    node_port = next((number for address, number, _ in kept if not address), 0)
    return Frontend(key, addresses, rules, app, node_port, plane, service.affinity_s), tuple(said)


def backends_of(route: Route, policy: Policy | None) -> Iterator[PortKey]:
    """All ports that requests of a route may be sent to."""
    for rule in route.rules:
        for backend in rule.backends:
            yield backend.port
            yield from (one.backend for one in backend.filters if isinstance(one, Mirror))
        yield from (one.backend for one in rule.filters if isinstance(one, Mirror))
    if policy:
        yield from degraded_to(policy)


def degraded_to(policy: Policy) -> Iterator[PortKey]:
    """Where a policy sends requests when its service cannot answer."""
    yield from (one.then.port for one in policy.degrade if isinstance(one.then, Backend))


def _chosen(key: PortKey, port: ServicePort, routes: Sequence[Bound]) -> tuple[list[Bound], list[Statement]]:
    """The routes that count: of one kind, and of the kinds that cannot be told apart only the oldest."""
    kinds = {route.key.kind for route, _ in routes}
    first = next((kind for kind in _READS if kind in kinds), None)
    chosen: list[Bound] = []
    said: list[Statement] = []
    for route, policy in routes:
        why = ""
        if port.transport is Transport.UDP:
            why = f"{key} is UDP, routes are for TCP"
        elif route.key.kind is not first:
            why = f"a route of the kind {first} is bound to {key}, and counts before all of this kind"
        elif first is RouteKind.TCP and chosen:
            why = f"{chosen[0][0].key} was bound to {key} earlier, and TCP connections cannot be told apart"
        if why:
            said.append((route.key, Problem(Reason.CONFLICTED, f"{why}. Bind it to another port")))
        else:
            chosen.append((route, policy))
    return chosen, said


def _plane(
    service: Service, app: AppProtocol, rules: tuple[BoundRule, ...], chosen: Iterable[Bound], around: Around
) -> tuple[Plane, list[Statement]]:
    """The plane that is asked for, unless it cannot; only who asked for it in so many words is told so."""
    asking: Subject | None = None
    plane = around.default_plane
    for route, _ in chosen:
        if route.plane:
            asking, plane = route.key, route.plane
            break
    else:
        if service.plane:
            asking, plane = service.key, service.plane
    if plane is not Plane.NFTABLES:
        return plane, []
    why = beyond_kernel(app, rules) or _behind(rules, dict(around.beyond_kernel))
    if not why and not around.no_kernel:
        return plane, []
    said: list[Statement] = []
    if asking and not why:
        text = f"{service.key} is carried by userspace: {around.no_kernel}"
        said.append((asking, Problem(Reason.PLANE_FAILED, text)))
    elif asking:
        text = f"{service.key} is carried by userspace, nftables cannot: {why}. Ask for userspace, or leave that out"
        said.append((asking, Problem(Reason.PLANE_UNSUITED, text)))
    return Plane.USERSPACE, said


def _behind(rules: tuple[BoundRule, ...], beyond: Mapping[ServiceKey, str]) -> str:
    for rule in rules:
        for backend in rule.rule.backends:
            if why := beyond.get(backend.port.service):
                return f"{why} ({backend.port.service})"
    return ""


def _taken(key: PortKey, claim: Claim, owner: PortKey) -> Problem:
    address, number, transport = claim
    where = f"{address}:{number}/{transport}" if address else f"node port {number}/{transport}"
    return Problem(Reason.ADDRESS_TAKEN, f"{key} cannot have {where}, {owner} has it. Choose another")
