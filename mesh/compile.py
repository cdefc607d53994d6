"""From what people want and what is there to what the data planes carry out. Pure: values in, values out.

    Table ──> groups (grouping.py)      of each port: the endpoints that count, with the policy
          ──> frontends (binding.py)    where clients arrive, and the rules in Gateway API's order
          ──> loops (loops.py)          endpoints that lead back to themselves are left out
          ──> Programme, and what is wrong with which route or service

Most changes are of endpoints alone: they cost one service. All others go over the table again, but compile only what
has other inputs than before. The outcome is the same in both ways.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mesh.binding import Around, Bound, Claim, Statement, backends_of, claims_of, frontend_of
from mesh.checks import ports_of_parent, said_of_policy, said_of_route, usable, without_itself
from mesh.difference import applied, difference, table_difference
from mesh.grouping import DEFAULT_POLICY, group_of, port_key, service_beyond_kernel
from mesh.loops import Aims, aim_of, aims_of, looped, said_of_loops
from mesh.model import (
    BackendGroup,
    Frontend,
    Plane,
    Policy,
    PortKey,
    Programme,
    ProgrammeDelta,
    Service,
    ServiceKey,
    ServicePort,
    Table,
    TableChange,
)
from mesh.precedence import age
from mesh.problems import Problem, Problems, Subject

__all__ = ["Compiled", "applied", "change", "compile_table", "difference", "table_difference"]

_NOWHERE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Face:
    """The frontend of one port, what was said of it, and what it was made from."""

    inputs: tuple[object, ...]
    frontend: Frontend | None
    said: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A table, its programme, and what is wrong. ``node`` is the gateway that this runs on; empty: none."""

    node: str = ""
    default_plane: Plane = Plane.USERSPACE
    no_kernel: str = ""
    """Why this machine has no nftables; empty: it has."""
    table: Table = field(default_factory=Table)
    programme: Programme = field(default_factory=Programme)
    problems: Problems = field(default_factory=dict)
    claims: Mapping[Claim, PortKey] = field(default_factory=dict)
    """Who has which address."""
    faces: Mapping[PortKey, Face] = field(default_factory=dict)
    aims: Aims = field(default_factory=dict)
    """Endpoints that are frontends of ours."""


def compile_table(table: Table, before: Compiled | None = None) -> Compiled:
    """The whole table; what has the inputs that it had ``before`` is taken from there. Settings are those of before."""
    before = before or Compiled()
    services, policies = table.services, table.policies
    claims = _claims(services.values())
    routes = _bound(table)
    beyond = {
        key: why
        for key, service in services.items()
        if (why := service_beyond_kernel(service, policies.get(key, DEFAULT_POLICY)))
    }
    faces: dict[PortKey, Face] = {}
    for service in services.values():
        for port in service.ports:
            key = port_key(service, port)
            owners = tuple((claim, claims[claim]) for claim in claims_of(service, port))
            behind = _behind(key, routes.get(key, ()), beyond)
            around = Around(before.default_plane, owners, routes.get(key, ()), behind, before.no_kernel)
            faces[key] = _face(service, port, around, before)
    frontends = {key: face.frontend for key, face in faces.items() if face.frontend}
    aims = aims_of(services.values(), claims)
    left_out = looped(aims, frontends)
    backends = {group.key: group for group in _groups(table, left_out, before)}
    said = [one for route in table.routes.values() for one in said_of_route(route, table)]
    said += [one for key, policy in policies.items() for one in said_of_policy(key, policy, services)]
    said += [one for face in faces.values() for one in face.said]
    said += said_of_loops(left_out)
    return Compiled(
        before.node,
        before.default_plane,
        before.no_kernel,
        table,
        Programme(frontends, backends),
        _by_subject(said),
        claims,
        faces,
        aims,
    )


def change(before: Compiled, change: TableChange) -> tuple[Compiled, ProgrammeDelta]:
    """What becomes of it by a change of the table, and what the planes have to be told."""
    table = applied(before.table, change)
    groups = _of_endpoints_alone(before, change)
    if groups is None:
        after = compile_table(table, before)
        return after, difference(before.programme, after.programme)
    new = {group.key: group for group in groups if before.programme.backends.get(group.key) != group}
    programme = replace(before.programme, backends={**before.programme.backends, **new})
    return replace(before, table=table, programme=programme), ProgrammeDelta(backends=tuple(new.values()))


def _of_endpoints_alone(before: Compiled, change: TableChange) -> list[BackendGroup] | None:
    """The groups of the services that changed, if nothing but their endpoints did; None: more did."""
    if change != TableChange(services=change.services):
        return None
    groups: list[BackendGroup] = []
    for service in change.services:
        known = before.table.services.get(service.key)
        if known is None or _outline(known, before) != _outline(service, before):
            return None
        policy = _policy(before.table, service.key)
        for port in service.ports:
            aimed = port_key(service, port) in before.aims
            if aimed or any(aim_of(one, port.transport, before.claims) for one in port.endpoints):
                return None
            groups.append(group_of(service, port, policy, before.node, _NOWHERE))
    return groups


def _outline(service: Service, before: Compiled) -> tuple[object, ...]:
    """All of a service that anything but its own groups depends on."""
    ports = tuple(replace(port, endpoints=()) for port in service.ports)
    policy = before.table.policies.get(service.key, DEFAULT_POLICY)
    return replace(service, ports=ports, generation=0), service_beyond_kernel(service, policy)


def _claims(services: Iterable[Service]) -> Mapping[Claim, PortKey]:
    """Who has which address: of several the first by name, wherever they stand in the table."""
    claims: dict[Claim, PortKey] = {}
    for service in services:
        for port in service.ports:
            key = port_key(service, port)
            for claim in claims_of(service, port):
                claims[claim] = min(claims.get(claim, key), key)
    return claims


def _bound(table: Table) -> Mapping[PortKey, tuple[Bound, ...]]:
    """The routes of each port."""
    found: defaultdict[PortKey, dict[object, Bound]] = defaultdict(dict)
    for route in map(usable, table.routes.values()):
        for parent in route.parents:
            if service := table.services.get(parent.service):
                for port in ports_of_parent(service, parent):
                    found[port_key(service, port)][route.key] = (route, table.route_policies.get(route.key))
    return {key: tuple(sorted(routes.values(), key=lambda one: age(one[0]))) for key, routes in found.items()}


def _face(service: Service, port: ServicePort, around: Around, before: Compiled) -> Face:
    """The frontend of a port; the one of before if all that it is made from is the same."""
    key = port_key(service, port)
    inputs = (
        service.address,
        service.external_name,
        service.affinity_s,
        service.plane,
        port.app,
        port.node_port,
        around,
    )
    known = before.faces.get(key)
    if known is not None and known.inputs == inputs:
        return known
    return Face(inputs, *frontend_of(service, port, around))


def _groups(table: Table, left_out: Mapping[PortKey, frozenset[str]], before: Compiled) -> Iterator[BackendGroup]:
    """The groups of all ports; those of before where all that they are made from is the same."""
    for key, service in table.services.items():
        policy = _policy(table, key)
        same = before.table.services.get(key) is service and before.table.policies.get(key) is table.policies.get(key)
        for port in service.ports:
            name = port_key(service, port)
            known = before.programme.backends.get(name) if same else None
            if known is None or name in left_out or name in before.aims:
                known = group_of(service, port, policy, before.node, left_out.get(name, _NOWHERE))
            yield known


def _behind(
    key: PortKey, routes: tuple[Bound, ...], beyond: Mapping[ServiceKey, str]
) -> tuple[tuple[ServiceKey, str], ...]:
    """Of the services behind a port those that the kernel cannot carry."""
    if not beyond:
        return ()
    behind = {key.service, *(to.service for route, policy in routes for to in backends_of(route, policy))}
    return tuple((one, beyond[one]) for one in sorted(behind) if one in beyond)


def _policy(table: Table, key: ServiceKey) -> Policy:
    policy = table.policies.get(key)
    return without_itself(key, policy) if policy else DEFAULT_POLICY


def _by_subject(said: Iterable[Statement]) -> Problems:
    found: defaultdict[Subject, set[Problem]] = defaultdict(set)
    for subject, problem in said:
        found[subject].add(problem)
    return {subject: tuple(sorted(problems)) for subject, problems in found.items()}
