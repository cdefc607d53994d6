"""One request and its answer: admitted, sent to an endpoint, tried again where that is safe, answered in every case.

    begin -> [limits] -> [backend] -> admit -> pick -> connection -> sent -> answer begins -> answer ends
                                        │        ^________________________│ another try, while nothing was answered
                                        └-> waits for a connection, or a degradation

Each client connection has one of these and uses it for all its requests, one after the other.
"""

from __future__ import annotations

import asyncio
import fcntl
import termios
from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING, Final

from mesh.balance import key_hash
from mesh.limits import Limiter
from mesh.model import DirectResponse, PortKey, When
from mesh.planes.http import dial
from mesh.planes.http.answers import answer, direct
from mesh.planes.http.body import chunk, last_chunk
from mesh.planes.http.head import BadMessage, Framing, ResponseHead
from mesh.planes.http.keys import value_of
from mesh.planes.http.mirror import send_copies
from mesh.planes.http.onward import location
from mesh.planes.http.origin import OriginConnection
from mesh.planes.http.reply import chunks, ends_with_connection, reply_head
from mesh.planes.http.rules import Backing, Instead, Plan, RuleState
from mesh.planes.http.shared import Shared
from mesh.planes.http.stale import StaleKey, key_of, may_keep
from mesh.retry import Retries, backoff_s
from mesh.snapshot import Own
from mesh.upstream import Outcome, Refusal, Target, Upstream

if TYPE_CHECKING:
    from mesh.planes.http.client import ClientConnection

HELD_BYTES: Final = 65_536
"""So much of a request's body is kept, to send it again."""
_MOST_TRIES: Final = 8
_NUMBERS: Final = tuple(b"%03x\r\n\r\n" % number for number in range(4096))
"""Ends of heads with an id: written beforehand, for writing a number takes as long as choosing an endpoint."""
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
_GATEWAY_ERRORS: Final = frozenset((502, 503, 504))
_STATUS: Final = {Outcome.CONNECT_FAILED: 503, Outcome.TIMEOUT: 504}
_SAYS: Final = {
    502: "The endpoint's answer broke off before it began",
    503: "No endpoint of the service can be reached",
    504: "No endpoint answered in time",
}


class Exchange:
    """The request that a client connection is at."""

    __slots__ = (
        "_again",
        "_asked",
        "_attempt",
        "_backing",
        "_checked_s",
        "_close",
        "_fresh",
        "_held",
        "_held_bytes",
        "_kept",
        "_kept_bytes",
        "_key",
        "_moved",
        "_moved_s",
        "_number",
        "_origin",
        "_repeating",
        "_rule",
        "_shared",
        "_stale_key",
        "_tried",
        "_try_s",
        "_trying",
        "_unusual",
        "_upstream",
        "_waiting",
        "_whole",
        "_wrap",
        "answered_s",
        "began_s",
        "client",
        "degraded",
        "ended_s",
        "left",
        "own",
        "plan",
        "received_bytes",
        "retries",
        "sent_bytes",
        "started",
        "status",
        "target",
    )

    plan: Plan
    _key: int | None
    _rule: RuleState
    _backing: Backing
    _upstream: Upstream

    def __init__(self, client: ClientConnection, shared: Shared) -> None:
        self.client = client
        self._shared = shared
        self._attempt = 0
        self._origin: OriginConnection | None = None
        self._again: asyncio.TimerHandle | None = None
        self._waiting = False
        self._repeating: Retries | None = None
        self.target: Target | None = None
        """The endpoint that was asked last."""
        self._asked = False
        self._trying = False
        self._number = 0
        """Of the request, among those of its client's connection."""
        self._checked_s = 0.0
        """When the try began that was looked at for being heard."""
        self.sent_bytes = 0
        self._reset()

    def _reset(self) -> None:
        """Forget what only unusual requests leave behind."""
        self._unusual = False
        self.started = self.left = False
        self.retries = 0
        self.received_bytes = 0
        self._tried: list[Target] = []
        self._held: list[bytes] | None = []
        self._held_bytes = 0
        self._whole = True
        self._wrap = self.degraded = self._fresh = False
        self.own: Own | None = None
        self._kept: tuple[ResponseHead, list[bytes]] | None = None
        self._stale_key: StaleKey | None = None

    # -- the client asks -------------------------------------------------------------------------------------------

    def begin(self, plan: Plan) -> None:
        """Take on a request; its body follows, if it has one."""
        now_s = self._shared.now()
        self.plan = plan
        self.began_s = self._try_s = now_s
        self.status = 0
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

    def body(self, content: bytes) -> None:
        """Some of the request's body, unwrapped."""
        self._moved = True
        self._send_body(chunk(content) if self.plan.head.framing is Framing.CHUNKED else content)

    def body_ended(self, trailers: bytes) -> None:
        """All of the request is here."""
        self._whole = True
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
        if not self.status:
            self.answered_s = now_s
        self._end_try(_OK if tunnelled else Outcome.ABANDONED, now_s)
        self._leave(now_s, abandoned=not tunnelled)

    def refuse(self, status: int, text: str, own: Own, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Answer without an endpoint."""
        self.status = status
        self.own = own
        self.answered_s = self._shared.now()
        self._close = self._closes()
        self._unusual = True
        self._reply(answer(status, text, headers=headers, close=self._close, to_head=self.plan.to_head))
        self._over(self.answered_s)

    @property
    def backing(self) -> Backing | None:
        """The backend that it was for; None: none was chosen."""
        return self._backing if self._asked else None

    @property
    def begun(self) -> bool:
        """It is under way."""
        return self in self._shared.under_way

    # -- on the way to an endpoint ---------------------------------------------------------------------------------

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

    def ask_again(self, now_s: float) -> None:
        """Fewer connections are in use than when it had to wait."""
        self._waiting = False
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

    def _try(self, target: Target, now_s: float) -> None:
        self._upstream.began(target, now_s)
        self._go_to(target, now_s)

    def _go_to(self, target: Target, now_s: float) -> None:
        self._trying = True
        self.target = target
        self._try_s = now_s
        shared = self._shared
        shared.under_way.add(self)
        if not shared.ticking:
            shared.ticking = True
            shared.start_ticking()
        pool = self._backing.pool
        assert pool is not None
        origin = None if self._fresh else pool.take(target)
        if origin is not None and not self.plan.head.idempotent and origin.ended_by_peer():
            origin.drop()
            origin = None
        if origin is None:
            self._attempt += 1
            dial.connect(shared, pool, target, self, self._attempt)
        else:
            self._send(origin)

    def stands(self, attempt: int, origin: OriginConnection) -> bool:
        """A connection stands; False: it is for an earlier try."""
        if attempt != self._attempt or self._origin is not None or not self.begun:
            return False
        self._send(origin)
        return True

    def failed(self, attempt: int, *, late: bool) -> None:
        """A connection could not be made."""
        del late
        if attempt == self._attempt and self._origin is None and self.begun:
            self._failed(Outcome.CONNECT_FAILED, unsent=True)

    def _send(self, origin: OriginConnection) -> None:
        self._origin = origin
        plan = self.plan
        onward = plan.onward(self._backing)
        if onward.needs_id:
            number = self._number = (self._number + 1) % len(_NUMBERS)
            if not number:
                self.client.begin_ids()
            request = b"%b%b%b" % (onward.start, self.client.id_line, _NUMBERS[number])
        else:
            request = b"%b%b\r\n" % (onward.start, self.client.address_line)
        if self._held:
            request += b"".join(self._held)
            if self._held_bytes > HELD_BYTES:
                self._held = None
                self.client.go_on()
        self.sent_bytes = len(request)
        origin.ask(self, to_head=plan.to_head)
        self._shared.send(origin.transport, request)

    def _send_body(self, wire: bytes) -> None:
        self._held_bytes += len(wire)
        if self._origin is None:
            assert self._held is not None
            self._held.append(wire)
            if self._held_bytes > HELD_BYTES:
                self.client.stop()
            return
        if self._held is not None:
            self._held.append(wire)
            if self._held_bytes > HELD_BYTES:
                self._held = None
        self.sent_bytes += len(wire)
        self._shared.send(self._origin.transport, wire)

    def _send_copies(self) -> None:
        if self._held is not None:
            send_copies(self._shared, self.plan, self._rule, self.client.address_line, b"".join(self._held))

    # -- what the endpoint answers ---------------------------------------------------------------------------------

    def whole(self, origin: OriginConnection, head: ResponseHead, raw: bytes, end: int) -> None:
        """All of the answer is here."""
        status = head.status
        if status >= 400 and self._tries_again_for(status, origin):
            return
        now_s = self.answered_s = self._shared.now()
        self.status = status
        plan, client, backing = self.plan, self.client, self._backing
        close = self._close = plan.head.close or client.closing or not self._whole
        if head.same and plan.lasting and not close and not backing.changes:
            reply = raw
        else:
            reply = reply_head(head, Framing.NONE, plan.head, backing.changes, close=close) + raw[end:]
        self.received_bytes += len(reply)
        self._shared.send(client.transport, reply)
        if self._stale_key is not None:
            self._keep_stale(head, raw[end:], now_s)
        self._free(origin, now_s)
        self._end_try(_OK if status < 500 else _outcome(status), now_s)
        self._over(now_s)

    def interim(self, head: ResponseHead) -> None:
        """Something before the answer goes to clients that know of such things."""
        self._moved = True
        if self.plan.head.minor:
            self._reply(head.onward + b"\r\n")

    def began(self, head: ResponseHead, framing: Framing) -> None:
        """The answer begins, unless it asks for another try."""
        origin = self._origin
        assert origin is not None
        if head.status >= 400 and self._tries_again_for(head.status, origin):
            return
        self.started = self._moved = self._unusual = True
        self.answered_s = self._moved_s = self._shared.now()
        self.status = head.status
        if head.status < 500 and self.target is not None:
            self._upstream.stood(self.target)  # what follows may take hours
        request = self.plan.head
        self._wrap = chunks(framing, request)
        if ends_with_connection(framing, request):
            self.client.closing = True
        if self._stale_key is not None and may_keep(head) and framing is not Framing.UNTIL_CLOSE:
            self._kept, self._kept_bytes = (head, []), 0
        self._close = self._closes()
        self._reply(reply_head(head, framing, request, self._backing.changes, close=self._close))

    def piece(self, content: bytes) -> None:
        """Some of the answer's body, or of what comes through the tunnel."""
        self._moved = True
        self._reply(chunk(content) if self._wrap else content)
        if self._kept is not None:
            self._kept_bytes += len(content)
            if self._kept_bytes > self._stale_bytes():
                self._kept = None
            else:
                self._kept[1].append(content)

    def done(self, origin: OriginConnection, trailers: bytes) -> None:
        """The end of the answer."""
        now_s = self._shared.now()
        if self._wrap:
            self._reply(last_chunk(trailers))
        if self._kept is not None:
            self._keep_stale(self._kept[0], b"".join(self._kept[1]), now_s)
        if origin.usable:
            origin.transport.resume_reading()
        self._free(origin, now_s)
        self._end_try(_outcome(self.status), now_s)
        self._over(now_s)

    def switched(self, head: ResponseHead, rest: bytes) -> None:
        """The endpoint speaks another protocol from now on."""
        origin = self._origin
        assert origin is not None
        if not self.plan.head.upgrade or not head.upgrade:
            self.bad(origin, BadMessage("The endpoint changed the protocol without being asked", status=502))
            return
        self.started = self._unusual = True
        self.status = 101
        if self.target is not None:
            self._upstream.stood(self.target)
        self.answered_s = self._moved_s = self._shared.now()
        self._moved = self._close = True
        self._reply(head.onward + b"Connection: upgrade\r\nUpgrade: %b\r\n\r\n" % head.upgrade + rest)
        self.client.tunnel()

    def through(self, content: bytes) -> None:
        """Bytes of the client for the tunnel."""
        self._moved = True
        if self._origin is not None:
            self.sent_bytes += len(content)
            self._shared.send(self._origin.transport, content)

    def half_closed(self) -> None:
        """The endpoint sends no more through the tunnel."""
        self.client.half_close()

    def half_close(self) -> None:
        """The client sends no more through the tunnel."""
        if self._origin is not None and self._origin.transport.can_write_eof():
            self._shared.flush()
            self._origin.transport.write_eof()

    def broken(self, origin: OriginConnection) -> None:
        """The endpoint's connection ended before its answer."""
        if origin is not self._origin:
            return
        self._origin = None
        if self.status == 101:
            now_s = self._shared.now()
            self._end_try(_OK, now_s)
            self._over(now_s)
            return
        self._unusual = True
        stale = origin.requests > 1 and not self.started and not self._fresh and self.plan.head.idempotent
        if stale and self._held is not None:
            # It closed while we asked, as endpoints do with connections that were idle: says nothing of it.
            target = self.target
            assert target is not None
            now_s = self._shared.now()
            self._end_try(Outcome.ABANDONED, now_s)
            self._fresh = True
            self._try(target, now_s)
            return
        self._failed(Outcome.RESET, unsent=False)

    def bad(self, origin: OriginConnection, why: BadMessage) -> None:
        """The endpoint's answer cannot be passed on."""
        origin.drop()
        self._origin = None
        self._end_try(Outcome.GATEWAY_ERROR, self._shared.now())
        if self.started:
            self._break_off()
        else:
            self.refuse(502, why.message, Own.UNREACHED)

    # -- how fast --------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """The endpoint takes no more for now."""
        self.client.stop()

    def go_on(self) -> None:
        """The endpoint takes more again."""
        self.client.go_on()

    def stop_origin(self) -> None:
        """The client takes no more for now."""
        if self._origin is not None:
            self._origin.transport.pause_reading()

    def go_on_origin(self) -> None:
        """The client takes more again."""
        if self._origin is not None:
            self._origin.transport.resume_reading()

    def tick(self, now_s: float) -> None:
        """See what is too late."""
        times = self._shared.times
        rule = self._rule
        if self.status != 101:
            if rule.request_s and now_s - self.began_s >= rule.request_s:
                self._timed_out(last=True)
                return
            limit_s = rule.try_s or (0.0 if self.started or not self._whole else times.answer_s)
            if limit_s and now_s - self._try_s >= limit_s and self._again is None:
                self._timed_out(last=self._waiting)
                return
        if self.started:
            if self._moved:
                self._moved, self._moved_s = False, now_s
            elif now_s - self._moved_s >= times.still_s:
                self._timed_out(last=True)
        elif self._origin is not None and self._checked_s != self._try_s and now_s - self._try_s >= times.unheard_s:
            self._checked_s = self._try_s
            if self._unheard(self._origin) and self._may_repeat() and self._elsewhere(now_s) is not None:
                # Its machine has not even taken the request in: as with connections, going elsewhere is no repetition
                # that the budget has to allow, or most of what is under way would fail with the endpoint.
                self._failed(Outcome.TIMEOUT, unsent=True)

    # -- when it goes wrong ----------------------------------------------------------------------------------------

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
            self._waiting = True
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

    def _tries_again_for(self, status: int, origin: OriginConnection) -> bool:
        """Whether this answer is thrown away for another try."""
        retry = self._rule.retry
        if retry is None or status not in retry.codes or not self._may_repeat() or self.retries >= retry.attempts:
            return False
        if not self._take_repetition():
            return False
        origin.drop()
        self._origin = None
        self._unusual = True
        target = self.target
        assert target is not None
        self._end_try(_outcome(status), self._shared.now())
        self._tried.append(target)
        self._repeat_later()
        return True

    def _failed(self, outcome: Outcome, *, unsent: bool) -> None:
        """A try came to nothing."""
        target = self.target
        assert target is not None
        self._unusual = True
        self._drop_origin()
        self._end_try(outcome, self._shared.now())
        if self.started:
            self._break_off()
            return
        self._tried.append(target)
        if self._held is not None and self._goes_on(unsent=unsent):
            return
        if outcome is Outcome.CONNECT_FAILED:
            rules = (self._rule.degrade, self._backing.degrade)
            if self._degrade(rules, When.NO_ENDPOINT, self._shared.now()):
                return
        status = _STATUS.get(outcome, 502)
        self.refuse(status, _SAYS[status], Own.TIMEOUT if status == 504 else Own.UNREACHED)

    def _goes_on(self, *, unsent: bool) -> bool:
        """Begin another try if there may be one."""
        if not (unsent or self.plan.head.idempotent):
            return False
        now_s = self._shared.now()
        retry = self._rule.retry
        left = self.retries < (retry.attempts if retry else 1)
        elsewhere = self._elsewhere(now_s) if (unsent or left) and len(self._tried) < _MOST_TRIES else None
        if unsent and elsewhere is not None:
            self._try(elsewhere, now_s)
            return True
        if not left or (elsewhere is None and retry is None) or not self._take_repetition():
            return False
        if elsewhere is not None:
            self._try(elsewhere, now_s)
        else:
            self._repeat_later()
        return True

    def _repeat_later(self) -> None:
        retry = self._rule.retry
        wait_s = backoff_s(retry.backoff_ms, self.retries, self._shared.rng) if retry else 0.0
        self._shared.under_way.add(self)
        self._again = asyncio.get_running_loop().call_later(wait_s, self._repeat)

    def _repeat(self) -> None:
        self._again = None
        now_s = self._shared.now()
        target = self._elsewhere(now_s) or self._upstream.pick(now_s, self._key)
        if target is None:
            self._refused(Refusal.NO_ENDPOINT, now_s)
        else:
            self._try(target, now_s)

    def _elsewhere(self, now_s: float) -> Target | None:
        target = self.target
        tried = self._tried if target is None else [*self._tried, target]
        return self._upstream.pick(now_s, self._key, tried)

    def _may_repeat(self) -> bool:
        return not self.started and self._held is not None and self.plan.head.idempotent

    def _take_repetition(self) -> bool:
        upstream = self._upstream
        if self._repeating is None:
            if not upstream.retries.take(upstream.group.policy, upstream.active):
                return False
            self._repeating = upstream.retries
        self.retries += 1
        return True

    def _timed_out(self, *, last: bool) -> None:
        if self._waiting or self._again is not None:
            self.refuse(504, _SAYS[504], Own.TIMEOUT)
        elif last:
            self._drop_origin()
            self._end_try(Outcome.TIMEOUT, self._shared.now())
            if self.started:
                self._break_off()
            else:
                self.refuse(504, _SAYS[504], Own.TIMEOUT)
        elif self._origin is None:
            self._attempt += 1
            self._failed(Outcome.CONNECT_FAILED, unsent=True)
        else:
            self._failed(Outcome.TIMEOUT, unsent=False)

    @staticmethod
    def _unheard(origin: OriginConnection) -> bool:
        """Whether the endpoint's machine has not even said that it got what we sent."""
        sock = origin.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return False
        unsaid = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        return unsaid != b"\0\0\0\0"

    # -- the end ---------------------------------------------------------------------------------------------------

    def _reply(self, wire: bytes) -> None:
        self.received_bytes += len(wire)
        self._shared.send(self.client.transport, wire)

    def _closes(self) -> bool:
        """Whether the client's connection ends after this answer."""
        return self.plan.head.close or self.client.closing or not self._whole

    def _free(self, origin: OriginConnection, now_s: float) -> None:
        """The endpoint's connection has done its part."""
        self._origin = None
        most = self._backing.max_uses
        if origin.usable and self._whole and not (most and origin.requests >= most):
            origin.pool.put(origin, now_s)
        else:
            origin.close()

    def _stale_bytes(self) -> int:
        return max(self._rule.stale_bytes, self._backing.stale_bytes)

    def _keep_stale(self, head: ResponseHead, body: bytes, now_s: float) -> None:
        key = self._stale_key
        if key and self.plan.head.method == b"GET" and may_keep(head) and len(body) <= self._stale_bytes():
            self._shared.stale.keep(key, head, body, now_s)

    def _drop_origin(self) -> None:
        if self._origin is not None:
            self._origin.drop()
            self._origin = None

    def _end_try(self, outcome: Outcome, now_s: float) -> None:
        if self._trying:
            self._trying = False
            assert self.target is not None
            began_s = self.answered_s if self.status else now_s
            self._upstream.ended(self.target, outcome, now_s, began_s - self._try_s)
            pool = self._backing.pool
            if pool is not None and pool.waiting:
                pool.wake(now_s)

    def _break_off(self) -> None:
        """The client has to see that its answer is not whole."""
        self.client.break_off()
        self._leave(self._shared.now(), abandoned=True)

    def _over(self, now_s: float) -> None:
        self._leave(now_s)
        self.client.finished(close=self._close)

    def _leave(self, now_s: float, *, abandoned: bool = False) -> None:
        """Nothing is under way any more."""
        shared = self._shared
        self.ended_s = now_s
        shared.under_way.discard(self)
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._waiting:
            self._waiting = False
            assert self._backing.pool is not None
            self._backing.pool.waiting.remove(self)
        if self._repeating is not None:
            self._repeating.give_back()
            self._repeating = None
        shared.watcher.answered(self, abandoned=abandoned)


def _outcome(status: int) -> Outcome:
    if status < 500:
        return _OK
    return Outcome.GATEWAY_ERROR if status in _GATEWAY_ERRORS else Outcome.SERVER_ERROR
