"""Who is told of changes once they are on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from twin.model import Section, TwinKey
from twin.resident import ResidentTwin
from twin.store import Batch

log = logging.getLogger(__name__)

Watcher = Callable[[TwinKey, frozenset[tuple[Section, str]]], None]
"""Told after a commit: which twin, and which properties; none when the twin itself was made, changed or removed.

Told after a failed commit too, when the twin has gone back to what is on disk. Neither watcher may raise.
"""
DeltaWatcher = Callable[[TwinKey], None]


class Watchers:
    """The watchers of one engine; one that fails is logged and keeps no other from being told."""

    def __init__(self, twins: Mapping[int, ResidentTwin]) -> None:
        self._twins = twins
        self._all: list[Watcher] = []
        self._of_deltas: list[DeltaWatcher] = []
        self._of_commits: list[Callable[[], None]] = []

    def __len__(self) -> int:
        """How many watch all changes."""
        return len(self._all)

    def add(self, watcher: Watcher) -> Callable[[], None]:
        """Tell the watcher of every change; returns how to stop."""
        self._all.append(watcher)
        return lambda: self._all.remove(watcher)

    def add_for_deltas(self, watcher: DeltaWatcher) -> Callable[[], None]:
        """Tell the watcher of each twin whose delta may have changed; returns how to stop."""
        self._of_deltas.append(watcher)
        return lambda: self._of_deltas.remove(watcher)

    def add_for_commits(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Tell the watcher of each commit; returns how to stop."""
        self._of_commits.append(watcher)
        return lambda: self._of_commits.remove(watcher)

    def tell_commit(self) -> None:
        """Tell that a commit is on disk, or may be."""
        for tell in tuple(self._of_commits):
            tell()

    def tell(self, batch: Batch) -> None:
        """Tell what a batch has changed."""
        if not self._all:
            return
        changed: dict[int, set[tuple[Section, str]]] = {twin_id: set() for twin_id in batch.versions}
        for twin_id, name in batch.reported:
            changed[twin_id].add((Section.REPORTED, name))
        for twin_id, name, _ in batch.desired:
            changed[twin_id].add((Section.DESIRED, name))
        for twin_id, names in changed.items():
            twin = self._twins[twin_id]
            if not twin.documented:
                continue
            key = twin.spec.key
            for tell in tuple(self._all):
                try:
                    tell(key, frozenset(names))
                except Exception:  # a supervisor boundary: a watcher must not keep others from their answers
                    log.exception("a watcher of %s failed", key)

    def tell_deltas(self, twins: Iterable[int], *, but: Collection[int]) -> None:
        """Tell of those twins whose delta was touched; those of ``but`` keep waiting."""
        for twin_id in twins:
            twin = self._twins[twin_id]
            if not twin.delta_touched or not twin.documented or twin_id in but:
                continue
            twin.delta_touched = False
            for tell in tuple(self._of_deltas):
                try:
                    tell(twin.spec.key)
                except Exception:  # as above
                    log.exception("a watcher of the delta of %s failed", twin.spec.key)
