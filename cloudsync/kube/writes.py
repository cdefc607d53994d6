"""How fast the API server is written to: a bucket of tokens, and turns among those who wait. Pure.

What waits is a name, not a value: whoever gets a turn writes what is true then, so a value that changes a hundred times
meanwhile is written once, as the newest. Names of one kind take turns in the order in which they first waited, and the
kinds take turns among themselves, so that neither many devices nor one that changes all the time holds up another.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import StrEnum
from typing import Generic, TypeVar

N = TypeVar("N", bound=Hashable)


class Lane(StrEnum):
    """The kinds of writes that take turns."""

    PODS = "pods"
    DEVICES = "devices"


class Writes(Generic[N]):
    """What waits to be written."""

    def __init__(self, *, rate_hz: float, burst: int) -> None:
        self._rate_hz = rate_hz
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at_s: float | None = None
        self._waiting: dict[Lane, dict[N, None]] = {lane: {} for lane in Lane}
        self._turn = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def want(self, lane: Lane, name: N) -> None:
        """Wait for a turn; one that waits already keeps its place."""
        self._waiting[lane].setdefault(name)

    def forget(self, lane: Lane, name: N) -> None:
        """Wait no more."""
        self._waiting[lane].pop(name, None)

    def due(self, now_s: float) -> tuple[Lane, N] | None:
        """Whose turn it is; None if nobody waits, or it is too early. It is taken out: a failed write waits again."""
        self._fill(now_s)
        if self._tokens < 1.0:
            return None
        lanes = list(Lane)
        for step in range(len(lanes)):
            lane = lanes[(self._turn + step) % len(lanes)]
            if self._waiting[lane]:
                name = next(iter(self._waiting[lane]))
                del self._waiting[lane][name]
                self._turn = (lanes.index(lane) + 1) % len(lanes)
                return lane, name
        return None

    def spend(self) -> None:
        """A write was made; looking whether there was anything to write costs nothing."""
        self._tokens -= 1.0

    def wait_s(self, now_s: float) -> float | None:
        """When to ask again; None if nobody waits."""
        if not len(self):
            return None
        self._fill(now_s)
        return max(0.0, (1.0 - self._tokens) / self._rate_hz)

    def _fill(self, now_s: float) -> None:
        before_s = now_s if self._at_s is None else self._at_s
        self._tokens = min(self._burst, self._tokens + max(0.0, now_s - before_s) * self._rate_hz)
        self._at_s = now_s
