"""What moved in the last minute: rates, unsent leaves, and which properties changed how. Pure: bodies and times in."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from twin.model import Quality
from twin.wire.api import LeafBody, StatusReply, TwinBody

SPAN_MS: Final = 60_000
"""How far back a pulse remembers."""
MAX_POINTS: Final = 240
"""Of one property in that time; older ones go first."""


class Number(NamedTuple):
    """A number and when it held, in milliseconds."""

    at: int
    number: float


@dataclass(frozen=True, slots=True)
class Moving:
    """One property as it is now, and how it moved. ``changes`` are those seen in the span."""

    twin: str
    name: str
    leaf: LeafBody | None
    desired: LeafBody | None
    waits: bool
    changes: int
    numbers: tuple[Number, ...]

    @property
    def well(self) -> bool:
        """Whether its value can be trusted and is the one that is wanted."""
        return not self.waits and (self.leaf is None or self.leaf.quality is Quality.GOOD)


@dataclass(slots=True)
class _Trail:
    at: int = -1
    seen: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_POINTS))
    numbers: deque[Number] = field(default_factory=lambda: deque(maxlen=MAX_POINTS))


class Pulse:
    """Remembers a minute of what a gateway said of itself and of its twins."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, StatusReply]] = deque()
        self._twins: dict[str, TwinBody] = {}
        self._trails: dict[tuple[str, str], _Trail] = {}

    def status(self, reply: StatusReply, now_ms: int) -> None:
        """Take how the gateway is now. A hub that has started anew counts from zero, so what was before goes."""
        if self._counts and self._counts[-1][1].started_at != reply.started_at:
            self._counts.clear()
        self._counts.append((now_ms, reply))
        while self._counts[0][0] < now_ms - SPAN_MS:
            self._counts.popleft()

    def twins(self, bodies: Iterable[TwinBody], gone: Iterable[str], now_ms: int, *, initial: bool = False) -> None:
        """Take twins as they are now; what is told at the start is no change."""
        for body in bodies:
            self._twins[body.twin] = body
            for name, leaf in body.reported.items():
                self._follow(self._trails.setdefault((body.twin, name), _Trail()), leaf, now_ms, initial)
        for twin in gone:
            if twin in self._twins:
                for name in self._twins.pop(twin).reported:
                    self._trails.pop((twin, name), None)

    def values_s(self) -> list[Number]:
        """Values a second that the gateway took, between each two times that it was asked."""
        return self._rates([(at, reply.updates) for at, reply in self._counts])

    def reports_s(self) -> list[Number]:
        """The same of reports."""
        return self._rates([(at, reply.reports) for at, reply in self._counts])

    def unsent(self) -> list[Number]:
        """Leaves that the cloud has not got yet."""
        return [Number(at, reply.sync.unsent) for at, reply in self._counts if reply.sync is not None]

    def last(self) -> StatusReply | None:
        """How the gateway was when it was asked last."""
        return self._counts[-1][1] if self._counts else None

    def moving(self, now_ms: int) -> list[Moving]:
        """Every property: first what is not as it should be, then what moves most."""
        found = [self._moving(body, name, now_ms) for body in self._twins.values() for name in _names(body)]
        return sorted(found, key=lambda one: (one.well, -one.changes, one.twin, one.name))

    def _moving(self, body: TwinBody, name: str, now_ms: int) -> Moving:
        trail = self._trails.get((body.twin, name), _Trail())
        since = now_ms - SPAN_MS
        return Moving(
            body.twin,
            name,
            body.reported.get(name),
            body.desired.get(name),
            waits=name in body.delta,
            changes=sum(at >= since for at in trail.seen),
            numbers=tuple(one for one in trail.numbers if one.at >= since),
        )

    @staticmethod
    def _follow(trail: _Trail, leaf: LeafBody, now_ms: int, initial: bool) -> None:
        if leaf.at == trail.at:
            return
        trail.at = leaf.at
        if not initial:
            trail.seen.append(now_ms)
        if isinstance(leaf.value, int | float) and not isinstance(leaf.value, bool):
            trail.numbers.append(Number(now_ms, float(leaf.value)))

    @staticmethod
    def _rates(counts: Sequence[tuple[int, int]]) -> list[Number]:
        return [
            Number(at, (now - then) * 1000 / (at - before))
            for (before, then), (at, now) in itertools.pairwise(counts)
            if at > before
        ]


def _names(body: TwinBody) -> list[str]:
    return sorted(body.reported.keys() | body.desired.keys())
