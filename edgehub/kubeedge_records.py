"""What the KubeEdge dialect keeps of each device, in memory and as notes in the commit of the leaves they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from twin.clock import Clock
from twin.commit import Commit
from twin.dialects.kubeedge import Twins, restored
from twin.dialects.kubeedge_record import Record, completed, erased, follow, notes_of, records_from
from twin.document import TwinDocument
from twin.engine import TwinEngine
from twin.model import TwinKey, TwinSpec

OWNER: Final = "kubeedge"


@dataclass(slots=True)
class _Group:
    """A commit on its way, and the records as they were before it: in memory, and on disk."""

    commit: Commit
    before: dict[TwinKey, tuple[Record | None, Record | None]] = field(default_factory=dict)


class Records:
    """The records of all devices of one gateway."""

    def __init__(self, engine: TwinEngine, clock: Clock, *, strict: bool) -> None:
        self._engine = engine
        self._clock = clock
        self._strict = strict
        self._now: dict[TwinKey, Record] = {}
        self._noted: dict[TwinKey, Record] = {}
        """As they are on disk, or in a commit on its way there."""
        self._groups: list[_Group] = []

    def load(self) -> None:
        """Take what is on disk; before the documents make the twins. Raises StoreError."""
        for place, record in records_from(self._engine.notes(OWNER)).items():
            key = TwinKey.parse(place)
            self._noted[key] = record
            self._now[key] = record._replace(twins=restored(record.twins)) if self._strict else record

    def completed(self, spec: TwinSpec) -> TwinSpec:
        """The spec of a device with the properties that messages added."""
        record = self._now.get(spec.key)
        return spec if record is None or record.uid != spec.uid else completed(spec, record)

    def known(self, key: TwinKey) -> Record | None:
        """The record that is kept; None if there is none."""
        return self._now.get(key)

    def before(self, key: TwinKey, document: TwinDocument) -> Twins:
        """The twins as they were told last; those of a device that was never told had no values."""
        known = self._now.get(key)
        if known is not None and known.uid == document.spec.uid:
            return known.twins
        return follow(Record(document.spec.uid), TwinDocument(document.spec, 0), 0).twins

    def followed(self, key: TwinKey) -> tuple[Record, TwinDocument]:
        """The record with all that others changed, and the twin. Raises UnknownTwin."""
        record, document = self.seen(key)
        self._now[key] = record
        return record, document

    def seen(self, key: TwinKey) -> tuple[Record, TwinDocument]:
        """The same, without keeping it: a device that nobody asks for in this way costs no memory."""
        document = self._engine.document(key)
        record = self._now.get(key)
        if record is None or record.uid != document.spec.uid:
            record = Record(document.spec.uid)
        return follow(record, document, self._clock.now_us() // 1000), document

    def keep(self, key: TwinKey, record: Record) -> None:
        """Keep a record in memory only."""
        self._now[key] = record

    def note(self, key: TwinKey, record: Record) -> Commit | None:
        """Keep a record in the commit that collects now; None if that is what is on disk already.

        If the commit fails, the record goes back to what is on disk before anyone who waits for the commit is told.
        """
        noted = self._noted.get(key)
        commit: Commit | None = None
        for name, text in notes_of(key, noted, record):
            commit = self._engine.note(OWNER, name, text)
        if commit is not None:
            if not self._groups or self._groups[-1].commit is not commit:
                group = _Group(commit)
                self._groups.append(group)
                commit.on_end(lambda _: self._on_end(group))
            self._groups[-1].before.setdefault(key, (self._now.get(key), noted))
            self._noted[key] = record
        self._now[key] = record
        return commit

    def commit_of(self, key: TwinKey) -> Commit | None:
        """The last commit on its way with something of this device."""
        return next((group.commit for group in reversed(self._groups) if key in group.before), None)

    def forget_all_but(self, keys: Iterable[TwinKey]) -> None:
        """Erase the records of devices that are gone."""
        gone = {*self._now, *self._noted}.difference(keys)
        for key in sorted(gone):
            self._now.pop(key, None)
            noted = self._noted.pop(key, None)
            for name, text in erased(key, noted) if noted is not None else ():
                self._engine.note(OWNER, name, text)

    def _on_end(self, group: _Group) -> None:
        self._groups.remove(group)
        if group.commit.failure is None:
            return
        for key, (record, noted) in group.before.items():
            for kept, old in ((self._now, record), (self._noted, noted)):
                if old is None:
                    kept.pop(key, None)
                else:
                    kept[key] = old
