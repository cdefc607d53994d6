"""A digital input as a person means it: active high or low, without bounces, its edges counted. Pure.

raw ──active low──> level ──stable for the debounce time──> settled ──edge──> count
"""

from __future__ import annotations

from enum import StrEnum


class Edge(StrEnum):
    """Which changes of a level are counted."""

    RISING = "rising"
    FALLING = "falling"
    BOTH = "both"


class Contact:
    """One input. Times are of any clock that only rises."""

    def __init__(self, *, active_low: bool = False, debounce_s: float = 0.0, edge: Edge | None = None) -> None:
        self._active_low = active_low
        self._debounce_s = debounce_s
        self._edge = edge
        self._level: bool | None = None
        self._candidate: bool | None = None
        self._since_s = 0.0
        self._count = 0

    @property
    def known(self) -> bool:
        """Whether there was a level since it was forgotten."""
        return self._level is not None

    @property
    def value(self) -> bool | int:
        """The settled level, or the count of edges."""
        return bool(self._level) if self._edge is None else self._count

    @property
    def due_s(self) -> float | None:
        """When ``settle`` is to be called, if a level is on trial."""
        return None if self._candidate is None else self._since_s + self._debounce_s

    def take(self, raw: bool, now_s: float) -> bool:
        """Take a raw level; whether the value changed."""
        level = raw is not self._active_low
        if self._level is None:
            self._level = level
            return True
        changed = self.settle(now_s)
        if level is self._level:
            self._candidate = None
        elif self._candidate is None:
            self._candidate, self._since_s = level, now_s
            changed = self.settle(now_s) or changed
        return changed

    def settle(self, now_s: float) -> bool:
        """Take a level on trial for settled if it was there long enough; whether the value changed."""
        if self._candidate is None or now_s < self._since_s + self._debounce_s:
            return False
        self._level, self._candidate = self._candidate, None
        counted = self._edge is Edge.BOTH or self._edge is (Edge.RISING if self._level else Edge.FALLING)
        self._count += counted
        return counted or self._edge is None

    def missed(self, edges: int, raw: bool) -> None:
        """Count edges that nobody saw, after which the raw level was so: they alternate, away from the last level."""
        away, back = (edges + 1) // 2, edges // 2
        if self._edge is Edge.BOTH:
            self._count += edges
        elif self._edge is not None:
            self._count += away if self._edge is (Edge.FALLING if self._level else Edge.RISING) else back
        self._level, self._candidate = raw is not self._active_low, None

    def forget(self) -> None:
        """Know no level any more; the count stays, and what happens meanwhile is no edge."""
        self._level = self._candidate = None
