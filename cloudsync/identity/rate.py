"""How often one address may ask: a bucket for each, and one for all. Pure but for the clock that it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_ADDRESSES: Final = 10_000
ALL: Final = 20
"""So many times what one address may, all may together."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_s: float


class RateLimit:
    """Token buckets that fill within a minute."""

    def __init__(self, per_minute: int, monotonic_s: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._monotonic_s = monotonic_s
        self._buckets: dict[str, _Bucket] = {}
        self._all = _Bucket(per_minute * ALL, monotonic_s())

    def allows(self, address: str) -> bool:
        """Whether this address may ask now; if so, it has."""
        now_s = self._monotonic_s()
        if address not in self._buckets and len(self._buckets) >= MAX_ADDRESSES:
            self._buckets = {name: one for name, one in self._buckets.items() if now_s - one.at_s < 60.0}
            if len(self._buckets) >= MAX_ADDRESSES:
                return False
        own = self._buckets.setdefault(address, _Bucket(self._per_minute, now_s))
        if not self._take(own, self._per_minute, now_s):
            return False
        return self._take(self._all, self._per_minute * ALL, now_s)

    def _take(self, bucket: _Bucket, size: int, now_s: float) -> bool:
        bucket.tokens = min(size, bucket.tokens + (now_s - bucket.at_s) * size / 60.0)
        bucket.at_s = now_s
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True
