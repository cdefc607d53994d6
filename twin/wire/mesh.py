"""What the mesh says of itself: the twin of a service or route, the verb mesh, and alerts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from twin.wire.messages import Millis, Wire


class ConditionBody(Wire):
    """One condition, with Gateway API's words for why."""

    holds: bool
    reason: str = ""
    message: str = ""


class RoutePort(Wire):
    """One port of a service, and what carries it."""

    port: int
    name: str = ""
    transport: str = "TCP"
    app: Annotated[str, Field(description="how much of the bytes is read: raw, http, tls")] = "raw"
    node_port: int = 0
    plane: str = ""


class RouteEndpoint(Wire):
    """One place behind a port of a service, in the order in which they are preferred."""

    port: Annotated[int, Field(description="of the service")]
    place: Annotated[str, Field(description="address:port")]
    node: Annotated[str, Field(description="the gateway that it is on")] = ""
    zone: str = ""
    origin: Annotated[str, Field(description="who says that it is there: here, listed, peer or cloud")] = ""
    via: Annotated[str, Field(description="the gateway whose tunnel leads to it")] = ""
    weight: int = 1
    health: Annotated[str, Field(description="ready, not-ready, terminating, stale, ejected or failing")] = "ready"


class RouteRates(Wire):
    """What went through lately."""

    requests_s: float = 0.0
    error_percent: float = 0.0
    p99_ms: float = 0.0


class RouteTwin(Wire):
    """What the twin of a service or route reports, a property for each key."""

    kind: Annotated[str, Field(description="Service, HTTPRoute, TCPRoute or TLSRoute")]
    name: Annotated[str, Field(description="namespace/name of the document")]
    address: Annotated[str, Field(description="the virtual address; empty: there is none")] = ""
    ports: list[RoutePort] = Field(default_factory=list)
    endpoints: list[RouteEndpoint] = Field(default_factory=list)
    parents: Annotated[list[str], Field(description="the services that a route is for")] = Field(default_factory=list)
    conditions: dict[str, ConditionBody] = Field(default_factory=dict)
    rates: RouteRates = RouteRates()
    breaker: Annotated[str, Field(description="closed, open or half-open; empty: there is none")] = ""
    alerts: Annotated[list[str], Field(description="alarm rules that hold now")] = Field(default_factory=list)


class MeshRequest(Wire):
    """Ask what the mesh knows that its twins do not say: the process, what went through, who calls whom."""

    parts: Annotated[
        list[Literal["traffic", "calls", "checks"]], Field(description="what to tell besides how the process is")
    ] = Field(default_factory=list)


class TrafficBody(Wire):
    """What went through one service or route since the process began, and lately."""

    name: str
    requests: int = 0
    errors: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    active: int = 0
    requests_s: float = 0.0
    error_percent: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class CallBody(Wire):
    """Who calls whom: a client, by pod or address, and a service, with what went between them lately."""

    caller: str
    service: str
    requests_s: float = 0.0
    p99_ms: float = 0.0
    loss_percent: float = 0.0


class CheckBody(Wire):
    """One finding of a check; a remedy if it is not well."""

    check: str
    well: bool
    text: str = ""
    remedy: str = ""


class MeshReply(Wire):
    """How the mesh is. ``state``: off, idle (nothing to do, not loaded), starting, running."""

    state: str
    pid: int = 0
    restarts: int = 0
    network: Annotated[str, Field(description="of the services' addresses")] = ""
    dns: Annotated[str, Field(description="host:port of its DNS; empty: none")] = ""
    domain: str = ""
    metrics: Annotated[str, Field(description="host:port of its metrics; empty: none")] = ""
    tunnel: Annotated[str, Field(description="host:port of its tunnel; empty: none")] = ""
    problems: Annotated[list[str], Field(description="what it found wrong with itself")] = Field(default_factory=list)
    traffic: list[TrafficBody] = Field(default_factory=list)
    calls: list[CallBody] = Field(default_factory=list)
    checks: list[CheckBody] = Field(default_factory=list)


class Alert(Wire):
    """An alarm rule that holds for something, or holds no more."""

    rule: Annotated[str, Field(description="namespace/name of the AlarmRule, or of the gateway's own rule")]
    about: Annotated[str, Field(description="namespace/name of what it is about")]
    kind: Annotated[str, Field(description="what that is: service, or the kind of a twin")] = "service"
    firing: bool
    since: Annotated[Millis, Field(description="since when it holds, or held last; the same in all that is told of it")]
    severity: str = ""
    value: bool | int | float | str | None = None
    text: str = ""
    acknowledged_by: Annotated[str, Field(description="the account of who has seen it; empty: nobody yet")] = ""
    note: str = ""
