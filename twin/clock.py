"""Time as a value that comes in from outside, so that a simulated week runs in a second."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps, monotonic time for waits. The two never mix."""

    def now_us(self) -> int:
        """Microseconds of wall clock since 1970; may step either way."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only rise."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now_us(self) -> int:
        """Microseconds of wall clock since 1970."""
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        """Seconds since some fixed point, never stepping back."""
        return time.monotonic()
