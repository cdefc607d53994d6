"""A copy of one resource of the cluster, as lists and watches tell of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cloudsync.kube.client import Event, Listing
from cloudsync.kube.objects import KubeObject, Place


class Mirror:
    """What is known of a resource. It stands as it is while the API server is away."""

    def __init__(self) -> None:
        self._objects: dict[Place, KubeObject] = {}
        self.version = ""
        """Where to go on from; empty: nothing is known, or it has to be listed again."""
        self.listed = False
        """Whether all of it was ever known."""

    def __iter__(self) -> Iterator[KubeObject]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, place: Place) -> KubeObject | None:
        """One object."""
        return self._objects.get(place)

    def take_listing(self, listing: Listing) -> list[tuple[KubeObject | None, KubeObject | None]]:
        """Take all of it; each change as (before, after)."""
        after = {one.place: one for one in listing.objects}
        changed = []
        for place in dict.fromkeys((*self._objects, *after)):
            old, new = self._objects.get(place), after.get(place)
            if old is None or new is None or (old.uid, old.version) != (new.uid, new.version):
                changed.append((old, new))
        self._objects = after
        self.version = listing.version
        self.listed = True
        return changed

    def take_event(self, event: Event) -> list[tuple[KubeObject | None, KubeObject | None]]:
        """Take one line of a watch; the change as (before, after), none for a mark."""
        self.version = event.version or self.version
        one = event.object
        if one is None:
            return []
        old = self._objects.get(one.place)
        if event.gone:
            self._objects.pop(one.place, None)
            return [(old, None)] if old is not None else []
        if old is not None and (old.uid, old.version) == (one.uid, one.version):
            return []
        self._objects[one.place] = one
        return [(old, one)]

    def take_written(self, one: KubeObject) -> None:
        """Take the answer to a write of ours, unless the watch has told of it, or of more, already."""
        old = self._objects.get(one.place)
        if old is not None and old.uid == one.uid and is_later(one.version, old.version):
            self._objects[one.place] = one

    def forget_version(self) -> None:
        """Have it listed again."""
        self.version = ""


def is_later(version: str, other: str) -> bool:
    """Whether a version is later; versions are numbers that rise, in every API server there is."""
    return version.isdecimal() and other.isdecimal() and int(version) > int(other)
