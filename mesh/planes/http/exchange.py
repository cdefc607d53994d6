"""One request and its answer: admitted, sent to an endpoint, tried again where that is safe, answered in every case.

    begin -> [limits] -> [backend] -> admit -> pick -> connection -> sent -> answer begins -> answer ends
                                        │        ^________________________│ another try, while nothing was answered
                                        └-> waits for a connection, or a degradation

Each client connection has one of these and uses it for all its requests, one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Final

from mesh.balance import key_hash
from mesh.limits import Limiter
from mesh.model.policies import DirectResponse, When
from mesh.model.services import PortKey
from mesh.planes.http.answers import direct
from mesh.planes.http.body import chunk, last_chunk
from mesh.planes.http.exchange_tries import Tries
from mesh.planes.http.head import Framing
from mesh.planes.http.keys import value_of
from mesh.planes.http.mirror import send_copies
from mesh.planes.http.onward import location
from mesh.planes.http.rules import Backing, Instead, Plan, RuleState
from mesh.planes.http.stale import key_of
from mesh.snapshot import Own
from mesh.upstream import Outcome, Refusal

_OK: Final = Outcome.OK
_WHEN: Final = {
    Refusal.BREAKER_OPEN: When.BREAKER_OPEN,
    Refusal.NO_ENDPOINT: When.NO_ENDPOINT,
    Refusal.OVER_CONNECTIONS: When.OVER_LIMIT,
    Refusal.OVER_REQUESTS: When.OVER_LIMIT,
}
_OWN: Final = {
    Refusal.BREAKER_OPEN: Own.BREAKER_OPEN,
    Refusal.NO_ENDPOINT: Own.NO_ENDPOINT,
    Refusal.OVER_CONNECTIONS: Own.OVER_CONNECTIONS,
    Refusal.OVER_REQUESTS: Own.OVER_REQUESTS,
}


class Exchange(Tries):
    """The request that a client connection is at."""

    __slots__ = ()

    def begin(self, plan: Plan) -> None:
        """Take on a request; its body follows, if it has one."""
        now_s = self._shared.now()
        self.plan = plan
        self.began_s = self._try_s = now_s
        self.status = 0
        self.sent_bytes = self.received_bytes = 0
        self.target = None
        self._asked = False
        if self._unusual:
            self._reset()
        if plan.has_body:
            self._unusual = True
            self._whole = False
        rule = plan.rule
        if rule is None:
            self.refuse(404, "No rule of this service is for such a request", Own.NO_ROUTE)
            return
        self._rule = rule
        limiter = rule.limiter
        if limiter is not None:
            if rule.by_source and limiter.admit(now_s, self.client.address):
                pass
            elif rule.by_source or not self._within(limiter, now_s):
                self._over_limit(limiter, rule.degrade, now_s)
                return
        if not (rule.direct and self._sent_directly(rule, now_s)):
            self._go_by(rule, now_s)

    def body(self, content: bytes) -> None:
        """Some of the request's body, unwrapped."""
        self._moved = True
        self._send_body(chunk(content) if self.plan.head.framing is Framing.CHUNKED else content)

    def body_ended(self, trailers: bytes) -> None:
        """All of the request is here."""
        self._whole = True
        self._sent_s = self._shared.now()
        if self.plan.head.framing is Framing.CHUNKED:
            self._send_body(last_chunk(trailers))
        if self.plan.rule is not None and self.plan.rule.mirrors:
            self._send_copies()

    def abandon(self) -> None:
        """The client is gone."""
        if not self.begun:
            return
        self.left = True
        tunnelled = self.status == 101
        if tunnelled and self._origin is not None:
            self._shared.flush()
            self._origin.leave()
            self._origin = None
        self._drop_origin()
        now_s = self._shared.now()
        self._end_try(_OK if tunnelled else Outcome.ABANDONED, now_s)
        if not self.status:
            self.answered_s = now_s
        self._leave(now_s, abandoned=not tunnelled)

    def ask_again(self, now_s: float) -> None:
        """Fewer connections are in use than when it had to wait."""
        self._waiting = False
        self._admit(now_s)

    def _sent_directly(self, rule: RuleState, now_s: float) -> bool:
        """Do for the usual request all that _go_by, _ask, _admit and _try would do, without calling them."""
        backing = rule.only
        upstream = backing.found() if backing is not None else None
        if backing is None or upstream is None or not backing.direct or self.client.front.affinity is not None:
            return False
        target = upstream.usual(now_s)
        if target is None:
            return False
        self._backing, self._upstream, self._asked, self._key = backing, upstream, True, None
        self._go_to(target, now_s)
        return True

    def _go_by(self, rule: RuleState, now_s: float) -> None:
        plan = self.plan
        if rule.redirect is not None:
            where = location(plan.head, rule.redirect, plan.match)
            self.refuse(rule.redirect.status, "", Own.REDIRECTED, (("Location", where),))
            return
        backing = rule.only or rule.next()
        if backing is None:
            self.refuse(500, "The rule for this request has no backend", Own.NO_ROUTE)
            return
        if rule.mirrors and self._whole:
            self._send_copies()
        self._ask(backing, now_s)

    def _ask(self, backing: Backing, now_s: float) -> None:
        self._backing = backing
        self._asked = True
        upstream = backing.found()
        if upstream is None:
            self.refuse(500, f"{backing.backend.port} is no service that is known here", Own.NO_ROUTE)
            return
        self._upstream = upstream
        limiter = backing.limiter
        if limiter is not None and not self._within(limiter, now_s):
            self._over_limit(limiter, backing.degrade, now_s)
            return
        if (self._rule.stale_bytes or backing.stale_bytes) and not self.degraded:
            self._unusual = True
            self._stale_key = key_of(backing.backend.port, self.plan.head)
        self._admit(now_s)

    def _admit(self, now_s: float) -> None:
        upstream = self._upstream
        refusal = upstream.admit(now_s)
        if refusal is not None:
            self._refused(refusal, now_s)
            return
        self._key = key = self._hash() if self._backing.hashes else None
        affinity = self.client.front.affinity
        if affinity is None:
            target = upstream.pick(now_s, key)
        else:
            target = affinity.target(upstream, self.client.address, key, now_s)
        if target is None:
            self._refused(Refusal.NO_ENDPOINT, now_s)
        else:
            self._try(target, now_s)

    def _hash(self) -> int | None:
        value = value_of(self._upstream.group.policy.balancer.hash_key, self.plan.head, self.client.address)
        return None if value is None else key_hash(value)

    def _send_copies(self) -> None:
        if self._held is not None:
            send_copies(self._shared, self.plan, self._rule, self.client.address_line, b"".join(self._held))

    def _within(self, limiter: Limiter, now_s: float) -> bool:
        """Whether a rate limit lets it through."""
        return limiter.admit(now_s, self._limit_key(limiter))

    def _limit_key(self, limiter: Limiter) -> str:
        return value_of(limiter.rule.per, self.plan.head, self.client.address) or ""

    def _over_limit(self, limiter: Limiter, degrade: Mapping[When, Instead], now_s: float) -> None:
        if self._degrade((degrade,), When.OVER_LIMIT, now_s):
            return
        seconds = str(max(1, ceil(limiter.wait_s(now_s, self._limit_key(limiter)))))
        limit = ("X-RateLimit-Limit", str(limiter.rule.bucket.max_tokens))
        wait = (("Retry-After", seconds), ("X-RateLimit-Reset", seconds))
        headers = (*wait, limit, ("X-RateLimit-Remaining", "0"))
        self.refuse(429, "More requests than this service takes", Own.RATE_LIMITED, headers)

    def _refused(self, refusal: Refusal, now_s: float) -> None:
        upstream, pool = self._upstream, self._backing.pool
        assert pool is not None
        if refusal is Refusal.OVER_CONNECTIONS and len(pool.waiting) < upstream.group.policy.pool.max_pending:
            # Those that wait are woken by those that are under way, which keep the clock ticking.
            self._waiting = self._unusual = True
            pool.waiting.append(self)
            self._shared.under_way.add(self)
        elif not self._degrade((self._rule.degrade, self._backing.degrade), _WHEN[refusal], now_s):
            self.refuse(503, f"Nothing can be asked of {upstream.key} now: {refusal.value}", _OWN[refusal])

    def _degrade(self, rules: tuple[Mapping[When, Instead], ...], when: When, now_s: float) -> bool:
        """Answer in another way; False: no rule says how."""
        if self.degraded:
            return False
        offline = when is When.NO_ENDPOINT and self._shared.offline()
        for reason in (When.OFFLINE, when) if offline else (when,):
            for rule in rules:
                to = rule.get(reason)
                if to is not None and self._answer_instead(to, now_s):
                    return True
        return False

    def _answer_instead(self, to: Instead, now_s: float) -> bool:
        if isinstance(to, Backing):
            self.degraded = self._unusual = True
            self._tried = []
            self._ask(to, now_s)
            return True
        close, to_head = self._closes(), self.plan.to_head
        if isinstance(to, DirectResponse):
            status, wire = to.status, direct(to, close=close, to_head=to_head)
        else:
            key = self._stale_key or key_of(self._stale_port(), self.plan.head)
            kept = self._shared.stale.find(key, to, now_s, close=close, to_head=to_head) if key else None
            if kept is None:
                return False
            status, wire = 200, kept
        self.status, self._close, self._unusual = status, close, True
        self.degraded, self.answered_s = True, now_s
        self._reply(wire)
        self._over(now_s)
        return True

    def _stale_port(self) -> PortKey | None:
        backing = self._rule.only or self.backing
        return backing.backend.port if backing else None
