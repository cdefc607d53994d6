"""What data planes carry out: frontends, where clients arrive, and backends, where their requests go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mesh.model.policies import DEFAULT_POLICY, Degrade, Policy, RateLimit
from mesh.model.routes import RouteKey, Rule
from mesh.model.services import AppProtocol, Endpoint, Plane, PortKey


@dataclass(frozen=True, slots=True)
class BoundRule:
    """A rule with what it was said for.

    A rule of a route with several matches or host names may be here several times, for each of them has its own place
    in the order. Buckets and counters go by ``route``, so that they are one all the same.
    """

    rule: Rule
    route: RouteKey | None = None
    """None: the service's own endpoints, no route was written."""
    hostnames: tuple[str, ...] = ()
    rate_limit: RateLimit | None = None
    degrade: tuple[Degrade, ...] = ()


@dataclass(frozen=True, slots=True)
class Frontend:
    """Where clients of one port of a service arrive, and the rules for them, the first that matches counts."""

    key: PortKey
    addresses: tuple[str, ...]
    rules: tuple[BoundRule, ...]
    app: AppProtocol = AppProtocol.RAW
    node_port: int = 0
    plane: Plane = Plane.USERSPACE
    affinity_s: int = 0


@dataclass(frozen=True, slots=True)
class BackendGroup:
    """The endpoints of one port of a service, with the policy for them."""

    key: PortKey
    endpoints: tuple[Endpoint, ...]
    policy: Policy = DEFAULT_POLICY


@dataclass(frozen=True, slots=True)
class Programme:
    """What the data planes carry out."""

    frontends: Mapping[PortKey, Frontend] = field(default_factory=lambda: MappingProxyType({}))
    backends: Mapping[PortKey, BackendGroup] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class ProgrammeDelta:
    """What is new or other in a programme, and what is gone."""

    frontends: tuple[Frontend, ...] = ()
    gone_frontends: tuple[PortKey, ...] = ()
    backends: tuple[BackendGroup, ...] = ()
    gone_backends: tuple[PortKey, ...] = ()
