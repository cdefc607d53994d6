"""What is wrong with a route or policy by itself: names that lead nowhere, patterns that do not compile. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from mesh.binding import Statement, backends_of, degraded_to
from mesh.model.policies import Policy
from mesh.model.routes import Backend, HttpMatch, MatchType, Route, Rule
from mesh.model.services import PortKey, Service, ServiceKey, ServicePort, Transport
from mesh.model.table import Table
from mesh.problems import Problem, Reason


def port_of(services: Mapping[ServiceKey, Service], key: PortKey) -> ServicePort | None:
    """A port of a service, if both are there."""
    service = services.get(key.service)
    return next((one for one in service.ports if _is(one, key)), None) if service else None


def ports_of_parent(service: Service, parent: PortKey) -> Iterator[ServicePort]:
    """The ports that a parent means: 0 stands for all TCP ports."""
    for port in service.ports:
        if _is(port, parent) or (parent.port == 0 and port.transport is Transport.TCP):
            yield port


def usable(route: Route) -> Route:
    """The route without the matches that no request could be compared with."""
    if not any(_broken(match) for rule in route.rules for match in rule.matches):
        return route
    rules = (_usable_rule(rule) for rule in route.rules)
    return replace(route, rules=tuple(rule for rule in rules if rule))


def said_of_route(route: Route, table: Table) -> list[Statement]:
    """What is wrong with a route, whatever else is bound beside it."""
    services, policy = table.services, table.route_policies.get(route.key)
    found = [_said_of_parent(parent, services) for parent in route.parents]
    found += [_said_of_backend(key, services) for key in dict.fromkeys(backends_of(route, policy))]
    found += [_broken(match) for rule in route.rules for match in rule.matches]
    return [(route.key, problem) for problem in dict.fromkeys(found) if problem]


def said_of_policy(key: ServiceKey, policy: Policy, services: Mapping[ServiceKey, Service]) -> list[Statement]:
    """What is wrong with the policy of a service."""
    return [
        (key, problem)
        for to in dict.fromkeys(degraded_to(policy))
        if (problem := _to_itself(key, to) or _said_of_backend(to, services))
    ]


def without_itself(key: ServiceKey, policy: Policy) -> Policy:
    """The policy without degradations that lead back to the service that cannot answer."""
    kept = tuple(one for one in policy.degrade if not (isinstance(one.then, Backend) and one.then.port.service == key))
    return policy if len(kept) == len(policy.degrade) else replace(policy, degrade=kept)


def _is(port: ServicePort, key: PortKey) -> bool:
    return port.port == key.port and port.transport is key.transport


def _said_of_parent(parent: PortKey, services: Mapping[ServiceKey, Service]) -> Problem | None:
    service = services.get(parent.service)
    if service is None:
        return Problem(Reason.NO_MATCHING_PARENT, f"there is no service {parent.service} to bind to. Apply it")
    if not any(ports_of_parent(service, parent)):
        which = f"port {parent.port}" if parent.port else "TCP port"
        return Problem(Reason.NO_MATCHING_PARENT, f"the service {service.key} has no {which}. It has {_ports(service)}")
    if not (service.address or any(port.node_port for port in service.ports)):
        text = f"clients of {service.key} go to its endpoints, not through the mesh. Give it a clusterIP or a nodePort"
        return Problem(Reason.NO_MATCHING_PARENT, text)
    return None


def _said_of_backend(key: PortKey, services: Mapping[ServiceKey, Service]) -> Problem | None:
    service = services.get(key.service)
    if service is None:
        return Problem(Reason.BACKEND_NOT_FOUND, f"there is no service {key.service}. Apply it, or name another")
    if service.external_name:
        text = f"{key.service} is the name {service.external_name}, not endpoints. Give it an EndpointSlice"
        return Problem(Reason.BACKEND_NOT_FOUND, text)
    if port_of(services, key) is None:
        return Problem(Reason.BACKEND_NOT_FOUND, f"there is no port {key}. It has {_ports(service)}")
    return None


def _to_itself(key: ServiceKey, to: PortKey) -> Problem | None:
    if to.service != key:
        return None
    return Problem(Reason.LOOP, f"{key} degrades to itself, which cannot answer then. Name another service")


def _broken(match: HttpMatch) -> Problem | None:
    patterns = [match.path] if match.path_type is MatchType.REGEX else []
    patterns += [one.value for one in (*match.headers, *match.query) if one.type is MatchType.REGEX]
    for pattern in patterns:
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            text = f"{pattern!r} is no regular expression: {error}. Its match is left out"
            return Problem(Reason.UNSUPPORTED_VALUE, text)
    return None


def _usable_rule(rule: Rule) -> Rule | None:
    matches = tuple(match for match in rule.matches if not _broken(match))
    if len(matches) == len(rule.matches):
        return rule
    return replace(rule, matches=matches) if matches else None


def _ports(service: Service) -> str:
    return ", ".join(f"{port.port}/{port.transport}" for port in service.ports) or "none"
