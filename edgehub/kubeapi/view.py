"""Objects at their versions, and what has changed lately: what list and watch are made of. Pure.

Every change gets the next version, of one counter for all resources. Each resource keeps its last changes; by them
a watcher learns what has happened since a version, and a list that is read in pages stays as it was at its first one.
What is older than the kept changes is ``Expired``: the client lists anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from edgehub.kubeapi.resources import Resource

KEPT: Final = 1000
"""Changes of one resource."""
UNVERSIONED: Final = '"resourceVersion":""'
"""Stands in the text of an object, as the first key of its metadata, for the version that it gets."""


class ObjectKey(NamedTuple):
    """Names one object of a resource; the namespace is empty for those that have none."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Content:
    """One object without its version: what selectors look at, and its JSON text."""

    key: ObjectKey
    text: str
    labels: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """One object as it is since a version."""

    content: Content
    version: int

    def text(self, version: int | None = None) -> str:
        """Its JSON text, with another version if one is given."""
        return self.content.text.replace(UNVERSIONED, f'"resourceVersion":"{version or self.version}"', 1)


@dataclass(frozen=True, slots=True)
class Change:
    """An object became another, came (no ``old``) or went (no ``new``)."""

    version: int
    key: ObjectKey
    old: Item | None
    new: Item | None


class Expired(Exception):  # as its Kubernetes namesake
    """What has changed since a version is not known: it is too old, or none of this view."""


class View:
    """All objects of all resources. ``first`` is above every version of an earlier view."""

    def __init__(self, first: int, *, kept: int = KEPT) -> None:
        self.version = first
        self._kept = kept
        self._first = first
        self._items: dict[Resource, dict[ObjectKey, Item]] = {}
        self._changes: dict[Resource, deque[Change]] = {}
        self._floors: dict[Resource, int] = {}

    def replace(self, resource: Resource, contents: Iterable[Content]) -> None:
        """Make the objects of a resource exactly these."""
        wanted = {one.key: one for one in contents}
        self.retain(resource, wanted.keys())
        for key in sorted(wanted):
            self.put(resource, key, wanted[key])

    def retain(self, resource: Resource, keys: Set[ObjectKey]) -> None:
        """Remove all objects of a resource but these."""
        for key in sorted(self._items.get(resource, {}).keys() - keys):
            self.put(resource, key, None)

    def put(self, resource: Resource, key: ObjectKey, content: Content | None) -> None:
        """Make one object this, or remove it (None); the same again is no change."""
        items = self._items.setdefault(resource, {})
        old = items.get(key)
        if content == (old.content if old is not None else None):
            return
        self.version += 1
        new = Item(content, self.version) if content is not None else None
        if new is not None:
            items[key] = new
        else:
            del items[key]
        changes = self._changes.setdefault(resource, deque())
        changes.append(Change(self.version, key, old, new))
        if len(changes) > self._kept:
            self._floors[resource] = changes.popleft().version

    def get(self, resource: Resource, key: ObjectKey) -> Item | None:
        """One object as it is now."""
        return self._items.get(resource, {}).get(key)

    def items(self, resource: Resource, version: int | None = None) -> list[Item]:
        """All objects, by namespace and name, as they are or as they were at a version. Raises Expired."""
        items = self._items.get(resource, {})
        if version is not None and version != self.version:
            items = dict(items)
            for change in reversed(self.since(resource, version)):
                if change.old is None:
                    del items[change.key]
                else:
                    items[change.key] = change.old
        return [items[key] for key in sorted(items)]

    def since(self, resource: Resource, version: int) -> list[Change]:
        """What has changed after a version, in order. Raises Expired."""
        if not max(self._first, self._floors.get(resource, 0)) <= version <= self.version:
            raise Expired
        changes: list[Change] = []
        for change in reversed(self._changes.get(resource, ())):
            if change.version <= version:
                break
            changes.append(change)
        changes.reverse()
        return changes
