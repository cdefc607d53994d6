"""How fast gateways may come back: a bucket of tokens, and a place in the line for those who find it empty. Pure."""

from __future__ import annotations


class Pacing:
    """So many sessions begin each second, with a burst; the others are told when to come again.

    Each refused gateway is given the next free place in time, so that a fleet comes back at the rate that is wanted and
    not all at once when a common wait is over.
    """

    def __init__(self, *, rate_hz: float, burst: int, max_wait_s: float) -> None:
        self._rate_hz = rate_hz
        self._burst = burst
        self._max_wait_s = max_wait_s
        self._tokens = float(burst)
        self._at_s = 0.0
        self._promised_s = 0.0

    def retry_after_s(self, now_s: float) -> float:
        """0: go on; otherwise ask again after so many seconds."""
        self._tokens = min(float(self._burst), self._tokens + (now_s - self._at_s) * self._rate_hz)
        self._at_s = now_s
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        self._promised_s = max(self._promised_s, now_s) + 1.0 / self._rate_hz
        if self._promised_s - now_s > self._max_wait_s:
            self._promised_s = now_s + 1.0 / self._rate_hz
        return self._promised_s - now_s
