"""Where gateways meet that cannot reach each other: passes the bytes of their own TLS, which it cannot read.

    caller ──call b──> relay <──waits── b
           <───ok────  pairs  ──called by a──> b, which answers; then bytes both ways until one side closes

Nothing is kept: after a restart the gateways dial again. Of one gateway there are at most so many connections, and so
many bytes a second; one that is over waits, since nothing more is read from it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from mesh.tunnel.accepting import HANDSHAKE_S, Accepting
from mesh.tunnel.frames import Answer, BadFrame, Called, Join
from mesh.tunnel.line import Line

JOIN_S: Final = 10.0
ANSWER_S: Final = 5.0
MAX_WAITING: Final = 8
"""Connections of one gateway that wait to be called; of more the oldest is closed, for it may be dead."""
_BUFFER_BYTES: Final = 256 * 1024
_PAUSE_S: Final = 0.1
_BACKLOG: Final = 1024

log = logging.getLogger(__name__)


class Admission(Protocol):
    """Who may use the relay."""

    def admits(self, gateway: str, serial: int) -> bool:
        """Whether this gateway is enrolled, and this certificate of it is not revoked."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one gateway, both as caller and as callee."""

    connections: int = 64
    bytes_per_second: int = 10_000_000


@dataclass(slots=True, eq=False)
class _Guest:
    """One connection of a gateway."""

    gateway: str
    serial: int
    line: Line
    piped: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    taken: bool = False


@dataclass(slots=True)
class _Account:
    """What one gateway uses. ``free_s``: when what it has sent so far is paid for."""

    connections: int = 0
    free_s: float = 0.0
    waiting: deque[_Guest] = field(default_factory=deque)


class Relay:
    """The relay of one process. ``context`` is asked for each connection, so that a renewed certificate counts."""

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        admission: Admission,
        clock: Callable[[], float],
        bounds: Bounds = Bounds(),
    ) -> None:
        self._admission = admission
        self._clock = clock
        self._bounds = bounds
        self._accounts: dict[str, _Account] = {}
        self._guests: set[_Guest] = set()
        self._accepting = Accepting("relay", context, self._welcome, prepare=keep_alive, backlog=_BACKLOG)
        self.carried_bytes = 0

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError."""
        return await self._accepting.open(host, port)

    async def close(self) -> None:
        """End every connection."""
        guests = list(self._guests)
        await self._accepting.close()
        if ends := [guest.line.on_gone for guest in guests if not guest.line.gone]:
            await asyncio.wait(ends, timeout=_PAUSE_S)

    def waiting(self, gateway: str) -> int:
        """Connections of a gateway that wait to be called."""
        account = self._accounts.get(gateway)
        return len(account.waiting) if account else 0

    def look(self) -> None:
        """Somebody was revoked, perhaps: end the connections of those who may not be here any more."""
        for guest in list(self._guests):
            if not self._admission.admits(guest.gateway, guest.serial):
                log.info("%s may not use the relay any more: its connections end", guest.gateway)
                guest.line.abort()

    # -- one connection ------------------------------------------------------------------------------------------------

    async def _welcome(self, line: Line) -> None:
        transport = line.transport
        assert transport is not None
        transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        gateway, serial = _holder(transport.get_extra_info("peercert"))
        if not self._admission.admits(gateway, serial):
            log.warning("%s is not a gateway of this cloud, or revoked", gateway[:80])
            line.abort()
            return
        account = self._accounts.setdefault(gateway, _Account())
        account.connections += 1
        guest = _Guest(gateway, serial, line)
        self._guests.add(guest)
        try:
            await self._serve(guest, account)
        except (OSError, TimeoutError, BadFrame) as problem:
            log.debug("%s: %s", gateway, str(problem) or "time-out")
        finally:
            line.abort()
            self._guests.discard(guest)
            if guest in account.waiting:
                account.waiting.remove(guest)
            account.connections -= 1
            if not account.connections:
                self._accounts.pop(gateway, None)

    async def _serve(self, guest: _Guest, account: _Account) -> None:
        if account.connections > self._bounds.connections:
            log.warning("%s has %d connections, the most it may have", guest.gateway, self._bounds.connections)
            await self._refuse(guest, f"{guest.gateway} has too many connections at the relay")
            return
        async with asyncio.timeout(JOIN_S):
            join = await guest.line.hear(Join)
        if join.call:
            await self._call(guest, join.call)
        else:
            await self._wait(guest, account)

    async def _wait(self, guest: _Guest, account: _Account) -> None:
        account.waiting.append(guest)
        if len(account.waiting) > MAX_WAITING:
            account.waiting.popleft().line.abort()
        await asyncio.wait({guest.line.on_gone, guest.piped}, return_when=asyncio.FIRST_COMPLETED)
        if guest.taken:
            await guest.piped

    async def _call(self, guest: _Guest, called: str) -> None:
        callee = await self._callee(guest.gateway, called)
        if callee is None:
            await self._refuse(guest, f"{called} does not wait at the relay")
            return
        try:
            guest.line.say(Answer())
            await self._pipe(guest, callee)
        finally:
            callee.line.abort()
            if not callee.piped.done():
                callee.piped.set_result(None)

    async def _callee(self, caller: str, called: str) -> _Guest | None:
        """A connection of the called gateway that has answered. One that has died in silence costs a moment."""
        account = self._accounts.get(called)
        while account is not None and account.waiting:
            callee = account.waiting.pop()
            callee.taken = True
            try:
                callee.line.say(Called(caller=caller))
                async with asyncio.timeout(ANSWER_S):
                    answer = await callee.line.hear(Answer)
            except (OSError, TimeoutError, BadFrame):
                answer = None
            if answer is not None and not answer.refused:
                return callee
            callee.line.abort()
            callee.piped.set_result(None)
        return None

    async def _refuse(self, guest: _Guest, why: str) -> None:
        guest.line.say(Answer(refused=why))
        guest.line.close()
        async with asyncio.timeout(JOIN_S):
            await guest.line.on_gone

    # -- bytes ---------------------------------------------------------------------------------------------------------

    async def _pipe(self, caller: _Guest, callee: _Guest) -> None:
        one, two = (_Pipe(self, self._accounts[guest.gateway], guest.line) for guest in (caller, callee))
        one.begin(two)
        two.begin(one)
        await asyncio.wait({one.gone, two.gone}, return_when=asyncio.FIRST_COMPLETED)
        # What one has said before it closed goes to the other first.
        for pipe in (one, two):
            pipe.close()
        async with asyncio.timeout(HANDSHAKE_S):
            await asyncio.wait({one.gone, two.gone})

    def passed(self, account: _Account, count: int) -> float:
        """Count bytes of a gateway; returns for how long nothing more is to be read from it."""
        now_s = self._clock()
        self.carried_bytes += count
        account.free_s = max(account.free_s, now_s - 1.0) + count / self._bounds.bytes_per_second
        return account.free_s - now_s


class _Pipe(asyncio.Protocol):
    """What was a line once two of them are paired: its bytes go to the other as they are."""

    def __init__(self, relay: Relay, account: _Account, line: Line) -> None:
        assert line.transport is not None
        self._relay = relay
        self._account = account
        self._line = line
        self._transport = line.transport
        self._other: _Pipe | None = None
        self._full = False
        self._paying: asyncio.TimerHandle | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, other: _Pipe) -> None:
        """Let the bytes of this side go to the other."""
        self._other = other
        if self._line.gone:
            self.gone.set_result(None)
            return
        self._transport.set_protocol(self)
        if early := self._line.early():
            other.write(early)

    def write(self, content: bytes) -> None:
        """Send to this side."""
        if not self._transport.is_closing():
            self._transport.write(content)

    def close(self) -> None:
        """Send what is written, and close."""
        if self._paying is not None:
            self._paying.cancel()
        if not self.gone.done():
            self._transport.close()

    def hold(self, *, full: bool) -> None:
        """The other side takes no more for now, or does again."""
        self._full = full
        self._read_or_not()

    def data_received(self, data: bytes) -> None:
        """Bytes of the gateways' own TLS."""
        assert self._other is not None
        self._other.write(data)
        wait_s = self._relay.passed(self._account, len(data))
        if wait_s > 0 and self._paying is None:
            self._paying = asyncio.get_running_loop().call_later(wait_s, self._paid)
            self._read_or_not()

    def pause_writing(self) -> None:
        """This side takes no more for now."""
        assert self._other is not None
        self._other.hold(full=True)

    def resume_writing(self) -> None:
        """It does again."""
        assert self._other is not None
        self._other.hold(full=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._line.connection_lost(exc)
        if not self.gone.done():
            self.gone.set_result(None)

    def _paid(self) -> None:
        self._paying = None
        self._read_or_not()

    def _read_or_not(self) -> None:
        if self._transport.is_closing():
            return
        wanted = not self._full and self._paying is None
        if wanted != self._transport.is_reading():
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()


def keep_alive(sock: socket.socket) -> None:
    """Find out in a minute that a gateway has lost its power or its line."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _holder(shown: dict[str, object]) -> tuple[str, int]:
    """Name and number of a certificate that the handshake has checked."""
    subject = shown.get("subject", ())
    assert isinstance(subject, tuple)
    names = [value for part in subject for kind, value in part if kind == "commonName"]
    return (names[0] if len(names) == 1 else ""), int(str(shown.get("serialNumber", "0")), 16)
