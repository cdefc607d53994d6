"""History as types and pure rules: what a reading and a gap are, what thinning keeps, what limits allow.

readings ──report──> tail ──packed──> spans ──too old, no space──> dropped or thinned, and a gap says so
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

from twin.model import Quality, Reason, TwinKey, Value

GROUP: Final = 4
"""Neighbours of which thinning keeps two."""
MAX_THINNED: Final = 4
"""Times that a span is thinned; at its next turn it is dropped."""
STEP_MS: Final = 3_600_000
HOLD_S: Final = 86_400.0


class Reading(NamedTuple):
    """One reading of one property. ``at`` is the source's time in milliseconds, ``tick`` the order of arrival."""

    at: int
    tick: int
    value: Value
    quality: Quality = Quality.GOOD
    reason: Reason = Reason.NONE


class Why(StrEnum):
    """Why readings are missing."""

    AGE = "age"  # older than the property's, or the gateway's, greatest age
    SPACE = "space"  # the oldest made room for newer ones
    THIN = "thin"  # thinned out: others of the same time are still there
    DAMAGE = "damage"  # changed by the disk: their checksum does not fit


class Gap(NamedTuple):
    """Readings that were dropped: how many between two times, both included."""

    first: int
    last: int
    readings: int
    why: Why


class Cursor(NamedTuple):
    """Place of the last reading of a page."""

    at: int
    tick: int


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """Which readings: of one property of one twin, between two times in milliseconds, both included."""

    key: TwinKey
    uid: str
    property: str
    since: int
    until: int
    limit: int
    after: Cursor | None = None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Readings in the order of (at, tick); ``more`` if the limit left some out. Gaps that touch the time asked for."""

    readings: tuple[Reading, ...]
    gaps: tuple[Gap, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept. ``max_age_ms`` is for properties that give none; ``min_free_bytes`` stay free for the twins."""

    max_bytes: int
    max_age_ms: int
    min_free_bytes: int


class History(Protocol):
    """Where readings are kept."""

    def read(self, query: HistoryQuery) -> HistoryPage:
        """Readings that are on disk. May be called from any thread. Raises StoreError."""
        ...

    def tend(self, limits: Limits, *, now_ms: int | None, free_bytes: int, flush: bool) -> bool:
        """Do one small piece of what keeps the limits; whether there is more to do. Raises StoreError.

        ``now_ms`` None drops nothing by age; ``flush`` packs the tail however short it is. Runs between commits.
        """
        ...


def thinned(readings: Sequence[Reading]) -> list[Reading]:
    """Half of the readings, which must be in order: of each four neighbours the least and the greatest number.

    Of neighbours without numbers the first and the last. Besides them the first and the last of all stay, and each
    reading whose quality or reason is not that of the one before.
    """
    kept = {0, len(readings) - 1} if readings else set()
    kept |= {
        place
        for place, (before, one) in enumerate(pairwise(readings), start=1)
        if (before.quality, before.reason) != (one.quality, one.reason)
    }
    for start in range(0, len(readings), GROUP):
        kept |= _of_group(readings, range(start, min(start + GROUP, len(readings))))
    return [readings[place] for place in sorted(kept)]


def worth_thinning(before: int, after: int) -> bool:
    """Whether a span that went from so many readings to so many is shorter by a quarter at least."""
    return after <= before * 3 // 4


def allowed_bytes(limits: Limits, *, used_bytes: int, free_bytes: int) -> int:
    """How much history may take right now: on a disk that runs full it gives way, for the twins come first."""
    missing = max(0, limits.min_free_bytes - free_bytes)
    return max(0, min(limits.max_bytes, used_bytes - missing)) if missing else limits.max_bytes


def joined(gaps: Iterable[Gap]) -> list[Gap]:
    """One gap for each cause, the earliest first."""
    found: dict[Why, Gap] = {}
    for gap in gaps:
        had = found.get(gap.why, gap._replace(readings=0))
        first, last = min(had.first, gap.first), max(had.last, gap.last)
        found[gap.why] = Gap(first, last, had.readings + gap.readings, gap.why)
    return sorted(found.values())


def merged(runs: Iterable[tuple[int, Iterable[Reading]]]) -> Iterator[Reading]:
    """Readings of runs that may overlap, in order. Each run comes with its first time; runs come in order of it."""
    held: list[Reading] = []
    for first, run in runs:
        ready = [one for one in held if one.at < first]
        if ready:
            yield from ready
            held = held[len(ready) :]
        held = sorted([*held, *run], key=_place)
    yield from held


class AgeClock:
    """Says what time it is for the age limit, or that the clock is not to be believed yet.

    A clock that steps ahead by more than an hour, or is a day beyond the newest reading at the start, may be wrong:
    nothing is dropped by age until it has gone on from there for a day. A clock that is behind drops nothing anyway.
    """

    def __init__(self, newest_ms: int | None) -> None:
        self._newest_ms = newest_ms
        self._last: tuple[int, float] | None = None
        self._doubted_until_s = 0.0

    def now_ms(self, wall_ms: int, monotonic_s: float) -> int | None:
        """The time, or None while it is in doubt."""
        if self._last is None:
            newest = self._newest_ms
            stepped = newest is not None and wall_ms - newest > HOLD_S * 1000
            self._doubted_until_s = monotonic_s
        else:
            wall_before_ms, before_s = self._last
            stepped = abs(wall_ms - wall_before_ms - (monotonic_s - before_s) * 1000) > STEP_MS
        self._last = (wall_ms, monotonic_s)
        if stepped:
            self._doubted_until_s = monotonic_s + HOLD_S
        return wall_ms if monotonic_s >= self._doubted_until_s else None


def _place(reading: Reading) -> tuple[int, int]:
    return reading.at, reading.tick


def _of_group(readings: Sequence[Reading], places: range) -> set[int]:
    numbers = [place for place in places if type(readings[place].value) in (int, float)]
    if not numbers:
        return {places[0], places[-1]}
    return {min(numbers, key=lambda place: _number(readings[place])), max(numbers, key=lambda p: _number(readings[p]))}


def _number(reading: Reading) -> float:
    assert isinstance(reading.value, int | float)
    return reading.value
