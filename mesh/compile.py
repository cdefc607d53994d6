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
from mesh.checks import port_of, ports_of_parent, said_of_policy, said_of_route, usable, without_itself
from mesh.difference import applied, difference, table_difference
from mesh.grouping import group_of, port_key, service_beyond_kernel
from mesh.loops import Aims, aim_of, aims_of, looped, said_of_loops
from mesh.model.policies import DEFAULT_POLICY, Policy
from mesh.model.programme import BackendGroup, Frontend, Programme, ProgrammeDelta
from mesh.model.services import Plane, PortKey, Service, ServiceKey, ServicePort
from mesh.model.table import Table, TableChange
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
    bound: Mapping[PortKey, tuple[Bound, ...]] = field(default_factory=dict)
    """The routes of each port."""
    beyond_kernel: Mapping[ServiceKey, str] = field(default_factory=dict)
    """Services that the kernel cannot carry, and why."""
    faces: Mapping[PortKey, Face] = field(default_factory=dict)
    aims: Aims = field(default_factory=dict)
    """Endpoints that are frontends of ours."""


def compile_table(table: Table, before: Compiled | None = None) -> Compiled:
    """The whole table; what has the inputs that it had ``before`` is taken from there. Settings are those of before."""
    before = before or Compiled()
    services = table.services
    around = _World(before, _claims(services.values()), _bound(table), _beyond_kernel(table))
    ports = [(service, port) for service in services.values() for port in service.ports]
    faces = {port_key(service, port): _face(service, port, around.of(service, port), before) for service, port in ports}
    frontends = {key: face.frontend for key, face in faces.items() if face.frontend}
    aims = aims_of(services.values(), around.claims)
    left_out = looped(aims, frontends)
    backends = {group.key: group for group in _groups(table, left_out, before)}
    return replace(
        before,
        table=table,
        programme=Programme(frontends, backends),
        problems=_problems(table, faces, left_out),
        claims=around.claims,
        bound=around.routes,
        beyond_kernel=around.beyond_kernel,
        faces=faces,
        aims=aims,
    )


def change(before: Compiled, change: TableChange) -> tuple[Compiled, ProgrammeDelta]:
    """What becomes of it by a change of the table, and what the planes have to be told."""
    table = applied(before.table, change)
    groups = _of_endpoints_alone(before, change)
    if groups is None:
        of_routes = table.services is before.table.services and table.policies is before.table.policies
        after = _with_routes(before, table) if of_routes and not before.aims else compile_table(table, before)
        return after, difference(before.programme, after.programme)
    new = {group.key: group for group in groups if before.programme.backends.get(group.key) != group}
    programme = replace(before.programme, backends={**before.programme.backends, **new})
    return replace(before, table=table, programme=programme), ProgrammeDelta(backends=tuple(new.values()))


def _with_routes(before: Compiled, table: Table) -> Compiled:
    """The same services with other routes: only ports that routes come to or leave are compiled."""
    around = _World(before, before.claims, _bound(table), before.beyond_kernel)
    faces, frontends = dict(before.faces), dict(before.programme.frontends)
    for key in around.routes.keys() | before.bound.keys():
        port = port_of(table.services, key)
        if port is not None and around.routes.get(key) != before.bound.get(key):
            service = table.services[key.service]
            faces[key] = face = _face(service, port, around.of(service, port), before)
            if face.frontend:
                frontends[key] = face.frontend
    return replace(
        before,
        table=table,
        programme=replace(before.programme, frontends=frontends),
        problems=_problems(table, faces, {}),
        bound=around.routes,
        faces=faces,
    )


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


@dataclass(frozen=True, slots=True)
class _World:
    """What the frontends of all ports depend on."""

    settings: Compiled
    claims: Mapping[Claim, PortKey]
    routes: Mapping[PortKey, tuple[Bound, ...]]
    beyond_kernel: Mapping[ServiceKey, str]

    def of(self, service: Service, port: ServicePort) -> Around:
        """Of that what one port depends on."""
        key = port_key(service, port)
        routes = self.routes.get(key, ())
        behind = {key.service, *(to.service for route, policy in routes for to in backends_of(route, policy))}
        return Around(
            self.settings.default_plane,
            tuple((claim, self.claims[claim]) for claim in claims_of(service, port)),
            routes,
            tuple((one, self.beyond_kernel[one]) for one in sorted(behind) if one in self.beyond_kernel),
            self.settings.no_kernel,
        )


def _beyond_kernel(table: Table) -> Mapping[ServiceKey, str]:
    found = (
        (key, service_beyond_kernel(service, table.policies.get(key, DEFAULT_POLICY)))
        for key, service in table.services.items()
    )
    return {key: why for key, why in found if why}


def _problems(table: Table, faces: Mapping[PortKey, Face], left_out: Mapping[PortKey, frozenset[str]]) -> Problems:
    said = [one for route in table.routes.values() for one in said_of_route(route, table)]
    said += [one for key, policy in table.policies.items() for one in said_of_policy(key, policy, table.services)]
    said += [one for face in faces.values() for one in face.said]
    said += said_of_loops(left_out)
    return _by_subject(said)


def _policy(table: Table, key: ServiceKey) -> Policy:
    policy = table.policies.get(key)
    return without_itself(key, policy) if policy else DEFAULT_POLICY


def _by_subject(said: Iterable[Statement]) -> Problems:
    found: defaultdict[Subject, set[Problem]] = defaultdict(set)
    for subject, problem in said:
        found[subject].add(problem)
    return {subject: tuple(sorted(problems)) for subject, problems in found.items()}
