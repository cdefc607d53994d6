"""What differs between two tables or two programmes. Pure; what is the same object is not looked into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from mesh.model import Programme, ProgrammeDelta, Table, TableChange

_K = TypeVar("_K")
_V = TypeVar("_V")


def difference(old: Programme, new: Programme) -> ProgrammeDelta:
    """What a plane that carries out ``old`` has to be told to carry out ``new``."""
    return ProgrammeDelta(
        tuple(_other(old.frontends, new.frontends).values()),
        _gone(old.frontends, new.frontends),
        tuple(_other(old.backends, new.backends).values()),
        _gone(old.backends, new.backends),
    )


def programme_after(programme: Programme, delta: ProgrammeDelta) -> Programme:
    """The programme after a change."""
    return Programme(
        _changed(programme.frontends, {one.key: one for one in delta.frontends}, delta.gone_frontends),
        _changed(programme.backends, {one.key: one for one in delta.backends}, delta.gone_backends),
    )


def table_difference(old: Table, new: Table) -> TableChange:
    """What makes ``new`` of ``old``."""
    return TableChange(
        tuple(_other(old.services, new.services).values()),
        tuple(_other(old.routes, new.routes).values()),
        _other(old.policies, new.policies),
        _other(old.route_policies, new.route_policies),
        _gone(old.services, new.services),
        _gone(old.routes, new.routes),
        _gone(old.policies, new.policies),
        _gone(old.route_policies, new.route_policies),
    )


def applied(table: Table, change: TableChange) -> Table:
    """The table after a change."""
    return Table(
        _changed(table.services, {one.key: one for one in change.services}, change.gone_services),
        _changed(table.routes, {one.key: one for one in change.routes}, change.gone_routes),
        _changed(table.policies, change.policies, change.gone_policies),
        _changed(table.route_policies, change.route_policies, change.gone_route_policies),
    )


def _other(old: Mapping[_K, _V], new: Mapping[_K, _V]) -> dict[_K, _V]:
    if old is new:
        return {}
    return {key: value for key, value in new.items() if (was := old.get(key)) is not value and was != value}


def _gone(old: Mapping[_K, _V], new: Mapping[_K, _V]) -> tuple[_K, ...]:
    return () if old is new else tuple(key for key in old if key not in new)


def _changed(old: Mapping[_K, _V], put: Mapping[_K, _V], gone: tuple[_K, ...]) -> Mapping[_K, _V]:
    if not put and not gone:
        return old
    new = {**old, **put}
    for key in gone:
        new.pop(key, None)
    return new
