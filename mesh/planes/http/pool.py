"""Connections to endpoints that stay open between requests, by upstream and endpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Final

from mesh.limits import Limiter
from mesh.model.policies import RateLimit
from mesh.upstream import Target, Upstream, Upstreams

if TYPE_CHECKING:
    from mesh.planes.http.exchange_state import ExchangeState
    from mesh.planes.http.origin import OriginConnection

_IDLE_PER_TARGET: Final = 256


class Pool:
    """The connections of one upstream, and who waits until fewer are in use."""

    __slots__ = ("idle", "most", "open", "upstream", "waiting")

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.idle: dict[Target, list[OriginConnection]] = {}
        self.open = 0
        """Those that are being made included."""
        self.most = 0
        """So many there may be; 0: any number."""
        self.waiting: deque[ExchangeState] = deque()

    def take(self, target: Target) -> OriginConnection | None:
        """An idle connection to an endpoint, the one used last."""
        idle = self.idle.get(target)
        while idle:
            origin = idle.pop()
            if origin.usable:
                return origin
        return None

    def home(self, target: Target) -> list[OriginConnection]:
        """Where connections to an endpoint rest."""
        return self.idle.setdefault(target, [])

    def put(self, origin: OriginConnection, now_s: float) -> None:
        """Keep a connection that has nothing to do, or close it if enough are kept."""
        home = origin.home
        if len(home) >= _IDLE_PER_TARGET or (self.most and self.open > self.most):
            origin.close()
        else:
            origin.idle_since_s = now_s
            home.append(origin)

    def make_room(self) -> None:
        """Close an idle connection if a new one would be one too many."""
        if self.most and self.open >= self.most:
            for idle in self.idle.values():
                if idle:
                    idle.pop(0).close()
                    return

    def wake(self, now_s: float) -> None:
        """Something ended: let the first of those who wait ask again."""
        if self.waiting:
            self.waiting.popleft().ask_again(now_s)

    def sweep(self, now_s: float) -> None:
        """Close what was idle for too long, and what leads to endpoints that are gone."""
        longest_s = self.upstream.group.policy.pool.idle_timeout_ms / 1000
        for target, idle in list(self.idle.items()):
            gone = self.upstream.targets.get(target.endpoint.place) is not target
            kept = [] if gone else [one for one in idle if one.usable and now_s - one.idle_since_s < longest_s]
            for origin in idle:
                if origin not in kept:
                    origin.close()
            idle[:] = kept
            if gone:
                del self.idle[target]

    def close(self) -> None:
        """Close all that is idle."""
        for idle in self.idle.values():
            for origin in idle:
                origin.close()
            idle.clear()


class Pools:
    """All pools and buckets of a process."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams
        self._pools: dict[Upstream, Pool] = {}
        self._limiters: dict[Hashable, Limiter] = {}

    def all(self) -> Iterable[Pool]:
        """Every one."""
        return self._pools.values()

    def of(self, upstream: Upstream) -> Pool:
        """The pool of an upstream."""
        pool = self._pools.get(upstream)
        if pool is None:
            pool = self._pools[upstream] = Pool(upstream)
        return pool

    def limiter(self, owner: Hashable, rule: RateLimit | None) -> Limiter | None:
        """The buckets of a route or service: one for all its rules, new only if its limit is another."""
        if rule is None:
            self._limiters.pop(owner, None)
            return None
        limiter = self._limiters.get(owner)
        if limiter is None or limiter.rule != rule:
            limiter = self._limiters[owner] = Limiter(rule)
        return limiter

    def sweep(self, now_s: float) -> None:
        """Close what is not wanted any more, and forget the pools of upstreams that are gone."""
        for upstream, pool in list(self._pools.items()):
            if self.upstreams.get(upstream.key) is upstream:
                pool.sweep(now_s)
            else:
                pool.close()
                if not pool.open:
                    del self._pools[upstream]

    def close(self) -> None:
        """Close all that is idle."""
        for pool in self._pools.values():
            pool.close()
