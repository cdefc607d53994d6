"""What is known of the request that a client connection is at, and how it ends."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from mesh.planes.http.answers import answer
from mesh.planes.http.head import ResponseHead
from mesh.planes.http.origin import OriginConnection
from mesh.planes.http.rules import Backing, Plan, RuleState
from mesh.planes.http.shared import Shared
from mesh.planes.http.stale import StaleKey, may_keep
from mesh.retry import Retries
from mesh.snapshot import Own
from mesh.upstream import Outcome, Target, Upstream

if TYPE_CHECKING:
    from mesh.planes.http.client import ClientConnection


class ExchangeState(ABC):
    """One request and its answer. Made once for each client connection, and used for all its requests."""

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
        "_sent_s",
        "_shared",
        "_stale_key",
        "_tried",
        "_try_s",
        "_trying",
        "_unsent_bytes",
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
    began_s: float
    answered_s: float
    ended_s: float
    _try_s: float
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
        self._sent_s = 0.0
        """When the last of the request left us, as far as was seen."""
        self._unsent_bytes = 0
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

    def _reply(self, wire: bytes) -> None:
        self.received_bytes += len(wire)
        self._shared.send(self.client.transport, wire)

    def _closes(self) -> bool:
        """Whether the client's connection ends after this answer."""
        return self.plan.head.close or self.client.closing or not self._whole

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
        if self._unusual:
            self._give_back()
        shared.watcher.answered(self, abandoned=abandoned)

    def _give_back(self) -> None:
        """Leave the queues, timers and budgets that only unusual requests are in."""
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

    @abstractmethod
    def tick(self, now_s: float) -> None:
        """See what is too late."""

    @abstractmethod
    def ask_again(self, now_s: float) -> None:
        """Fewer connections are in use than when it had to wait."""
