"""Which poll class is due when: fixed phase, no drift, missed cycles skipped and counted. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from math import floor, inf
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Schedule(Generic[K]):
    """Poll classes by period. Each has slots at phase + n * period; a slot that passes unused is an overrun."""

    def __init__(self) -> None:
        self._entries: dict[K, _Entry] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._pushed = 0
        self.overruns = 0
        """Slots that passed because an earlier call took too long."""

    def add(self, key: K, cycle_ms: int, now_s: float) -> None:
        """Add a poll class; its first slot is now."""
        self._entries[key] = _Entry(cycle_ms / 1000, phase_s=now_s, at=now_s)
        self._push(key, now_s)

    def remove(self, key: K) -> None:
        """Forget a poll class; unknown ones are no error."""
        self._entries.pop(key, None)

    def hasten(self, key: K, now_s: float) -> None:
        """Make a poll class due now; its phase stays."""
        self._entries[key].at = now_s
        self._push(key, now_s)

    def pop(self, now_s: float) -> K | None:
        """Take the poll class that is due longest and move it to its next slot; None when nothing is due."""
        while self._heap and self._heap[0][0] <= now_s:
            at, _, key = heapq.heappop(self._heap)
            entry = self._entries.get(key)
            if entry is None or entry.at != at:  # removed or moved since
                continue
            slot = floor((now_s - entry.phase_s) / entry.cycle_s)
            if at == entry.phase_s + entry.slot * entry.cycle_s:  # its own slot, however the division was rounded
                slot = max(slot, entry.slot)
            if entry.phase_s + (slot + 1) * entry.cycle_s <= now_s:
                slot += 1
            self.overruns += max(0, slot - entry.slot)
            entry.slot = slot + 1
            entry.at = entry.phase_s + entry.slot * entry.cycle_s
            self._push(key, entry.at)
            return key
        return None

    def next_at(self) -> float:
        """When the next poll class is due; infinite when there is none."""
        while self._heap:
            at, _, key = self._heap[0]
            entry = self._entries.get(key)
            if entry is not None and entry.at == at:
                return at
            heapq.heappop(self._heap)
        return inf

    def _push(self, key: K, at: float) -> None:
        self._pushed += 1  # ties are served in the order they were pushed, keys need no order
        heapq.heappush(self._heap, (at, self._pushed, key))


class _Entry:
    __slots__ = ("at", "cycle_s", "phase_s", "slot")

    def __init__(self, cycle_s: float, phase_s: float, at: float) -> None:
        self.cycle_s = cycle_s
        self.phase_s = phase_s
        self.at = at
        self.slot = 0
        """Number of the slot that is to be served next."""
