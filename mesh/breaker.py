"""The circuit breaker of one service: when most of what is asked fails, it is spared for a while.

closed ──errorPercent of at least minRequests──> open ──openTime──> half open ──as many trials answered──> closed
                                                  ^                     │
                                                  └──────one fails──────┘
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from mesh.model.policies import CircuitBreaker

PARTS: Final = 10
"""The interval moves on by tenths."""


class BreakerState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "halfOpen"


# Asked for at each request; a look into the Enum takes longer than the rest.
_CLOSED: Final = BreakerState.CLOSED
_HALF_OPEN: Final = BreakerState.HALF_OPEN


class Breaker:
    """Counts how tries end, and says whether another may begin."""

    __slots__ = ("_answered", "_errors", "_part", "_requests", "_rule", "_since_s", "_trials", "opened", "state")

    def __init__(self, rule: CircuitBreaker) -> None:
        self._rule = rule
        self.state = BreakerState.CLOSED
        self.opened = 0
        """How often it has opened."""
        self._since_s = 0.0
        self._trials = 0
        self._answered = 0
        self._part = -1
        self._requests = [0] * PARTS
        self._errors = [0] * PARTS

    @property
    def rule(self) -> CircuitBreaker:
        """What it goes by; another rule takes effect at once, what was counted stays."""
        return self._rule

    @rule.setter
    def rule(self, rule: CircuitBreaker) -> None:
        if rule.interval_ms != self._rule.interval_ms:
            self._forget()
        self._rule = rule

    def admits(self, now_s: float) -> bool:
        """Whether a request may be sent."""
        if self.state is _CLOSED:
            return True
        # Trials that never end must not keep it half open for good: after openTime there are new ones.
        if now_s - self._since_s >= self._rule.open_ms / 1000:
            self.state = _HALF_OPEN
            self._since_s = now_s
            self._trials = self._answered = 0
        return self.state is _HALF_OPEN and self._trials < self._rule.trials

    def began(self) -> None:
        """A request is sent."""
        if self.state is _HALF_OPEN:
            self._trials += 1

    def ended(self, now_s: float, *, failed: bool) -> None:
        """How a request went."""
        if self.state is _CLOSED:
            self._count(now_s, failed=failed)
        elif self.state is _HALF_OPEN:
            if failed:
                self._open(now_s)
                return
            self._answered += 1
            if self._answered >= self._rule.trials:
                self._forget()
                self.state = _CLOSED

    def _count(self, now_s: float, *, failed: bool) -> None:
        part = int(now_s * 1000 * PARTS / self._rule.interval_ms)
        if part > self._part:
            for gone in range(max(self._part + 1, part - PARTS + 1), part + 1):
                self._requests[gone % PARTS] = self._errors[gone % PARTS] = 0
            self._part = part
        at = self._part % PARTS
        self._requests[at] += 1
        if not failed:
            return
        self._errors[at] += 1
        requests = sum(self._requests)
        if requests >= self._rule.min_requests and sum(self._errors) * 100 >= self._rule.error_percent * requests:
            self._open(now_s)

    def _open(self, now_s: float) -> None:
        self.state = BreakerState.OPEN
        self.opened += 1
        self._since_s = now_s

    def _forget(self) -> None:
        self._part = -1
        self._requests = [0] * PARTS
        self._errors = [0] * PARTS
