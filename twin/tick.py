"""A site's own counter: stamp, sequence number and cursor position at once."""

from __future__ import annotations

from typing import Final

FAR_US: Final = 86_400_000_000
"""A tick further ahead of the clock than a day means that a clock is, or was, wrong."""


class Ticker:
    """Hands out ticks: at least the wall clock in microseconds, and always more than the last one.

    ``last`` is read back from the store at start, so that ticks rise over restarts whatever the clock does.
    """

    __slots__ = ("last",)

    def __init__(self, last: int = 0) -> None:
        self.last = last

    def floor(self, now_us: int) -> int:
        """The number that the next tick follows by one; the caller counts up and stores its last tick in ``last``."""
        return max(self.last, now_us - 1)

    def take(self, now_us: int) -> int:
        """One tick."""
        self.last = self.floor(now_us) + 1
        return self.last


def clock_alarm(whose: str, last: int, now_us: int) -> str:
    """What to tell of a site whose ticks are far ahead of this clock; empty if they are not."""
    ahead_us = last - now_us
    if ahead_us <= FAR_US:
        return ""
    days = ahead_us // FAR_US
    return f"{whose} ticks are {days} days ahead of this clock: one of the clocks is, or was, wrong; nothing is refused"
