"""What two sites say to each other: rows of the change feed, sessions, acks, digests. Values only, no I/O.

edge                                 cloud
  ── Hello ─────────────────────────>        nonce, and where the edge stands
  <──────────────────────── Welcome ──       the session, and where the cloud stands
  ── Frame (from, upto, rows) ──────>        own slots in tick order
  <──────────────────── Ack (cursor) ──      after the commit; both directions alike
  ── Digests ───────────────────────>        a hash for each twin
  <───────────────────────── Twins ──        the twins that differ, whole
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from twin.document import Slot, Tombstone
from twin.model import Section, Site, TwinKey


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
    """A hash for every twin of the sender."""

    session: str
    digests: tuple[tuple[TwinKey, str, bytes], ...]
    recovering: bool = False
    """The sender's store was restored: it wants the twins too that wait for their document."""


@dataclass(frozen=True, slots=True)
class Twins:
    """Whole twins, both slots of every leaf: those that differ.

    An ``answer`` to digests, complete in one message, names the twins that the answerer wants in return.
    """

    session: str
    rows: tuple[Row, ...]
    answer: bool = False
    differing: frozenset[tuple[TwinKey, str]] = frozenset()


Message: TypeAlias = Hello | Welcome | Frame | Ack | Digests | Twins


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
