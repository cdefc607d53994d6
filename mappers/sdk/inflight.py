"""Which properties of a twin were sent but are not known to be on the hub's disk. Pure."""

from __future__ import annotations

from math import inf
from random import Random
from typing import Final

from mappers.sdk.report import Changes

WINDOW: Final = 16
"""Reports a device may have unacknowledged one by one; beyond, only the names of their properties are kept."""

_FIRST_WAIT_S: Final = 2.0
_LONGEST_WAIT_S: Final = 16.0  # a hub that commits rarely (SD card) answers late; it must not be flooded meanwhile


class InFlight:
    """Reports that wait for their ack, and when to stop waiting.

    A later report of the same property replaces an earlier one, so memory is bounded by the window and the number of
    properties. When a wait is over everything is sent again with its newest values; waits double up to 16 s.
    """

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._reports: dict[int, Changes] = {}
        self._lost: set[str] = set()
        self._waits = 0
        self._is_back = False
        self.due_at = inf
        """When what is unacknowledged is to be sent again; infinite when all is stored."""

    def sent(self, report_id: int, changes: Changes, now_s: float) -> int | None:
        """Note a report; returns the id that is no longer followed because the window is full."""
        if self.due_at == inf:
            wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**self._waits)
            self.due_at = now_s + wait_s * (1 + self._rng.random() / 4)
        self._reports[report_id] = changes
        if len(self._reports) <= WINDOW:
            return None
        oldest = next(iter(self._reports))
        self._lost |= self._reports.pop(oldest).names() - changes.names()
        return oldest

    def acked(self, report_id: int, now_s: float) -> None:
        """Note that a report is stored, or refused for good."""
        changes = self._reports.pop(report_id, None)
        if changes is None:
            return
        if self._lost:
            self._lost -= changes.names()
        if not self._reports and not self._lost:
            self.due_at = inf
        elif self._waits:
            self.due_at = now_s  # the hub is back: what it missed goes at once, once
            self._is_back = True
        self._waits = 0

    def reclaim(self) -> tuple[set[str], list[int]]:
        """Give up waiting: the properties to send again, and the report ids that are no longer followed."""
        names = self._lost.union(*(changes.names() for changes in self._reports.values()))
        ids = list(self._reports)
        self._reports.clear()
        self._lost = set()
        self._waits = 0 if self._is_back else min(self._waits + 1, 8)
        self._is_back = False
        self.due_at = inf
        return names, ids
