"""What several origins say of what is there becomes one list: local list > peers > cloud. Pure.

    for an endpoint on this gateway      what the gateway itself says, and what was applied here by hand
    on another that is a peer            what that peer says of itself; while it is not heard the cloud, if that is;
                                         else what was heard of both last
    on none (a broker, a device)         whoever names it, the nearest of them first

Health comes after this, in judging.py: what was found by reaching for an endpoint counts more than any list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from types import MappingProxyType
from typing import Final

from mesh.grouping import port_key
from mesh.model.services import Endpoint, Origin, PortKey, Service, ServiceKey

_RANK: Final = {origin: rank for rank, origin in enumerate(Origin)}


@dataclass(frozen=True, slots=True)
class Said:
    """All endpoints that one origin knows of; for peers ``node`` names it, and it speaks of its own alone.

    ``heard``: whether the origin is reached right now. This gateway itself always is.
    """

    origin: Origin
    endpoints: Mapping[PortKey, tuple[Endpoint, ...]] = field(default_factory=lambda: MappingProxyType({}))
    node: str = ""
    heard: bool = True


def merged(services: Iterable[Service], said: Sequence[Said], node: str) -> dict[ServiceKey, Service]:
    """The services with all endpoints that count. Those that the services bring along are of their own origins."""
    return {service.key: merged_service(service, said, node) for service in services}


def merged_service(service: Service, said: Sequence[Said], node: str) -> Service:
    """One service with all endpoints that count; ``node`` is the gateway that this runs on."""
    ports = []
    for port in service.ports:
        key = port_key(service, port)
        found = _merged(port.endpoints, [(one, one.endpoints.get(key, ())) for one in said], node)
        ports.append(port if found == port.endpoints else replace(port, endpoints=found))
    return replace(service, ports=tuple(ports)) if any(map(_is_not, ports, service.ports)) else service


def _merged(
    own: tuple[Endpoint, ...], said: Sequence[tuple[Said, tuple[Endpoint, ...]]], node: str
) -> tuple[Endpoint, ...]:
    peers = {one.node for one, _ in said if one.origin is Origin.PEER and one.heard}
    cloud = any(one.origin is Origin.CLOUD and one.heard for one, _ in said)
    told = (replace(each, origin=one.origin) for one, all_ in said for each in all_ if _may_speak(one, each, node))
    found: dict[str, Endpoint] = {}
    for endpoint in sorted(chain(own, told), key=lambda one: (_RANK[one.origin], one.place, one.node)):
        if endpoint.place not in found and _counts(endpoint, node, peers, cloud=cloud):
            found[endpoint.place] = endpoint
    return tuple(found.values())


def _may_speak(said: Said, endpoint: Endpoint, node: str) -> bool:
    """A peer speaks of itself alone, and this gateway of its own."""
    if said.origin is Origin.PEER:
        return bool(said.node) and endpoint.node == said.node != node
    return said.origin is not Origin.HERE or endpoint.node == node


def _counts(endpoint: Endpoint, node: str, peers: set[str], *, cloud: bool) -> bool:
    """Whether nobody who knows better has spoken."""
    if endpoint.origin in (Origin.HERE, Origin.LISTED) or not endpoint.node:
        return True
    if endpoint.node == node:
        return False
    if endpoint.node in peers:
        return endpoint.origin is Origin.PEER
    return endpoint.origin is Origin.CLOUD or not cloud


def _is_not(one: object, other: object) -> bool:
    return one is not other
