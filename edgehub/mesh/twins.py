"""The twins of services and routes: what they are called, what they report, and what of it is worth a report. Pure.

Each gateway has its own twin of a service, for each sees for itself: ``route/plant/web.gw-1``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from edgehub.mesh.here import Place
from edgehub.mesh.translate import conditions
from mesh.model.programme import Frontend, Programme
from mesh.model.routes import Route, RouteKey, RouteKind
from mesh.model.services import Endpoint, PortKey, Service, ServiceKey
from mesh.problems import Problem, Subject
from twin.manifest.catalog import RegistryView
from twin.manifest.document import DocumentKind
from twin.model import Kind, PropertySpec, TwinKey, TwinSpec, Value, ValueType
from twin.wire.mesh import ConditionBody, RouteEndpoint, RoutePort, RouteRates, RouteTwin

SERVICE: Final = "Service"
_LONGEST: Final = 63
_DIGEST_CHARS: Final = 8
_TYPES: Final = {"kind": ValueType.STRING, "name": ValueType.STRING, "address": ValueType.STRING} | {
    "breaker": ValueType.STRING
}
PROPERTIES: Final = {name: PropertySpec(name, _TYPES.get(name, ValueType.JSON)) for name in RouteTwin.model_fields}
"""What the twin of a service or route reports."""
_KINDS: Final = (SERVICE, *RouteKind)
_HEALTH_ORDER: Final = ("ready", "stale", "failing", "ejected", "terminating", "not-ready")
_NEARLY: Final = 0.2
"""A rate that differs by less of itself is the same."""


@dataclass(frozen=True, slots=True)
class Live:
    """What the data planes know of one service."""

    health: Mapping[PortKey, Mapping[str, str]] = field(default_factory=dict)
    """Of places that are not simply ready: ejected, failing."""
    rates: RouteRates = field(default_factory=RouteRates)
    breaker: str = ""
    alerts: tuple[str, ...] = ()


def twin_key(subject: Subject, gateway: str) -> TwinKey:
    """The twin of a service or route at a gateway; a name that is too long is cut, with a digest of the whole."""
    name = f"{subject.name}.{subject.kind.lower()}" if isinstance(subject, RouteKey) else subject.name
    whole = f"{name}.{gateway}"
    if len(whole) > _LONGEST:
        digest = hashlib.sha256(whole.encode()).hexdigest()[:_DIGEST_CHARS]
        whole = f"{whole[: _LONGEST - _DIGEST_CHARS - 1].rstrip('.-')}-{digest}"
    return TwinKey(Kind.ROUTE, subject.namespace, whole)


def subjects(view: RegistryView) -> Iterator[tuple[Subject, str]]:
    """All services and routes that documents name, with the uid of each document."""
    for kind in _KINDS:
        for stored in view.all(DocumentKind(kind)):
            of = stored.ref
            subject = (
                ServiceKey(of.namespace, of.name)
                if kind == SERVICE
                else RouteKey(RouteKind(kind), of.namespace, of.name)
            )
            yield subject, stored.uid


def specs(view: RegistryView, gateway: str) -> Iterator[TwinSpec]:
    """The specs of their twins; without labels, for the cloud makes them of their rows alone."""
    for subject, uid in subjects(view):
        yield TwinSpec(twin_key(subject, gateway), uid, gateway=gateway, properties=PROPERTIES)


def service_twin(
    service: Service, programme: Programme, problems: Iterable[Problem], live: Live, place: Place, *, programmed: bool
) -> RouteTwin:
    """What the twin of a service reports."""
    keys = [(port, PortKey(service.key, port.port, port.transport)) for port in service.ports]
    ports, endpoints = [], []
    for port, key in keys:
        ports.append(_port(port.name, key, programme.frontends.get(key), port.app, port.node_port))
        endpoints += list(_endpoints(key, port.endpoints, live.health.get(key, {}), place))
    return RouteTwin(
        kind=SERVICE,
        name=str(service.key),
        address=service.address,
        ports=ports,
        endpoints=endpoints,
        conditions=_conditions(problems, programmed=programmed),
        rates=live.rates,
        breaker=live.breaker,
        alerts=list(live.alerts),
    )


def route_twin(route: Route, problems: Iterable[Problem], rates: RouteRates, *, programmed: bool) -> RouteTwin:
    """What the twin of a route reports."""
    return RouteTwin(
        kind=route.key.kind,
        name=f"{route.key.namespace}/{route.key.name}",
        parents=[str(one) if one.port else str(one.service) for one in route.parents],
        conditions=_conditions(problems, programmed=programmed),
        rates=rates,
    )


def absent_twin(subject: Subject, problems: Iterable[Problem]) -> RouteTwin:
    """What the twin of a document reports of which nothing could be made."""
    kind = subject.kind if isinstance(subject, RouteKey) else SERVICE
    return RouteTwin(
        kind=kind, name=f"{subject.namespace}/{subject.name}", conditions=_conditions(problems, programmed=False)
    )


def changed(told: Mapping[str, Value], now: RouteTwin, *, rates: bool) -> dict[str, Value]:
    """The properties that are worth a report after those that were told; rates only if it is their time."""
    found: dict[str, Value] = {
        name: value for name, value in now.model_dump(mode="json").items() if name not in told or told[name] != value
    }
    if "rates" in found and "rates" in told:
        before = RouteRates.model_validate(told["rates"])
        if not rates or not differs(before, now.rates):
            del found["rates"]
    return found


def differs(before: RouteRates, now: RouteRates) -> bool:
    """Whether rates differ by more than their noise; from nothing and to nothing always does."""
    pairs = (
        (before.requests_s, now.requests_s, 0.5),
        (before.error_percent, now.error_percent, 1.0),
        (before.p99_ms, now.p99_ms, 1.0),
    )
    return any(
        (old == 0) != (new == 0) or abs(new - old) > max(least, _NEARLY * max(old, new)) for old, new, least in pairs
    )


def _conditions(problems: Iterable[Problem], *, programmed: bool) -> dict[str, ConditionBody]:
    return {
        one.type.value: ConditionBody(holds=one.status, reason=one.reason, message=one.message)
        for one in conditions(problems, programmed=programmed)
    }


def _port(name: str, key: PortKey, frontend: Frontend | None, app: str, node_port: int) -> RoutePort:
    plane = frontend.plane.value if frontend else ""
    return RoutePort(
        port=key.port,
        name=name,
        transport=key.transport,
        app=frontend.app if frontend else app,
        node_port=node_port,
        plane=plane,
    )


def _endpoints(
    key: PortKey, endpoints: Iterable[Endpoint], health: Mapping[str, str], place: Place
) -> Iterator[RouteEndpoint]:
    """Each once, the best first: those that may be used, on this gateway, in its zone, then the others."""
    unique = {one.place: one for one in reversed(list(endpoints))}
    found = [(one, _health(one, health.get(one.place, ""))) for one in reversed(list(unique.values()))]
    found.sort(key=lambda pair: (_HEALTH_ORDER.index(pair[1]), pair[0].node != place.node, pair[0].zone != place.zone))
    for one, how in found:
        yield RouteEndpoint(
            port=key.port,
            place=one.place,
            node=one.node,
            zone=one.zone,
            origin=one.origin,
            via=one.via,
            weight=one.weight,
            health=how,
        )


def _health(one: Endpoint, live: str) -> str:
    if one.terminating:
        return "terminating"
    if not one.ready:
        return "not-ready"
    return live or ("stale" if one.stale else "ready")
