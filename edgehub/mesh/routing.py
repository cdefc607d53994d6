"""Gateway API's routes as the mesh's own. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from edgehub.mesh.listed import plane_of
from mesh.model.routes import (
    Backend,
    Filter,
    HeaderModifier,
    HttpMatch,
    MatchType,
    Mirror,
    PathModifier,
    Redirect,
    Retry,
    Rewrite,
    Route,
    RouteKey,
    RouteKind,
    Rule,
    ValueMatch,
)
from mesh.model.services import PortKey, Service, ServiceKey
from twin.manifest import routes
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import ROUTES, DocumentKind
from twin.manifest.routes import HttpRouteSpec, TcpRouteSpec, TlsRouteSpec

NO_END_MS: Final = 86_400_000
"""What 0s stands for: no time-out at all would hold a connection for ever."""
_UNNAMED_PORT: Final = -1
_KINDS: Final = {
    DocumentKind.HTTP_ROUTE: RouteKind.HTTP,
    DocumentKind.TCP_ROUTE: RouteKind.TCP,
    DocumentKind.TLS_ROUTE: RouteKind.TLS,
}


def routes_of(view: RegistryView, services: Mapping[ServiceKey, Service]) -> dict[RouteKey, Route]:
    """Every route."""
    found = (_route(stored, services) for kind in ROUTES for stored in view.all(kind))
    return {route.key: route for route in found}


def route_key(kind: str, namespace: str, name: str) -> RouteKey:
    """The name of a route."""
    return RouteKey(RouteKind(kind), namespace, name)


def backend_port(ref: routes.PlainBackendRef, namespace: str) -> PortKey:
    """The port that a reference in a document of ``namespace`` means."""
    return PortKey(ServiceKey(ref.namespace or namespace, ref.name), ref.port or 0)


def _route(stored: Stored, services: Mapping[ServiceKey, Service]) -> Route:
    spec, namespace = stored.document.spec, stored.ref.namespace
    rules: tuple[Rule, ...]
    hosts: tuple[str, ...] = ()
    if isinstance(spec, HttpRouteSpec):
        hosts, rules = spec.hostnames, tuple(_http_rule(one, namespace) for one in spec.rules)
    else:
        assert isinstance(spec, TcpRouteSpec)
        hosts = spec.hostnames if isinstance(spec, TlsRouteSpec) else ()
        rules = tuple(Rule(_backends(one.backend_refs, namespace), name=one.name or "") for one in spec.rules)
    parents = tuple(_parent(one, namespace, services) for one in spec.parent_refs)
    key = RouteKey(_KINDS[stored.ref.kind], namespace, stored.ref.name)
    return Route(key, parents, rules, hosts, plane_of(stored), stored.generation)


def _parent(ref: routes.ParentRef, namespace: str, services: Mapping[ServiceKey, Service]) -> PortKey:
    """The port of a parent; a name that the Service has no port of stands for one that is not there."""
    key = ServiceKey(ref.namespace or namespace, ref.name)
    if not ref.section_name:
        return PortKey(key, ref.port or 0)
    ports = services[key].ports if key in services else ()
    number = next((one.port for one in ports if one.name == ref.section_name), _UNNAMED_PORT)
    return PortKey(key, number if ref.port in (None, number) else _UNNAMED_PORT)


def _http_rule(rule: routes.HttpRule, namespace: str) -> Rule:
    retry = rule.retry
    return Rule(
        _backends(rule.backend_refs, namespace),
        tuple(map(_match, rule.matches)),
        tuple(_filters(rule.filters, namespace)),
        _span(rule.timeouts.request_ms),
        _span(rule.timeouts.backend_request_ms),
        Retry(retry.attempts, frozenset(retry.codes), retry.backoff_ms) if retry else None,
        rule.name or "",
    )


def _span(said_ms: int | None) -> int:
    if said_ms is None:
        return 0
    return said_ms or NO_END_MS


def _backends(refs: Iterable[routes.BackendRef], namespace: str) -> tuple[Backend, ...]:
    return tuple(
        Backend(backend_port(one, namespace), one.weight, tuple(_filters(one.filters, namespace))) for one in refs
    )


def _match(match: routes.HttpMatch) -> HttpMatch:
    return HttpMatch(
        match.path.value,
        MatchType(match.path.type),
        match.method or "",
        tuple(ValueMatch(one.name.lower(), one.value, MatchType(one.type)) for one in match.headers),
        tuple(ValueMatch(one.name, one.value, MatchType(one.type)) for one in match.query_params),
    )


def _filters(filters: Iterable[routes.Filter], namespace: str) -> Iterator[Filter]:
    for one in filters:
        if one.request_header_modifier is not None:
            yield _headers(one.request_header_modifier, response=False)
        elif one.response_header_modifier is not None:
            yield _headers(one.response_header_modifier, response=True)
        elif one.request_redirect is not None:
            said = one.request_redirect
            path = _path(said.path)
            yield Redirect(said.scheme or "", said.hostname or "", said.port or 0, path, said.status_code)
        elif one.url_rewrite is not None:
            yield Rewrite(one.url_rewrite.hostname or "", _path(one.url_rewrite.path))
        elif one.request_mirror is not None:
            yield Mirror(backend_port(one.request_mirror.backend_ref, namespace), _percent(one.request_mirror))


def _headers(said: routes.HeaderFilter, *, response: bool) -> HeaderModifier:
    return HeaderModifier(
        response,
        tuple((one.name, one.value) for one in said.set),
        tuple((one.name, one.value) for one in said.add),
        said.remove,
    )


def _path(said: routes.PathModifier | None) -> PathModifier | None:
    if said is None:
        return None
    if said.type == "ReplacePrefixMatch":
        return PathModifier(said.replace_prefix_match or "/", prefix_only=True)
    return PathModifier(said.replace_full_path or "/")


def _percent(said: routes.Mirror) -> float:
    if said.fraction is not None:
        return 100.0 * said.fraction.numerator / said.fraction.denominator
    return 100.0 if said.percent is None else said.percent
