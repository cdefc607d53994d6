"""Readings on their way to other systems, as types and pure rules.

report ──same commit as its leaves──> queue of each push ──delivered──> deleted
                                          └──too old, no space──> dropped, and a gap says so
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

from twin.history import Gap, Reading
from twin.history_pack import pack, unpack
from twin.model import Quality, Reason, TwinKey, Value

PACKED: Final = 2048
"""Readings of a chunk."""
ROW_BYTES: Final = 96
"""What a reading that is not packed is counted as."""
CHUNK_BYTES: Final = 64


class Outlet(NamedTuple):
    """One way out of a property: the queue, what is said with each reading, and the push's own word for where."""

    queue: str
    unit: str = ""
    route: str = ""


Outlets = Mapping[TwinKey, Mapping[str, tuple[Outlet, ...]]]
"""The ways out of every property that is pushed."""


class QueuedReading(NamedTuple):
    """One reading as it waits. ``tick`` names it: it rises within a queue, and no two have the same."""

    tick: int
    namespace: str
    device: str
    property: str
    unit: str
    route: str
    at: int
    value: Value
    quality: Quality = Quality.GOOD
    reason: Reason = Reason.NONE


class Row(NamedTuple):
    """One reading of a queue as it is packed: its series by number."""

    series: int
    reading: Reading


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a queue may hold, and how far it was delivered: ``cursor`` is a tick."""

    cursor: int
    max_bytes: int
    max_age_ms: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in a queue. ``since_ms`` is when the oldest arrived, 0 if nothing waits."""

    readings: int
    since_ms: int
    size_bytes: int
    gaps: tuple[Gap, ...] = ()

    @property
    def dropped(self) -> int:
        """How many were dropped since the queue was made."""
        return sum(gap.readings for gap in self.gaps)


def pack_rows(rows: Sequence[Row]) -> bytes:
    """Pack rows in the order of ticks."""
    numbers = [row.series for row in rows]
    series = zlib.compress(json.dumps(_differences(numbers), separators=(",", ":")).encode())
    return len(series).to_bytes(4) + series + pack([row.reading for row in rows])


def unpack_rows(packed: bytes) -> list[Row]:
    """Read them back. Raises ValueError for bytes that are not packed rows."""
    size = int.from_bytes(packed[:4])
    try:
        numbers = accumulate(json.loads(zlib.decompress(packed[4 : 4 + size])))
        return [Row(*pair) for pair in zip(numbers, unpack(packed[4 + size :]), strict=True)]
    except (zlib.error, TypeError) as error:
        message = f"packed readings do not unpack: {error}"
        raise ValueError(message) from None


def arrived_ms(tick: int) -> int:
    """When a reading arrived, by its tick."""
    return tick // 1000


def too_old_tick(now_ms: int, max_age_ms: int) -> int:
    """Readings with a lesser tick are over the age."""
    return max(0, now_ms - max_age_ms) * 1000


def added(gap: Gap | None, more: Gap) -> Gap:
    """One gap of two of the same cause."""
    if gap is None:
        return more
    return Gap(min(gap.first, more.first), max(gap.last, more.last), gap.readings + more.readings, gap.why)


def _differences(numbers: list[int]) -> list[int]:
    return numbers[:1] + [later - earlier for earlier, later in pairwise(numbers)]
