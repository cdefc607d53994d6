"""Tables for tests, in few words."""

from __future__ import annotations

from mesh.model.policies import Policy
from mesh.model.routes import Backend, HttpMatch, MatchType, Route, RouteKey, RouteKind, Rule
from mesh.model.services import AppProtocol, Endpoint, PortKey, Service, ServiceKey, ServicePort, Transport
from mesh.model.table import Table


def skey(name="web", namespace="default"):
    return ServiceKey(namespace, name)


def pkey(name="web", port=80, transport=Transport.TCP):
    return PortKey(skey(name), port, transport)


def rkey(name="web", kind=RouteKind.HTTP):
    return RouteKey(kind, "default", name)


def at(place, **fields):
    address, _, port = place.rpartition(":")
    return Endpoint(address, int(port), **fields)


def service(name="web", *endpoints, address="127.96.0.1", port=80, app=AppProtocol.RAW, **fields):
    """A service with one port."""
    transport, node_port = fields.pop("transport", Transport.TCP), fields.pop("node_port", 0)
    found = tuple(at(one) if isinstance(one, str) else one for one in endpoints)
    ports = (ServicePort(port, transport=transport, app=app, node_port=node_port, endpoints=found),)
    return Service(skey(name), address, ports, **fields)


def to(name, weight=1, port=80):
    return Backend(pkey(name, port), weight)


def path(value, kind=MatchType.PREFIX, **fields):
    return HttpMatch(value, kind, **fields)


def route(name="web", *rules, parents=(), kind=RouteKind.HTTP, **fields):
    return Route(rkey(name, kind), tuple(parents) or (pkey(),), rules, **fields)


def rule(*backends, matches=(), **fields):
    return Rule(tuple(to(one) if isinstance(one, str) else one for one in backends), tuple(matches), **fields)


def table(*items, policies=None, route_policies=None):
    """Of services and routes; ``policies`` by the name of the service, ``route_policies`` by the key of the route."""
    services = {one.key: one for one in items if isinstance(one, Service)}
    routes = {one.key: one for one in items if isinstance(one, Route)}
    of_services: dict[ServiceKey, Policy] = {skey(name): one for name, one in (policies or {}).items()}
    return Table(services, routes, of_services, route_policies or {})
