"""The live side of a port of a service: which endpoint is next, what is known of each, what may be asked of it now.

Planes call, in this order:  admit -> pick -> began -> (stood) -> ended  (and pick again, with ``tried``, for another
try). One object for each port, shared by the planes of a process; everything is called from its event loop.

    levels    here, in the zone, the rest; each first as far as it is fresh, then the stale; last what is going away.
              The nearest level with anything in it is used alone; if all are out, all are used (panic).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from mesh import outlier
from mesh.balance import Balancer, balancer
from mesh.breaker import Breaker, BreakerState
from mesh.model.programme import BackendGroup
from mesh.model.services import Endpoint, Origin, PortKey
from mesh.retry import Retries
from mesh.target import Outcome, Target, Trial

__all__ = ["Here", "Outcome", "Refusal", "Target", "Upstream", "Upstreams"]

# Looking a member up in its Enum takes as long as all the rest of what is done here for a request.
_OK: Final = Outcome.OK
_ABANDONED: Final = Outcome.ABANDONED
_CLOSED: Final = BreakerState.CLOSED
_NONE: Final = Trial.NONE
_WAITING: Final = Trial.WAITING
_RUNNING: Final = Trial.RUNNING
_COLDEST: Final = 0.1
"""Share of its weight with which a new endpoint begins to warm up."""
_STALE: Final = 3


class Refusal(Enum):
    """Why nothing may be asked of a service right now."""

    BREAKER_OPEN = "breakerOpen"
    OVER_CONNECTIONS = "maxConnections"
    OVER_REQUESTS = "maxRequests"
    NO_ENDPOINT = "noEndpoint"


@dataclass(frozen=True, slots=True)
class Here:
    """Where this gateway is; empty: not said."""

    node: str = ""
    zone: str = ""

    def level(self, endpoint: Endpoint) -> int:
        """How far away an endpoint is: 0 here, 1 in the zone, 2 the rest."""
        if endpoint.origin is Origin.HERE or (self.node and endpoint.node == self.node):
            return 0
        return 1 if self.zone and endpoint.zone == self.zone else 2


class Upstream:
    """One port of a service. Times are seconds of the monotonic clock."""

    def __init__(self, group: BackendGroup, rng: Random, here: Here = Here()) -> None:
        self.group = group
        self.here = here
        self.active = 0
        """Requests or connections under way."""
        self.retries = Retries()
        self.breaker: Breaker | None = None
        self.ejections = 0
        """How often an endpoint was ejected."""
        self.failures = 0
        """Tries that no endpoint answered."""
        self.changes = 0
        """Grows whenever endpoints are treated in another way."""
        self.on_change: Callable[[Upstream], None] | None = None
        """Told when other endpoints are in use than before; for planes that choose outside this process."""
        self._rng = rng
        self._targets: dict[str, Target] = {}
        self._pool: tuple[Target, ...] = ()
        self._balancer: Balancer | None = None
        self._due_s = -math.inf
        self._panic = False
        self._bounded = False
        self.update(group)

    @property
    def key(self) -> PortKey:
        """The port."""
        return self.group.key

    @property
    def targets(self) -> Mapping[str, Target]:
        """All endpoints by place."""
        return self._targets

    @property
    def breaker_state(self) -> BreakerState:
        """Where its breaker stands; closed if it has none."""
        return self.breaker.state if self.breaker else BreakerState.CLOSED

    @property
    def panic(self) -> bool:
        """All or too many are out, and all are used."""
        return self._panic

    def in_use(self, now_s: float) -> tuple[Target, ...]:
        """The endpoints among which the next is chosen."""
        if now_s >= self._due_s:
            self._choose_pool(now_s)
        return self._pool

    # -- what is told ----------------------------------------------------------------------------------------------

    def update(self, group: BackendGroup) -> None:
        """Take other endpoints or another policy; what is known of endpoints that stay is kept."""
        known = self._targets
        self.group = group
        self._targets = {}
        for endpoint in group.endpoints:
            target = known.get(endpoint.place) or Target(endpoint)
            target.endpoint = endpoint
            if not known:
                target.known_s = -math.inf  # none is newer than the others: there is nothing to warm up against
            self._targets[endpoint.place] = target
        self._bounded = bool(group.policy.pool.max_connections or group.policy.pool.max_requests)
        rule = group.policy.breaker
        if rule is None:
            self.breaker = None
        elif self.breaker is None:
            self.breaker = Breaker(rule)
        else:
            self.breaker.rule = rule
        self.changes += 1
        self._due_s = -math.inf

    def probed(self, place: str, now_s: float, *, alive: bool) -> None:
        """What an active probe found. One that has come back to life is risked at once, even if it was ejected."""
        target = self._targets.get(place)
        if target is None or target.probe_failed == (not alive):
            return
        target.probe_failed = not alive
        if alive and target.ejected:
            target.ejected_until_s = min(target.ejected_until_s, now_s)
        self._due_s = -math.inf
        if self.on_change is not None:
            self._choose_pool(now_s)  # where others choose, nobody may ask us for a long time

    # -- what is asked: the hot path -------------------------------------------------------------------------------

    def admit(self, now_s: float) -> Refusal | None:
        """Whether another request may be sent at all; None: yes."""
        if not self._targets:
            return Refusal.NO_ENDPOINT
        breaker = self.breaker
        if breaker is not None and breaker.state is not _CLOSED and not breaker.admits(now_s):
            return Refusal.BREAKER_OPEN
        if not self._bounded:
            return None
        pool = self.group.policy.pool
        if pool.max_connections and self.active >= pool.max_connections:
            return Refusal.OVER_CONNECTIONS
        if pool.max_requests and self.active >= pool.max_requests:
            return Refusal.OVER_REQUESTS
        return None

    def pick(self, now_s: float, key: int | None = None, tried: Collection[Target] = ()) -> Target | None:
        """The endpoint for the next try; ``key`` is a hash for consistent balancing. None: none is left."""
        if now_s >= self._due_s:
            self._choose_pool(now_s)
        if self._balancer is None:
            return None
        target = self._balancer.choose(key)
        if target.trial is not _RUNNING and target not in tried:
            return target
        return next((one for one in self._others(key) if one not in tried), None)

    def usual(self, now_s: float) -> Target | None:
        """Admit, pick and began in one, for a request without a key while nothing is out of the ordinary; each call
        counts where tens of thousands come in a second. None: ask one after the other.
        """
        breaker = self.breaker
        if now_s >= self._due_s or self._bounded or (breaker is not None and breaker.state is not _CLOSED):
            return None
        balancer = self._balancer
        if balancer is None:
            return None
        target = balancer.choose(None)
        if target.trial is not _NONE:
            if target.trial is _RUNNING:
                return None
            target.trial = _RUNNING  # its turn has come: passed over now, of two endpoints it would be for ever
        target.active += 1
        self.active += 1
        return target

    def began(self, target: Target, now_s: float) -> None:
        """A request or connection is on its way to it."""
        del now_s
        target.active += 1
        self.active += 1
        if target.trial is _WAITING:
            target.trial = _RUNNING
        if self.breaker is not None:
            self.breaker.began()

    def stood(self, target: Target) -> None:
        """The connection stands, which is all that a plane sees of an endpoint whose bytes it does not read."""
        target.local_failures = 0
        if target.trial is not Trial.NONE or (target.ejected and self._panic):
            self._take_back(target)

    def ended(self, target: Target, outcome: Outcome, now_s: float, took_s: float) -> None:
        """How it went; ``took_s`` until the response began, or the connection stood."""
        del took_s
        target.active -= 1
        self.active -= 1
        if self.breaker is not None and outcome is not _ABANDONED:
            self.breaker.ended(now_s, failed=outcome is not _OK)
        if outcome is _OK:
            if target.marked and (self._panic or not target.ejected):
                self._take_back(target)
        elif outcome is _ABANDONED:
            if target.trial is _RUNNING:
                target.trial = _WAITING
        else:
            self._failed(target, outcome, now_s)

    # -- the rest --------------------------------------------------------------------------------------------------

    def _take_back(self, target: Target) -> None:
        """It answered: nothing is held against it any more. While all are out, that counts for an ejected one too."""
        if target.ejected or target.trial is not Trial.NONE:
            self._due_s = -math.inf
        outlier.answered(target)

    def _failed(self, target: Target, outcome: Outcome, now_s: float) -> None:
        if outcome in outlier.LOCAL:
            target.failures += 1
            self.failures += 1
        rule = self.group.policy.outlier
        # One that is gone from the set, or out already, is not ejected once more.
        if rule is None or target.ejected or self._targets.get(target.place) is not target:
            target.trial = Trial.NONE
            return
        if not outlier.counted(rule, target, outcome):
            return
        ejected = sum(1 for one in self._targets.values() if one.ejected)
        if outlier.room(rule, ejected, len(self._targets)):
            outlier.eject(rule, target, now_s)
            self.ejections += 1
        else:
            target.trial = Trial.NONE
        self._due_s = -math.inf

    def _choose_pool(self, now_s: float) -> None:
        """Work out who is in use until something changes or the time comes for one that is out."""
        before = self._pool
        self.changes += 1
        self._due_s = math.inf
        self._return_ejected(now_s)
        usable = self._usable()
        self._warm_up(usable, now_s)
        usable = [target for target in usable if target.weight > 0]
        clean = [target for target in usable if not target.out and target.trial is Trial.NONE]
        self._panic = bool(usable) and outlier.too_few(self.group.policy.outlier, len(clean), len(usable))
        if not self._panic:
            nearest = min((target.level for target in clean), default=0)
            usable = [target for target in usable if not target.out and target.level <= nearest]
        self._pool = tuple(usable)
        self._balancer = balancer(self.group.policy.balancer, usable, self._rng) if usable else None
        if self.on_change is not None and self._pool != before:
            self.on_change(self)

    def _return_ejected(self, now_s: float) -> None:
        off = self.group.policy.outlier is None
        for target in self._targets.values():
            if not target.ejected:
                continue
            if off or now_s >= target.ejected_until_s:
                outlier.taken_back(target, now_s)
            else:
                self._due_s = min(self._due_s, target.ejected_until_s)

    def _usable(self) -> list[Target]:
        """Those which say that they are ready, else those that serve while they go away; each with its level."""
        every = self._targets.values()
        usable = [one for one in every if one.endpoint.ready and not one.endpoint.terminating]
        if not usable:
            usable = [one for one in every if one.endpoint.serving and one.endpoint.terminating]
        for target in usable:
            near = self.here.level(target.endpoint) if self.group.policy.balancer.locality else 0
            target.level = near + (_STALE if target.endpoint.stale else 0)
        return usable

    def _warm_up(self, usable: Iterable[Target], now_s: float) -> None:
        warmup_s = self.group.policy.balancer.warmup_ms / 1000
        for target in usable:
            if target.known_s is None:
                target.known_s = now_s
            target.weight = float(target.endpoint.weight)
            age_s = now_s - target.known_s
            if age_s < warmup_s:
                target.weight *= max(_COLDEST, age_s / warmup_s)
                self._due_s = min(self._due_s, now_s + warmup_s * _COLDEST)

    def _others(self, key: int | None) -> Iterator[Target]:
        """All that can be tried, best first: those in use, then the other levels, last those that are out."""
        seen = set()
        if self._balancer is not None:
            for target in self._balancer.order(key):
                if target.trial is not Trial.RUNNING:
                    seen.add(target)
                    yield target
        for target in sorted(self._usable(), key=lambda one: (one.out, one.level)):
            if target not in seen and target.weight > 0:
                yield target


class Upstreams:
    """All upstreams of a process; planes look them up by port at each use, so that a change is seen at once."""

    def __init__(self, rng: Random, here: Here = Here()) -> None:
        self._rng = rng
        self._here = here
        self._all: dict[PortKey, Upstream] = {}
        self.on_change: Callable[[Upstream], None] | None = None
        """Given to each upstream that is made from then on."""
        self.version = 0
        """Another one whenever upstreams came or went: who keeps one looks it up anew then."""

    def get(self, key: PortKey) -> Upstream | None:
        """The upstream of a port; None: there is none (any more)."""
        return self._all.get(key)

    def all(self) -> Iterable[Upstream]:
        """Every one."""
        return self._all.values()

    def apply(self, changed: Iterable[BackendGroup], gone: Iterable[PortKey]) -> None:
        """Take what is new or other, drop what is gone."""
        for group in changed:
            known = self._all.get(group.key)
            if known is None:
                self.version += 1
                made = self._all[group.key] = Upstream(group, self._rng, self._here)
                made.on_change = self.on_change
            else:
                known.update(group)
        for key in gone:
            if self._all.pop(key, None) is not None:
                self.version += 1
