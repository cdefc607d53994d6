"""What an engine keeps on disk, as types, and what it asks of the place where it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from twin.document import Slot
from twin.exchange import Row, Run
from twin.model import Section, Site, TwinKey, TwinSpec

if TYPE_CHECKING:
    from twin.outbound import Outlet  # memory that only gateways with pushes should pay


class TwinRow(NamedTuple):
    """A twin without its leaves. ``id`` is the store's own and is never given twice."""

    id: int
    spec: TwinSpec
    version: int
    documented: bool = True
    """False while its document has not come: the spec is only key and uid then."""


class LeafKey(NamedTuple):
    """Place of one slot."""

    twin: int
    section: Section
    property: str
    site: Site


class NoteKey(NamedTuple):
    """Place of one note: a few words that a dialect keeps in the commit of the leaves they belong to."""

    owner: str
    name: str


class KeptReading(NamedTuple):
    """A reading for the history: twin, property, and the slot that it made or repeated."""

    twin: int
    property: str
    slot: Slot


class PushedReading(NamedTuple):
    """A reading for one push: twin, property, the way out, and the slot that it made or repeated."""

    key: TwinKey
    property: str
    outlet: Outlet
    slot: Slot


@dataclass(slots=True)
class Batch:
    """What one transaction writes. Later writes of one place replace earlier ones, so each place costs one row."""

    twins: dict[int, TwinRow] = field(default_factory=dict)
    reported: dict[tuple[int, str], Slot] = field(default_factory=dict)
    desired: dict[tuple[int, str, Site], Slot] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    """The version of every twin that has leaves here."""
    dropped: set[int] = field(default_factory=set)
    """Twins to delete with all their leaves, those of this batch too."""
    tick: int = 0
    """The site's last tick."""
    cursors: dict[Site, int] = field(default_factory=dict)
    """How far each peer's rows are on disk with this batch."""
    runs: dict[tuple[Site, str], int] = field(default_factory=dict)
    """First ticks of runs: our own new one, or a peer's that was met."""
    notes: dict[NoteKey, str | None] = field(default_factory=dict)
    """What others keep beside the twins; None deletes."""
    readings: list[KeptReading] = field(default_factory=list)
    """What goes into the history, in the order of ticks."""
    pushed: list[PushedReading] = field(default_factory=list)
    """What goes into the queues of pushes."""

    def __bool__(self) -> bool:
        return bool(
            self.twins
            or self.reported
            or self.desired
            or self.dropped
            or self.cursors
            or self.runs
            or self.notes
            or self.readings
            or self.pushed
        )


@dataclass(frozen=True, slots=True)
class FeedState:
    """What the store knows of the feed, by site."""

    runs: dict[Site, tuple[Run, ...]]
    """Oldest first."""
    cursors: dict[Site, int]
    tops: dict[Site, int]
    """The greatest tick of each site that is held."""


class Store(Protocol):
    """Where an engine keeps its twins."""

    def load(self) -> tuple[list[TwinRow], int]:
        """All twins, and the site's last tick."""
        ...

    def leaves(self, twins: Iterable[int] | None = None) -> Iterator[tuple[LeafKey, Slot, int]]:
        """Slots with the version they were written in: of the given twins, or of all."""
        ...

    def rows_after(self, site: Site, tick: int, limit: int) -> list[Row]:
        """The slots of one site with a greater tick, in tick order, at most so many."""
        ...

    def count_after(self, site: Site, tick: int) -> tuple[int, int]:
        """How many slots of one site have a greater tick, and the least of those; 0 if there is none."""
        ...

    def feed(self) -> FeedState:
        """Runs and cursors."""
        ...

    def notes(self, owner: str) -> dict[str, str]:
        """The notes of one owner, by name."""
        ...

    def write(self, batch: Batch) -> None:
        """Put the batch on disk. Raises StoreError; then nothing of the batch is there."""
        ...

    def close(self) -> None:
        """Let go of the files."""
        ...
