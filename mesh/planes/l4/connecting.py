"""A client on its way to an endpoint: one try after the other, and a second one beside the first where that is slow.

try an endpoint ──stands──> done
    │ refused: the next at once
    │ nothing for HEDGE_S: the next as well; the first that stands wins
    └ nothing for the connect time-out: given up
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Final, Protocol

from mesh.model.services import PortKey
from mesh.planes.dialer import Dialer, connect_timeout_s
from mesh.planes.l4.poller import WRITE, Poller
from mesh.planes.listeners import EXHAUSTED
from mesh.upstream import Outcome, Target, Upstream

log = logging.getLogger(__name__)

HEDGE_S: Final = 0.1
"""On a LAN a handshake takes 1 ms, by satellite 600 ms: then a second one is made for nothing, which harms little."""
MAX_TRIES: Final = 16
_FAR_MORE: Final = 2
_WAIT_S: Final = 0.05
_MAX_WAITS: Final = 200


class Arrived(Protocol):
    """Told once how it went."""

    def __call__(self, target: Target | None, sock: socket.socket | None, took_s: float) -> None:
        """Take over the connection to the endpoint; None: nobody was reached."""


class Connecting:
    """The tries for one client. Nothing of the client was sent anywhere yet, so that each try is free."""

    __slots__ = (
        "_arrived",
        "_clock",
        "_dialer",
        "_key",
        "_over",
        "_running",
        "_timeout_ms",
        "_tried",
        "_upstream",
        "_waiting",
        "_waits",
        "poller",
    )  # fmt: skip

    def __init__(
        self,
        upstream: Upstream,
        poller: Poller,
        clock: Callable[[], float],
        arrived: Arrived,
        *,
        key: int | None = None,
        dialer: Dialer | None = None,
    ) -> None:
        self._upstream = upstream
        self.poller = poller
        self._clock = clock
        self._arrived = arrived
        self._key = key
        self._dialer = dialer
        self._timeout_ms = upstream.group.policy.pool.connect_timeout_ms
        self._tried: list[Target] = []
        self._running: list[_Try] = []
        self._over = False
        self._waits = 0
        self._waiting: asyncio.TimerHandle | None = None

    def begin(self, first: Target | None = None) -> None:
        """Try ``first`` if there is one, else the balancer's choice."""
        self._next(first)

    def cancel(self) -> None:
        """Give up; nobody is told."""
        self._over = True
        if self._waiting is not None:
            self._waiting.cancel()
        self._drop_running()

    # -- one try -------------------------------------------------------------------------------------------------------

    def _next(self, target: Target | None = None) -> bool:
        """Begin another try; False: there is no other endpoint."""
        while not self._over and len(self._tried) < MAX_TRIES:
            now_s = self._clock()
            target = target or self._upstream.pick(now_s, self._key, self._tried)
            if target is None:
                break
            self._tried.append(target)
            self._upstream.began(target, now_s)
            attempt = _Try(self, target, now_s)
            try:
                self._start(attempt)
            except OSError as problem:
                log.debug("%s at %s: %s", self._upstream.key, target.endpoint.place, problem)
                if problem.errno in EXHAUSTED:
                    self._wait_for_room(target, now_s)
                    return True
                self._upstream.ended(target, Outcome.CONNECT_FAILED, now_s, 0.0)
                target = None
                continue
            self._running.append(attempt)
            return True
        if not self._running and not self._over:
            self._over = True
            self._arrived(None, None, 0.0)
        return False

    def _wait_for_room(self, target: Target, now_s: float) -> None:
        """This process has no file number to spare, which says nothing of the endpoint."""
        self._upstream.ended(target, Outcome.ABANDONED, now_s, 0.0)
        self._tried.remove(target)
        self._waits += 1
        if self._waits > _MAX_WAITS:
            self._over = True
            self._arrived(None, None, 0.0)
        elif self._waiting is None:
            self._waiting = asyncio.get_running_loop().call_later(_WAIT_S, self._again)

    def _again(self) -> None:
        self._waiting = None
        if not self._running:
            self._next()

    def _start(self, attempt: _Try) -> None:
        loop = asyncio.get_running_loop()
        endpoint = attempt.target.endpoint
        if endpoint.via:
            if self._dialer is None:
                text = f"no tunnel leads to {endpoint.via}"
                raise OSError(errno.EHOSTUNREACH, text)
            attempt.task = loop.create_task(self._dial(attempt, self._dialer, self._upstream.key))
        else:
            family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                code = sock.connect_ex((endpoint.address, endpoint.port))
                if code not in (0, errno.EINPROGRESS):
                    raise OSError(code, errno.errorcode.get(code, "error"))
            except OSError:
                sock.close()
                raise
            attempt.sock = sock
            self.poller.watch(sock.fileno(), WRITE, attempt.answered)
        attempt.timer = loop.call_later(min(HEDGE_S, self._timeout_ms / 1000), self._slow, attempt)

    def _time_of(self, target: Target) -> float:
        return connect_timeout_s(target.endpoint, self._timeout_ms)

    async def _dial(self, attempt: _Try, dialer: Dialer, port: PortKey) -> None:
        try:
            sock = await dialer.dial(port, attempt.target.endpoint, self._time_of(attempt.target))
        except (OSError, TimeoutError) as problem:
            log.debug("%s by %s: %s", port, attempt.target.endpoint.via, problem)
            attempt.task = None
            self.failed(attempt, Outcome.TIMEOUT if isinstance(problem, TimeoutError) else Outcome.CONNECT_FAILED)
            return
        attempt.task = None
        attempt.sock = sock
        self.stood(attempt)

    def _slow(self, attempt: _Try) -> None:
        waited_s = self._clock() - attempt.began_s
        timeout_s = self._time_of(attempt.target)
        if waited_s + 0.001 >= timeout_s:
            attempt.timer = None
            self.failed(attempt, Outcome.TIMEOUT)
            return
        attempt.timer = asyncio.get_running_loop().call_later(timeout_s - waited_s, self._slow, attempt)
        if attempt is self._running[-1]:
            self._next()

    def stood(self, attempt: _Try) -> None:
        """A connection stands: it is the one."""
        self._over = True
        self._running.remove(attempt)
        sock = attempt.let_go()
        took_s = self._clock() - attempt.began_s
        self._drop_running(took_s)
        self._upstream.stood(attempt.target)
        self._arrived(attempt.target, sock, took_s)

    def failed(self, attempt: _Try, outcome: Outcome) -> None:
        """A try came to nothing: the next one, unless one is under way."""
        self._running.remove(attempt)
        sock = attempt.let_go()
        if sock is not None:
            sock.close()
        now_s = self._clock()
        self._upstream.ended(attempt.target, outcome, now_s, now_s - attempt.began_s)
        if not self._running:
            self._next()

    def _drop_running(self, took_s: float = 0.0) -> None:
        now_s = self._clock()
        while self._running:
            attempt = self._running.pop()
            sock = attempt.let_go()
            if sock is not None:
                sock.close()
            # One that lost had its time if it had far more than the other took: on a slow line both take long.
            slow = now_s - attempt.began_s >= max(HEDGE_S, _FAR_MORE * took_s)
            outcome = Outcome.TIMEOUT if slow else Outcome.ABANDONED
            self._upstream.ended(attempt.target, outcome, now_s, now_s - attempt.began_s)


class _Try:
    __slots__ = ("began_s", "owner", "sock", "target", "task", "timer")

    def __init__(self, owner: Connecting, target: Target, began_s: float) -> None:
        self.owner = owner
        self.target = target
        self.began_s = began_s
        self.sock: socket.socket | None = None
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def answered(self, events: int) -> None:
        """The handshake is over, well or not."""
        del events
        assert self.sock is not None
        if self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.owner.failed(self, Outcome.CONNECT_FAILED)
        else:
            self.owner.stood(self)

    def let_go(self) -> socket.socket | None:
        """Stop all that waits for it; the socket is the caller's."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.task is not None:
            self.task.cancel()
            self.task = None
        sock, self.sock = self.sock, None
        if sock is not None:
            self.owner.poller.forget(sock.fileno())
        return sock
