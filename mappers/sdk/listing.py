"""What is installed: each mapper of the entry-point group with its package, and what is wrong with a broken one."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass

from mappers.sdk.driver import Mapper
from mappers.sdk.errors import InvalidSettings
from mappers.sdk.registry import GROUP, Entry, Registry, package_of


@dataclass(frozen=True, slots=True)
class Installed:
    """One mapper; either ``mapper`` or ``error`` is there."""

    name: str
    package: str
    """Distribution and version."""
    place: str
    """``module:object`` of its entry point."""
    mapper: Mapper | None = None
    error: InvalidSettings | None = None


def installed(entries: Iterable[Entry] | None = None) -> tuple[Installed, ...]:
    """Import every mapper, by name; of those of the installed distributions if no entries are given."""
    known = list(importlib.metadata.entry_points(group=GROUP) if entries is None else entries)
    registry = Registry(known)
    shadowed = [one for all_ in registry.shadowed.values() for one in all_]
    used = tuple(
        _imported(registry, name, [one for one in known if one.name == name and one not in shadowed])
        for name in registry.names()
    )
    return (*used, *map(_shadowed, shadowed))


def _shadowed(entry: Entry) -> Installed:
    message = f"mapper {entry.name!r} of {package_of(entry)} is not used: edgetwin itself has one of this name"
    error = InvalidSettings(message, remedy="Uninstall that package, or have its authors choose another name.")
    return Installed(entry.name, package_of(entry), entry.value, error=error)


def _imported(registry: Registry, name: str, entries: list[Entry]) -> Installed:
    package = ", ".join(filter(None, map(package_of, entries)))
    place = ", ".join(entry.value for entry in entries)
    try:
        return Installed(name, package, place, mapper=registry.find(name))
    except InvalidSettings as error:
        return Installed(name, package, place, error=error)
