"""Copies of requests whose answers nobody waits for. Bounded: a copy that would be one too many is not sent."""

from __future__ import annotations

from typing import Final

from mesh.planes.http import dial
from mesh.planes.http.bad_message import BadMessage
from mesh.planes.http.head import Framing, ResponseHead
from mesh.planes.http.origin import OriginConnection
from mesh.planes.http.rules import Backing, Plan, RuleState, mirrored
from mesh.planes.http.shared import Shared
from mesh.upstream import Outcome, Target, Upstream

_MOST: Final = 64


def send_copies(shared: Shared, plan: Plan, rule: RuleState, address_line: bytes, body: bytes) -> None:
    """Send a copy of a whole request to each mirror that is due."""
    for backing in mirrored(rule, shared.rng):
        upstream = backing.found()
        now_s = shared.now()
        if shared.copies >= _MOST or upstream is None or upstream.admit(now_s) is not None:
            continue
        target = upstream.pick(now_s)
        if target is not None:
            request = b"%b%b\r\n%b" % (plan.onward(backing).start, address_line, body)
            _Copy(shared, backing, upstream, target, request, to_head=plan.to_head).begin(now_s)


class _Copy:
    """One copy under way: throws away what comes back."""

    def __init__(
        self, shared: Shared, backing: Backing, upstream: Upstream, target: Target, request: bytes, *, to_head: bool
    ) -> None:
        self._shared = shared
        self._backing = backing
        self._upstream = upstream
        self._target = target
        self._request = request
        self._to_head = to_head
        self._began_s = 0.0

    def begin(self, now_s: float) -> None:
        self._began_s = now_s
        self._shared.copies += 1
        self._upstream.began(self._target, now_s)
        pool = self._backing.pool
        assert pool is not None
        origin = pool.take(self._target)
        if origin is None:
            dial.connect(self._shared, pool, self._target, self, 0)
        else:
            self.stands(0, origin)

    def stands(self, attempt: int, origin: OriginConnection) -> bool:
        del attempt
        origin.ask(self, to_head=self._to_head)
        self._shared.send(origin.transport, self._request)
        return True

    def failed(self, attempt: int, *, late: bool) -> None:
        del attempt, late
        self._end(Outcome.CONNECT_FAILED)

    def whole(self, origin: OriginConnection, head: ResponseHead, raw: bytes, end: int) -> None:
        del head, raw, end
        self.done(origin, b"")

    def interim(self, head: ResponseHead) -> None:
        pass

    def began(self, head: ResponseHead, framing: Framing) -> None:
        pass

    def piece(self, content: bytes) -> None:
        pass

    def done(self, origin: OriginConnection, trailers: bytes) -> None:
        del trailers
        self._end(Outcome.OK)
        if origin.usable:
            origin.pool.put(origin, self._shared.now())
        else:
            origin.close()

    def switched(self, head: ResponseHead, rest: bytes) -> None:
        del head, rest

    def broken(self, origin: OriginConnection) -> None:
        del origin
        self._end(Outcome.ABANDONED)

    def bad(self, origin: OriginConnection, why: BadMessage) -> None:
        del origin, why
        self._end(Outcome.ABANDONED)

    def stop(self) -> None:
        pass

    def go_on(self) -> None:
        pass

    def half_closed(self) -> None:
        pass

    def _end(self, outcome: Outcome) -> None:
        now_s = self._shared.now()
        self._shared.copies -= 1
        self._upstream.ended(self._target, outcome, now_s, now_s - self._began_s)
