"""All twins of a site in memory: those that documents name, and those whose document has not come yet."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from weakref import WeakValueDictionary

from twin.document import Leaf, Slot
from twin.model import Section, Site, TwinKey, TwinSpec
from twin.resident import ResidentTwin, Rules
from twin.store import Batch, LeafKey, NoteKey, TwinRow

log = logging.getLogger(__name__)

OWNER: Final = "engine"
"""Owner of the notes that are kept here: the next id, and the last version of every twin that was removed."""
MAX_AWAITED: Final = 10_000
"""Twins that wait for their document at most; the one that waits longest goes first."""

_NEXT_ID: Final = "next id"


class Residents:
    """The twins by key and by id. Rows of the other site may come before the document, or after it is gone.

    Such a twin waits aside, on disk too: nobody is shown it, and a document with its key and uid takes it as it is.
    """

    def __init__(self, max_awaited: int = MAX_AWAITED) -> None:
        self._max_awaited = max_awaited
        self.known: dict[TwinKey, ResidentTwin] = {}
        """The twins that documents name."""
        self.by_id: dict[int, ResidentTwin] = {}
        """The same, those that wait, and those that were dropped in a commit which has not ended."""
        self._awaited: dict[tuple[TwinKey, str], ResidentTwin] = {}
        self._next_id = 1
        self._versions: dict[TwinKey, int] = {}
        self._rules: WeakValueDictionary[object, Rules] = WeakValueDictionary()

    def load(self, row: TwinRow) -> ResidentTwin:
        """Take a twin from the store, still without leaves."""
        twin = ResidentTwin(row, self._rules_of(row.spec))
        self._place(twin)
        return twin

    def remember(self, notes: Mapping[str, str]) -> None:
        """Take the notes from the store, before any twin is made."""
        self._next_id = max(self._next_id, int(notes.get(_NEXT_ID, "1")))
        self._versions = {TwinKey.parse(name): int(text) for name, text in notes.items() if name != _NEXT_ID}

    def take(self, leaves: Iterable[tuple[LeafKey, Slot, int]]) -> dict[Site, int]:
        """Put slots from the store, each with its twin's version, where they belong; the greatest tick of each site."""
        tops = dict.fromkeys(Site, 0)
        for place, slot, version in leaves:
            twin = self.by_id.get(place.twin)
            if twin is None:
                continue
            if place.section is Section.REPORTED:
                twin.reported[place.property] = slot
            else:
                leaf = twin.desired.get(place.property, Leaf())
                twin.desired[place.property] = leaf.with_slot(place.site, slot)
            twin.version = max(twin.version, version)
            tops[place.site] = max(tops[place.site], slot.tick)
        return tops

    def find(self, key: TwinKey, uid: str) -> ResidentTwin | None:
        """The twin with this uid, whether it is known or waits."""
        twin = self.known.get(key)
        return twin if twin is not None and twin.spec.uid == uid else self._awaited.get((key, uid))

    def define(self, spec: TwinSpec, batch: Batch) -> ResidentTwin:
        """The twin of a document: the known one, the one that waited for it, or a new one; with the spec given."""
        twin = self.known.get(spec.key)
        if twin is not None and twin.spec.uid != spec.uid:
            self.drop(twin, batch)
            twin = None
        if twin is None:
            twin = self._awaited.pop((spec.key, spec.uid), None) or self._made(spec)
            twin.documented = True
            self._place(twin)
        twin.respec(spec, self._rules_of(spec))
        return twin

    def awaiting(self, key: TwinKey, uid: str, batch: Batch) -> ResidentTwin:
        """Make a twin whose document has not come yet, or that needs none."""
        twin = self._made(TwinSpec(key, uid))
        twin.documented = twin.spec.open  # a kind of its own nature needs none
        self._place(twin)
        batch.twins[twin.id] = twin.row
        if len(self._awaited) > self._max_awaited:
            oldest = next(iter(self._awaited.values()))
            log.warning("%s waits for its document no longer, %d others do", oldest.spec.key, self._max_awaited)
            self.drop(oldest, batch)
        return twin

    def drop(self, twin: ResidentTwin, batch: Batch) -> None:
        """Forget a twin, but not its version and id, so that neither is ever given again."""
        key = twin.spec.key
        if twin.documented:
            del self.known[key]
        else:
            del self._awaited[key, twin.spec.uid]
        twin.delta_touched = True
        self._versions[key] = max(self._versions.get(key, 0), twin.version)
        batch.dropped.add(twin.id)
        batch.versions.setdefault(twin.id, twin.version)

    def seal(self, batch: Batch) -> None:
        """Put the notes of what this batch drops into it."""
        for twin_id in batch.dropped:
            key = self.by_id[twin_id].spec.key
            batch.notes[NoteKey(OWNER, str(key))] = str(self._versions[key])
            batch.notes[NoteKey(OWNER, _NEXT_ID)] = str(self._next_id)

    def __iter__(self) -> Iterator[ResidentTwin]:
        """Those that are known and those that wait."""
        yield from self.known.values()
        yield from self._awaited.values()

    def _made(self, spec: TwinSpec) -> ResidentTwin:
        # Beyond the last version of a twin that bore the same key, so that no client's precondition fits by accident.
        version = self._versions.get(spec.key, -1) + 1
        return ResidentTwin(TwinRow(self._next_id, spec, version), self._rules_of(spec))

    def _place(self, twin: ResidentTwin) -> None:
        if twin.documented:
            self.known[twin.spec.key] = twin
        else:
            self._awaited[twin.spec.key, twin.spec.uid] = twin
        self.by_id[twin.id] = twin
        self._next_id = max(self._next_id, twin.id + 1)

    def _rules_of(self, spec: TwinSpec) -> Rules:
        """The rules of the spec; twins of one model share them, as they share most of what a model says."""
        known = self._rules.get(id(spec.properties))
        if known is not None and known.properties is spec.properties:
            return known
        specs = spec.properties.values()
        said = (tuple(specs), tuple(type(value) for one in specs for value in one.enum))  # 1 equals true
        try:
            rules = self._rules.get(said)
        except TypeError:  # an enum of arrays or objects has no hash
            return Rules(spec.properties)
        if rules is None:
            rules = self._rules[said] = self._rules[id(spec.properties)] = Rules(spec.properties)
        return rules
