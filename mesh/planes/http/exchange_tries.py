"""Tries: a request goes to one endpoint and, while nothing was answered and it may be repeated, to another."""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios
from abc import abstractmethod
from collections.abc import Mapping
from typing import Final

from mesh.model.policies import When
from mesh.planes.http import dial
from mesh.planes.http.exchange_answer import Answering, outcome_of
from mesh.planes.http.origin import OriginConnection
from mesh.planes.http.rules import Instead
from mesh.retry import backoff_s
from mesh.snapshot import Own
from mesh.upstream import Outcome, Refusal, Target

HELD_BYTES: Final = 65_536
"""So much of a request's body is kept, to send it again."""
_MOST_TRIES: Final = 8
_NUMBERS: Final = tuple(b"%03x\r\n\r\n" % number for number in range(4096))
"""Ends of heads with an id: written beforehand, for writing a number takes as long as choosing an endpoint."""
_STATUS: Final = {Outcome.CONNECT_FAILED: 503, Outcome.TIMEOUT: 504}
_SAYS: Final = {
    502: "The endpoint's answer broke off before it began",
    503: "No endpoint of the service can be reached",
    504: "No endpoint answered in time",
}


class Tries(Answering):
    """Sends a request on: a Waiter for connections."""

    __slots__ = ()

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

    def tick(self, now_s: float) -> None:
        """See what is too late."""
        times = self._shared.times
        rule = self._rule
        if self.status != 101:
            if rule.request_s and now_s - self.began_s >= rule.request_s:
                self._timed_out(last=True)
                return
            if self._again is None and self._too_late(now_s):
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

    def _too_late(self, now_s: float) -> bool:
        """Whether this try takes too long: all of it if the rule says so, else from the request to its answer."""
        try_s = self._rule.try_s
        if try_s:
            return now_s - self._try_s >= try_s
        if self.started or not self._whole:
            return False
        if self._origin is not None:
            unsent_bytes = self._origin.transport.get_write_buffer_size()
            if unsent_bytes != self._unsent_bytes:
                self._unsent_bytes, self._sent_s = unsent_bytes, now_s
        return now_s - max(self._try_s, self._sent_s) >= self._shared.times.answer_s

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
        self._end_try(outcome_of(status), self._shared.now())
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

    def _unheard(self, origin: OriginConnection) -> bool:
        """Whether the endpoint's machine has not even said that it got the first byte of what we sent."""
        sock = origin.transport.get_extra_info("socket")
        if sock is None or sock.fileno() < 0:
            return False
        unsaid = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        unsent_bytes = origin.transport.get_write_buffer_size()
        return int.from_bytes(unsaid, sys.byteorder) + unsent_bytes >= self.sent_bytes

    @abstractmethod
    def _refused(self, refusal: Refusal, now_s: float) -> None:
        """Nothing may be asked now: wait, or answer in another way."""

    @abstractmethod
    def _degrade(self, rules: tuple[Mapping[When, Instead], ...], when: When, now_s: float) -> bool:
        """Answer in another way; False: no rule says how."""
