"""What an endpoint answers, on its way to the client."""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

from mesh.planes.http.bad_message import BadMessage
from mesh.planes.http.body import chunk, last_chunk
from mesh.planes.http.exchange_state import ExchangeState
from mesh.planes.http.head import Framing, ResponseHead
from mesh.planes.http.origin import OriginConnection
from mesh.planes.http.reply import chunks, ends_with_connection, reply_head
from mesh.planes.http.stale import may_keep
from mesh.snapshot import Own
from mesh.upstream import Outcome, Target

_OK: Final = Outcome.OK
_GATEWAY_ERRORS: Final = frozenset((502, 503, 504))


class Answering(ExchangeState):
    """Takes an endpoint's answer: an Asker."""

    __slots__ = ()

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
        self._end_try(_OK if status < 500 else outcome_of(status), now_s)
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
        self._end_try(outcome_of(self.status), now_s)
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

    def _free(self, origin: OriginConnection, now_s: float) -> None:
        """The endpoint's connection has done its part."""
        self._origin = None
        most = self._backing.max_uses
        if origin.usable and self._whole and not (most and origin.requests >= most):
            origin.pool.put(origin, now_s)
        else:
            origin.close()

    @abstractmethod
    def _try(self, target: Target, now_s: float) -> None:
        """Ask an endpoint."""

    @abstractmethod
    def _tries_again_for(self, status: int, origin: OriginConnection) -> bool:
        """Whether this answer is thrown away for another try."""

    @abstractmethod
    def _failed(self, outcome: Outcome, *, unsent: bool) -> None:
        """A try came to nothing."""


def outcome_of(status: int) -> Outcome:
    """How an upstream counts an answer."""
    if status < 500:
        return _OK
    return Outcome.GATEWAY_ERROR if status in _GATEWAY_ERRORS else Outcome.SERVER_ERROR
