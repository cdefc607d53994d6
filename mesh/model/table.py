"""All that the mesh knows of what people want and of what is there, and how that changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mesh.model.policies import Policy
from mesh.model.routes import Route, RouteKey
from mesh.model.services import Service, ServiceKey


@dataclass(frozen=True, slots=True)
class Table:
    """All that the mesh knows of what people want and of what is there.

    ``policies`` of services; ``route_policies`` of routes, of which rate limit and degradation count.
    """

    services: Mapping[ServiceKey, Service] = field(default_factory=lambda: MappingProxyType({}))
    routes: Mapping[RouteKey, Route] = field(default_factory=lambda: MappingProxyType({}))
    policies: Mapping[ServiceKey, Policy] = field(default_factory=lambda: MappingProxyType({}))
    route_policies: Mapping[RouteKey, Policy] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class TableChange:
    """What is new or other in a table, and what is gone."""

    services: tuple[Service, ...] = ()
    routes: tuple[Route, ...] = ()
    policies: Mapping[ServiceKey, Policy] = field(default_factory=lambda: MappingProxyType({}))
    route_policies: Mapping[RouteKey, Policy] = field(default_factory=lambda: MappingProxyType({}))
    gone_services: tuple[ServiceKey, ...] = ()
    gone_routes: tuple[RouteKey, ...] = ()
    gone_policies: tuple[ServiceKey, ...] = ()
    gone_route_policies: tuple[RouteKey, ...] = ()
