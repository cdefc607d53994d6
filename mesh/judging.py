"""Whom to believe of an endpoint: what was found here, then what other gateways found, then the lists. Pure.

found here           counts, whatever others say
found by others      two or more gateways, most of them failing: it is not used;
                     one alone that fails may be cut off itself: the endpoint comes last (stale)
heard too long ago   of another gateway, by a peer or the cloud that is not reached: it comes last, or is dropped
                     if its policy says so
nothing is left      then health is not asked: what the lists call ready is used (panic)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, TypeAlias

from mesh.grouping import port_key
from mesh.model.policies import StaleRule
from mesh.model.services import Endpoint, Origin, PortKey, Service, ServicePort

VOTE_AGE_MS: Final = 15_000
"""Votes that are older say nothing."""
QUORUM: Final = 2

Spot: TypeAlias = tuple[PortKey, str]
"""An endpoint of a port."""
Findings: TypeAlias = Mapping[Spot, bool]
"""Endpoints that were reached for: whether they live."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What another gateway has found, and when it said so."""

    findings: Findings
    at_ms: int


@dataclass(frozen=True, slots=True)
class Known:
    """All that endpoints are judged by. Times are those of one clock that never goes back.

    ``lost_ms``: since when the cloud is not reached; None: it is. ``peers`` are reached right now; ``peers_lost_ms``
    are those that were.
    """

    here: Findings = field(default_factory=lambda: MappingProxyType({}))
    others: Mapping[str, Heard] = field(default_factory=lambda: MappingProxyType({}))
    cloud_lost_ms: int | None = None
    peers: frozenset[str] = frozenset()
    peers_lost_ms: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    since_ms: int = 0
    """When we began: a peer that was never heard since is lost since then."""


def judged(service: Service, rule: StaleRule, known: Known, now_ms: int) -> Service:
    """The service with its endpoints as they can be used."""
    ports = tuple(_judged_port(port_key(service, port), port, rule, known, now_ms) for port in service.ports)
    return service if ports == service.ports else replace(service, ports=ports)


def next_ms(services: Iterable[tuple[Service, StaleRule]], known: Known, now_ms: int) -> int | None:
    """When time alone will change a judgement; None: never."""
    return min((at for at in _turns(services, known) if at > now_ms), default=None)


def _turns(services: Iterable[tuple[Service, StaleRule]], known: Known) -> Iterator[int]:
    yield from (heard.at_ms + VOTE_AGE_MS + 1 for heard in known.others.values() if heard.findings)
    for service, rule in services:
        for port in service.ports:
            for endpoint in port.endpoints:
                if (lost := _lost_ms(endpoint, known)) is not None:
                    yield lost + rule.max_age_ms


def _judged_port(key: PortKey, port: ServicePort, rule: StaleRule, known: Known, now_ms: int) -> ServicePort:
    found = []
    asked = known.here or known.others
    for endpoint in port.endpoints:
        lost = _lost_ms(endpoint, known)
        old = lost is not None and now_ms - lost >= rule.max_age_ms
        if old and rule.drop:
            continue
        alive, doubted = _alive((key, endpoint.place), endpoint.node, known, now_ms) if asked else (True, False)
        stale = endpoint.stale or old or doubted
        one = endpoint if stale is endpoint.stale else replace(endpoint, stale=stale)
        found.append((one, endpoint.ready and not alive))
    panic = not any(one.ready and not dead for one, dead in found)
    endpoints = tuple(replace(one, ready=False) if dead and not panic else one for one, dead in found)
    return port if endpoints == port.endpoints else replace(port, endpoints=endpoints)


def _alive(spot: Spot, node: str, known: Known, now_ms: int) -> tuple[bool, bool]:
    """Whether it may be used, and whether it comes last."""
    here = known.here.get(spot)
    if here is not None:
        return here, False
    votes = [
        heard.findings[spot]
        for voter, heard in known.others.items()
        if voter != node and now_ms - heard.at_ms <= VOTE_AGE_MS and spot in heard.findings
    ]
    against = votes.count(False)
    if against * 2 <= len(votes):
        return True, False
    return len(votes) < QUORUM, True


def _lost_ms(endpoint: Endpoint, known: Known) -> int | None:
    """Since when nobody tells us of it who could; None: someone does, or it is told of by ourselves."""
    if not endpoint.node:
        return None
    if endpoint.origin is Origin.CLOUD:
        return known.cloud_lost_ms
    if endpoint.origin is Origin.PEER and endpoint.node not in known.peers:
        return known.peers_lost_ms.get(endpoint.node, known.since_ms)
    return None
