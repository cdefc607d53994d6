"""Full jitter, the one rule of how long to wait before trying again."""

from __future__ import annotations

import random


class Backoff:
    """Waits drawn evenly from 0 to a ceiling that starts at ``base_s`` and doubles up to ``cap_s``.

    Full jitter spreads a herd better than a doubled wait with a little noise: AWS, "Exponential Backoff And Jitter".
    """

    def __init__(self, base_s: float, cap_s: float, rng: random.Random) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._rng = rng
        self._ceiling_s = base_s

    def next_s(self) -> float:
        """Seconds to wait now; the ceiling doubles for the next call."""
        ceiling_s = min(self._ceiling_s, self._cap_s)
        self._ceiling_s = min(ceiling_s * 2, self._cap_s)
        return self._rng.uniform(0.0, ceiling_s)

    def reset(self) -> None:
        """Start again from ``base_s``."""
        self._ceiling_s = self._base_s
