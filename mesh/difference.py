"""What differs between two tables or two programmes. Pure; what is the same object is not looked into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from mesh.model.programme import Programme, ProgrammeDelta
from mesh.model.table import Table, TableChange

_K = TypeVar("_K")
_V = TypeVar("_V")


def difference(old: Programme, new: Programme) -> ProgrammeDelta:
    """What a plane that carries out ``old`` has to be told to carry out ``new``."""
    frontends, gone_frontends = _compared(old.frontends, new.frontends)
    backends, gone_backends = _compared(old.backends, new.backends)
    return ProgrammeDelta(tuple(frontends.values()), gone_frontends, tuple(backends.values()), gone_backends)


def programme_after(programme: Programme, delta: ProgrammeDelta) -> Programme:
    """The programme after a change."""
    return Programme(
        _changed(programme.frontends, {one.key: one for one in delta.frontends}, delta.gone_frontends),
        _changed(programme.backends, {one.key: one for one in delta.backends}, delta.gone_backends),
    )


def table_difference(old: Table, new: Table) -> TableChange:
    """What makes ``new`` of ``old``."""
    services, gone_services = _compared(old.services, new.services)
    routes, gone_routes = _compared(old.routes, new.routes)
    policies, gone_policies = _compared(old.policies, new.policies)
    route_policies, gone_route_policies = _compared(old.route_policies, new.route_policies)
    return TableChange(
        tuple(services.values()),
        tuple(routes.values()),
        policies,
        route_policies,
        gone_services,
        gone_routes,
        gone_policies,
        gone_route_policies,
    )


def applied(table: Table, change: TableChange) -> Table:
    """The table after a change."""
    return Table(
        _changed(table.services, {one.key: one for one in change.services}, change.gone_services),
        _changed(table.routes, {one.key: one for one in change.routes}, change.gone_routes),
        _changed(table.policies, change.policies, change.gone_policies),
        _changed(table.route_policies, change.route_policies, change.gone_route_policies),
    )


def _compared(old: Mapping[_K, _V], new: Mapping[_K, _V]) -> tuple[dict[_K, _V], tuple[_K, ...]]:
    """What is new or other, and what is gone.

    Both are gone through side by side: a mapping made from another by ``_changed`` has the same order, and what is the
    same object needs no look-up, which would be most of the time of a small change in a large table.
    """
    if old is new:
        return {}, ()
    other: dict[_K, _V] = {}
    added = 0
    beside = iter(old.items())
    for key, value in new.items():
        known, was = next(beside, (None, None))
        if was is value and known is key:
            continue
        if key not in old:
            added += 1
            other[key] = value
        elif (found := old[key]) is not value and found != value:
            other[key] = value
    if len(old) + added == len(new):
        return other, ()
    return other, tuple(key for key in old if key not in new)


def _changed(old: Mapping[_K, _V], put: Mapping[_K, _V], gone: tuple[_K, ...]) -> Mapping[_K, _V]:
    if not put and not gone:
        return old
    new = {**old, **put}
    for key in gone:
        new.pop(key, None)
    return new
