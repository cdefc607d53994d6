"""How much is let through: Envoy's token buckets, one for all or one for each key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from mesh.model.policies import RateLimit, TokenBucket


class Bucket:
    """Begins full; each fill interval since then adds its tokens, never over the most.

    Counted in whole intervals, so that nothing is gained or lost by rounding.
    """

    __slots__ = ("_began_s", "_fills", "_tokens")

    def __init__(self, rule: TokenBucket, now_s: float) -> None:
        self._began_s = now_s
        self._fills = 0
        self._tokens = rule.max_tokens

    def take(self, rule: TokenBucket, now_s: float) -> bool:
        """Take one; False if there is none. A clock that goes back adds nothing."""
        fills = int((now_s - self._began_s) * 1000 / rule.fill_interval_ms)
        if fills > self._fills:
            self._tokens = min(rule.max_tokens, self._tokens + (fills - self._fills) * rule.tokens_per_fill)
            self._fills = fills
        if self._tokens <= 0:
            return False
        self._tokens -= 1
        return True

    def wait_s(self, rule: TokenBucket, now_s: float) -> float:
        """How long until there is one."""
        if self._tokens > 0:
            return 0.0
        return max(0.0, self._began_s + (self._fills + 1) * rule.fill_interval_ms / 1000 - now_s)


class Limiter:
    """The buckets of one rate limit.

    Of keys that are more than ``max_keys`` the one not asked for longest is forgotten: its bucket has had the most time
    to fill.
    """

    __slots__ = ("_buckets", "_rule", "refused")

    def __init__(self, rule: RateLimit) -> None:
        self._rule = rule
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()
        self.refused = 0

    @property
    def rule(self) -> RateLimit:
        """What it goes by."""
        return self._rule

    def __len__(self) -> int:
        return len(self._buckets)

    def admit(self, now_s: float, key: Hashable = "") -> bool:
        """Whether a request of this key may pass; one key for all if the limit is not by key."""
        buckets = self._buckets
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = Bucket(self._rule.bucket, now_s)
            if len(buckets) > max(1, self._rule.max_keys):
                buckets.popitem(last=False)
        else:
            buckets.move_to_end(key)
        if bucket.take(self._rule.bucket, now_s):
            return True
        self.refused += 1
        return False

    def wait_s(self, now_s: float, key: Hashable = "") -> float:
        """How long a key has to wait for its next token (Retry-After)."""
        bucket = self._buckets.get(key)
        return bucket.wait_s(self._rule.bucket, now_s) if bucket else 0.0
