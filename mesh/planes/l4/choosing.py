"""What raw connections and datagram flows are chosen by alike: rate limits, turns of backends, stays of clients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Final

from mesh.balance import Turns, key_hash
from mesh.limits import Limiter
from mesh.model.policies import Balance, KeyKind, RateLimit
from mesh.model.routes import Backend, Rule
from mesh.model.services import PortKey
from mesh.planes.l4.affinity import Affinity
from mesh.target import Target
from mesh.upstream import Upstream

_KEPT: Final = 4096
"""Limiters and turns of rules that are not there any more fall out at the end."""


class Choosing:
    """The memory behind the choices of a process. Of keys to limit by there is only the client's address."""

    def __init__(self, rng: Random, clock: Callable[[], float]) -> None:
        self._rng = rng
        self._clock = clock
        self._limiters: OrderedDict[tuple[PortKey, RateLimit], Limiter] = OrderedDict()
        self._turns: OrderedDict[Rule, Turns[Backend]] = OrderedDict()
        self._affinities: OrderedDict[PortKey, Affinity] = OrderedDict()

    def allows(self, port: PortKey, rule: RateLimit | None, client: str) -> bool:
        """Whether a rate limit lets this client through now; that takes a token."""
        if rule is None:
            return True
        limiter = self._limiters.get((port, rule))
        if limiter is None:
            limiter = self._limiters[port, rule] = Limiter(rule)
            if len(self._limiters) > _KEPT:
                self._limiters.popitem(last=False)
        return limiter.admit(self._clock(), client if rule.per.kind is KeyKind.SOURCE else "")

    def backend(self, rule: Rule) -> Backend | None:
        """The backend whose turn it is; None if none has a weight."""
        if len(rule.backends) == 1:
            return rule.backends[0] if rule.backends[0].weight else None
        turns = self._turns.get(rule)
        if turns is None:
            turns = self._turns[rule] = Turns([(one, one.weight) for one in rule.backends], self._rng)
            if len(self._turns) > _KEPT:
                self._turns.popitem(last=False)
        return turns.next() if turns else None

    def stayed(self, upstream: Upstream, client: str) -> Target | None:
        """Where this client was lately, if that is in use still."""
        affinity = self._affinities.get(upstream.key)
        now_s = self._clock()
        place = affinity.place(client, now_s) if affinity else None
        if place is None:
            return None
        return next((one for one in upstream.in_use(now_s) if one.endpoint.place == place), None)

    def stays(self, upstream: Upstream, client: str, target: Target, stay_s: float) -> None:
        """It is there now, and is to go there again for so long."""
        affinity = self._affinities.get(upstream.key)
        if affinity is None:
            affinity = self._affinities[upstream.key] = Affinity()
            if len(self._affinities) > _KEPT:
                self._affinities.popitem(last=False)
        affinity.went(client, target.endpoint.place, self._clock(), stay_s)


def hash_of(upstream: Upstream, client: str) -> int | None:
    """The key to balance by; None: the policy hashes nothing that is seen of raw bytes."""
    balancer = upstream.group.policy.balancer
    hashed = balancer.balance is Balance.CONSISTENT_HASH and balancer.hash_key.kind is KeyKind.SOURCE
    return key_hash(client) if hashed else None
