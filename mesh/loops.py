"""Endpoints that lead back into the mesh, and from there to themselves: they are left out, with a reason. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from mesh.binding import Claim, Statement
from mesh.grouping import port_key
from mesh.model.programme import Frontend
from mesh.model.routes import Backend
from mesh.model.services import Endpoint, PortKey, Service, Transport
from mesh.problems import Problem, Reason

Aims: TypeAlias = Mapping[PortKey, Mapping[str, PortKey]]
"""Of ports with endpoints that are frontends of ours: which place is which frontend."""

_LOOPBACK: Final = ("127.0.0.1", "::1")


def aim_of(endpoint: Endpoint, transport: Transport, claims: Mapping[Claim, PortKey]) -> PortKey | None:
    """The frontend that an endpoint is; what is reached from another gateway is none of ours."""
    if endpoint.via:
        return None
    found = claims.get((endpoint.address, endpoint.port, transport))
    if found is None and endpoint.address in _LOOPBACK:
        found = claims.get(("", endpoint.port, transport))
    return found


def aims_of(services: Iterable[Service], claims: Mapping[Claim, PortKey]) -> Aims:
    """All endpoints that are frontends."""
    addresses = {address for address, _, _ in claims} | set(_LOOPBACK)
    aims: dict[PortKey, dict[str, PortKey]] = {}
    for service in services:
        for port in service.ports:
            for endpoint in port.endpoints:
                if endpoint.address in addresses and (to := aim_of(endpoint, port.transport, claims)):
                    key = port_key(service, port)
                    aims.setdefault(key, {})[endpoint.place] = to
    return aims


def looped(aims: Aims, frontends: Mapping[PortKey, Frontend]) -> Mapping[PortKey, frozenset[str]]:
    """The places of each port that lead back to it."""
    found: defaultdict[PortKey, set[str]] = defaultdict(set)
    for key, places in aims.items():
        for place, to in places.items():
            if key in _reached(to, aims, frontends):
                found[key].add(place)
    return {key: frozenset(places) for key, places in found.items()}


def said_of_loops(left_out: Mapping[PortKey, frozenset[str]]) -> Iterator[Statement]:
    """What is wrong with the services that they belong to."""
    for key, places in left_out.items():
        for place in places:
            text = (
                f"the endpoint {place} of {key} leads back to {key}; it is left out. Name where the service itself is"
            )
            yield key.service, Problem(Reason.LOOP, text)


def _reached(first: PortKey, aims: Aims, frontends: Mapping[PortKey, Frontend]) -> set[PortKey]:
    """The ports whose endpoints a request to a frontend may come to."""
    seen: set[PortKey] = set()
    ahead, groups = [first], set[PortKey]()
    while ahead:
        here = ahead.pop()
        if here in seen or (frontend := frontends.get(here)) is None:
            continue
        seen.add(here)
        for group in _backends(frontend):
            groups.add(group)
            ahead += aims.get(group, {}).values()
    return groups


def _backends(frontend: Frontend) -> Iterator[PortKey]:
    for bound in frontend.rules:
        yield from (backend.port for backend in bound.rule.backends)
        yield from (one.then.port for one in bound.degrade if isinstance(one.then, Backend))
