"""Objects and their revisions: what etcd is to a real API server."""

import asyncio
import copy
import uuid
from collections import deque
from typing import NamedTuple

KEPT = 10_000


class Key(NamedTuple):
    """Where one object lies."""

    group: str
    plural: str
    namespace: str
    name: str


class Change(NamedTuple):
    """One write. ``before`` is None for a new object, ``after`` for one that is gone."""

    revision: int
    key: Key
    before: dict | None
    after: dict | None
    last: dict
    """The object as it is told: ``after``, or the last of it with the revision of its end."""


class TooOld(Exception):
    """The changes since then are compacted."""


class Store:
    """All objects; one owner, the server's loop."""

    def __init__(self):
        self.revision = 1
        self.compacted = 0
        self.objects: dict[Key, dict] = {}
        self.changes: deque[Change] = deque()
        self.snapshots: dict[str, tuple[int, list[dict]]] = {}
        self.news = asyncio.Event()

    def put(self, key: Key, new: dict) -> dict:
        before = self.objects.get(key)
        self.revision += 1
        after = copy.deepcopy(new)
        after["metadata"]["resourceVersion"] = str(self.revision)
        self.objects[key] = after
        self._note(Change(self.revision, key, before, after, after))
        return after

    def remove(self, key: Key) -> dict:
        before = self.objects.pop(key)
        self.revision += 1
        last = copy.deepcopy(before)
        last["metadata"]["resourceVersion"] = str(self.revision)
        self._note(Change(self.revision, key, before, None, last))
        return last

    def all(self, group, plural, namespace=""):
        found = [
            (key, one)
            for key, one in self.objects.items()
            if key.group == group and key.plural == plural and namespace in ("", key.namespace)
        ]
        return [one for _, one in sorted(found, key=lambda pair: pair[0])]

    def since(self, revision: int) -> list[Change]:
        """Later changes, oldest first. Raises TooOld."""
        if revision < self.compacted:
            raise TooOld
        later = []
        for change in reversed(self.changes):
            if change.revision <= revision:
                break
            later.append(change)
        return later[::-1]

    def compact(self) -> None:
        """Forget all but the present."""
        self.compacted = self.revision
        self.changes.clear()
        self.snapshots.clear()

    def keep(self, rest: list[dict]) -> str:
        """Keep the rest of a list for its next page."""
        token = uuid.uuid4().hex
        self.snapshots[token] = (self.revision, rest)
        return token

    def _note(self, change: Change) -> None:
        self.changes.append(change)
        while len(self.changes) > KEPT:
            self.compacted = self.changes.popleft().revision
        self.news.set()
        self.news = asyncio.Event()
