"""A site's own counter: stamp, sequence number and cursor position at once."""

from __future__ import annotations


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
