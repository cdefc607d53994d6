"""From the documents that people wrote to the mesh's own words: what is listed, and what is wrong with it. Pure.

Service, EndpointSlice, Endpoints ──listed.py───> services with the endpoints that documents say
HTTPRoute, TCPRoute, TLSRoute ──────routing.py──> routes
DestinationRule, then Policy ───────treating.py─> policies of services and routes

What is here is not in it: endpoints of this gateway's own pods and mappers come from here.py, those of peers from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

from edgehub.mesh.listed import AddressOf, services_of, tunnels_of
from edgehub.mesh.routing import routes_of
from edgehub.mesh.treating import treated
from mesh.model.services import Service, ServiceKey
from mesh.model.table import Table
from mesh.problems import Condition, Problem
from twin.manifest.catalog import RegistryView
from twin.manifest.document import Ref

__all__ = ["Said", "Translation", "conditions", "translate"]


@dataclass(frozen=True, slots=True)
class Translation:
    """The table that documents make, endpoints with their origin, and what is wrong with policies.

    What is wrong with routes and services is found when the table is compiled, with all endpoints in it.
    """

    table: Table = field(default_factory=Table)
    problems: Mapping[Ref, tuple[Problem, ...]] = field(default_factory=dict)
    tunnels: Mapping[str, str] = field(default_factory=dict)
    """Where the tunnel of each other gateway is reached that endpoints are behind; empty: by the relay alone."""


@dataclass(frozen=True, slots=True)
class Said:
    """One condition as people read it."""

    type: Condition
    status: bool
    reason: str
    message: str = ""


def translate(view: RegistryView, *, node: str, address_of: AddressOf, by_cloud: Set[Ref] = frozenset()) -> Translation:
    """Translate all documents. ``by_cloud``: those that came from there; ``node`` is this gateway.

    References that lead nowhere are no errors: what they name may be applied later.
    """
    services: dict[ServiceKey, Service] = services_of(view, node, by_cloud, address_of)
    routes = routes_of(view, services)
    policies = treated(view, services, routes)
    table = Table(
        MappingProxyType(services),
        MappingProxyType(routes),
        MappingProxyType(dict(policies.services)),
        MappingProxyType(dict(policies.routes)),
    )
    return Translation(table, {ref: found for ref, found in policies.problems.items() if found}, tunnels_of(view))


def conditions(problems: Iterable[Problem], *, programmed: bool) -> tuple[Said, ...]:
    """Gateway API's three conditions, given what is wrong."""
    found: dict[Condition, list[Problem]] = {one: [] for one in Condition}
    for problem in problems:
        found[problem.reason.condition].append(problem)
    said: list[Said] = []
    for condition, ones in found.items():
        if ones:
            said.append(Said(condition, False, str(ones[0].reason), "; ".join(one.text for one in ones)))
        elif condition is Condition.PROGRAMMED and not programmed:
            said.append(Said(condition, False, "Pending", "the data plane has not taken it yet"))
        else:
            said.append(Said(condition, True, str(condition)))
    return tuple(said)
