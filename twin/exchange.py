"""What two sites say to each other: rows of the change feed, sessions, acks, digests. Values only, no I/O.

edge                                 cloud
  ── Hello ─────────────────────────>        nonce, and where the edge stands
  <──────────────────────── Welcome ──       the session, and where the cloud stands; or Refusal, and when to come again
  ── Frame (from, upto, rows) ──────>        own slots in tick order
  <──────────────────── Ack (cursor) ──      after the commit; both directions alike
  ── Digests ───────────────────────>        a hash for each twin
  <───────────────────────── Twins ──        the twins that differ, whole
  ── DocumentDigests ───────────────>        what it has of the documents
  <───────────────────── Documents ──        those that the edge lacks, and the names of those that the cloud wants
  ── HistoryFrame ──────────────────>        readings and gaps, behind live state
  <───────────────────── HistoryAck ──       after the commit
  <─────────────────────── Command ──        something to do once, before it expires
  ── CommandDone ───────────────────>        what became of it
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final, NamedTuple, TypeAlias

from twin.document import Slot, Tombstone
from twin.history import Gap, Reading
from twin.model import Section, Site, TwinKey, Value

Place: TypeAlias = tuple[TwinKey, str]
"""Key and uid: one life of a twin."""

FRAME_ROWS: Final = 2000
FRAME_BYTES: Final = 256 * 1024
"""Rows, and bytes of JSON about, of one message at most; one row may be more by itself."""


class Row(NamedTuple):
    """One slot on its way. Sites number their twins each for itself, so a row names its twin by key and uid."""

    key: TwinKey
    uid: str
    section: Section
    property: str
    site: Site
    slot: Slot


class Run(NamedTuple):
    """One start of a store: an id drawn at random, and the least tick that its rows may have."""

    id: str
    first: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a site stands when a session begins."""

    runs: tuple[Run, ...]
    """Its own runs, oldest first."""
    met: frozenset[str]
    """The peer's runs whose rows it has taken."""
    cursor: int
    """How far it has the peer's rows on disk."""
    top: int
    """The greatest tick of the peer's that it holds at all; a digest exchange can bring rows from beyond the cursor."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The edge asks for a session."""

    nonce: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Welcome:
    """The cloud gives one; whatever bears another session's id is dropped from here on."""

    nonce: str
    session: str
    standing: Standing


class RefusedFor(StrEnum):
    """Why the cloud gives no session."""

    BUSY = "busy"  # many gateways come at once: come again
    FENCED = "fenced"  # another gateway with the same id is alive
    REVOKED = "revoked"  # the identity is not, or no longer, known


@dataclass(frozen=True, slots=True)
class Refusal:
    """The cloud's other answer to a Hello: no session now."""

    nonce: str
    why: RefusedFor
    retry_after_s: float
    """The edge asks again after this long and a random part of it more, not sooner."""


@dataclass(frozen=True, slots=True)
class Frame:
    """All of the sender's own slots with from_ < tick <= upto."""

    session: str
    from_: int
    upto: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """The cursor on disk. ``again``: the frame began beyond it and was not taken."""

    session: str
    cursor: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Digests:
    """A page of hashes: one for every twin of the sender with after < place <= upto, in order."""

    session: str
    digests: tuple[tuple[TwinKey, str, bytes], ...]
    recovering: bool = False
    """The sender's store was restored: it wants the twins too that wait for their document."""
    after: Place | None = None
    """None: from the first."""
    upto: Place | None = None
    """None: to the last."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Whole twins, both slots of every leaf: those that differ.

    An ``answer`` to digests names the twins that the answerer wants in return. It is complete up to ``upto``, which may
    be short of the page's own end; the asker goes on from there.
    """

    session: str
    rows: tuple[Row, ...]
    answer: bool = False
    differing: frozenset[Place] = frozenset()
    upto: Place | None = None
    """None: it was the last."""


class DocumentRef(NamedTuple):
    """Names one document: the words of ``twin.manifest.document.Ref``, of any kind, known here or not."""

    kind: str
    namespace: str
    name: str


class DocumentState(NamedTuple):
    """What a site knows of one document: the life that it has, if any, and lives that ended for good."""

    ref: DocumentRef
    uid: str
    """Empty: there is none."""
    generation: int
    hash: str
    """Of the content; ``twin.manifest.catalog.content_hash``."""
    gone: frozenset[str]
    """Uids that were deleted, or lost against another; none of them comes back."""


@dataclass(frozen=True, slots=True)
class DocumentDigests:
    """What the edge has of every document; sent when a session begins, and when the cloud asks for it again."""

    session: str
    states: tuple[DocumentState, ...]
    own: tuple[tuple[TwinKey, str], ...] = ()
    """Key and uid of the twins that the edge makes without a document (kinds mapper and gateway)."""
    summary: str = ""
    """One hash over all states in place of them; where it differs the cloud asks for the states themselves."""


class Shared(dict[str, Value]):
    """The content of a document that many gateways get: its JSON is made once. It must not be changed."""

    @cached_property
    def text(self) -> str:
        """It as it is kept, and as it goes over the line."""
        return json.dumps(self, separators=(",", ":"), allow_nan=False)


class DocumentRow(NamedTuple):
    """One document on its way: what is known of it, and its content (None: there is none)."""

    state: DocumentState
    raw: Mapping[str, Value] | None


@dataclass(frozen=True, slots=True)
class Documents:
    """Documents that differ or have changed, and which ones the sender wants in return. Either side sends them."""

    session: str
    rows: tuple[DocumentRow, ...] = ()
    wanted: tuple[DocumentRef, ...] = ()


class SeriesReadings(NamedTuple):
    """Readings, or gaps, of one property of one twin."""

    key: TwinKey
    uid: str
    property: str
    readings: tuple[Reading, ...] = ()
    gaps: tuple[Gap, ...] = ()
    """Totals of what is missing, one for each cause; each replaces the one of the same cause that was sent before."""


@dataclass(frozen=True, slots=True)
class HistoryFrame:
    """A piece of the edge's history. ``from_`` and ``upto`` are places in the log ``log``, in the edge's own words."""

    session: str
    log: str
    from_: str
    upto: str
    series: tuple[SeriesReadings, ...]


@dataclass(frozen=True, slots=True)
class HistoryAck:
    """How far the history is on the cloud's disk; an empty place is the beginning. Also said once after Welcome."""

    session: str
    log: str
    upto: str


@dataclass(frozen=True, slots=True)
class Command:
    """Desired values to be written at the edge, once, and only before ``expires_at`` (milliseconds since 1970).

    What runs at most once is the command with this id, however often it is sent.
    """

    session: str
    id: str
    expires_at: int
    key: TwinKey
    desired: Mapping[str, Value]
    by: str


class Outcome(StrEnum):
    """What became of a command."""

    DONE = "done"
    REFUSED = "refused"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class CommandDone:
    """The end of a command; sent again with each sending of the command, until the cloud sends it no more."""

    session: str
    id: str
    outcome: Outcome
    code: str = ""
    message: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Alive:
    """Said by each side when it has said nothing else for a while; keeps the lease of the session."""

    session: str


@dataclass(frozen=True, slots=True)
class Ask:
    """The cloud wants the edge to begin: a new session (its own is not known any more), or digests of documents."""

    session: str
    hello: bool = False
    documents: bool = False


Message: TypeAlias = Hello | Welcome | Frame | Ack | Digests | Twins
"""Messages of the feed."""
SyncMessage: TypeAlias = (
    Message | Refusal | DocumentDigests | Documents | HistoryFrame | HistoryAck | Command | CommandDone | Alive | Ask
)
"""All that goes over the line between a gateway and the cloud."""


def digest(rows: Iterable[Row]) -> bytes:
    """A hash over all slots of one twin, the overruled ones included; the order of the rows does not matter."""
    lines = sorted(
        json.dumps(
            [
                row.section,
                row.property,
                row.site,
                row.slot.tick,
                row.slot.seen,
                isinstance(row.slot.value, Tombstone),
                None if isinstance(row.slot.value, Tombstone) else row.slot.value,
                row.slot.by,
                row.slot.at,
                row.slot.quality,
                row.slot.reason,
            ],
            sort_keys=True,
        )
        for row in rows
    )
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).digest()


def portion(rows: Iterable[Row], *, max_rows: int = FRAME_ROWS, max_bytes: int = FRAME_BYTES) -> list[Row]:
    """The first rows that fit into one message; at least one, if there is any."""
    found: list[Row] = []
    left_bytes = max_bytes
    for row in rows:
        left_bytes -= size_of(row)
        if found and (left_bytes < 0 or len(found) == max_rows):
            break
        found.append(row)
    return found


def size_of(row: Row) -> int:
    """About how many bytes of JSON a row takes."""
    value = row.slot.value
    if isinstance(value, str):
        return _ROW_BYTES + len(value)
    return _ROW_BYTES + (len(json.dumps(value, ensure_ascii=False)) if isinstance(value, dict | list) else 8)


_ROW_BYTES: Final = 40
