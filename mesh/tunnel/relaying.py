"""This gateway at the relay: waits there to be called, and calls others.

outer TLS, to the relay, which knows who we are       waiting ──called──> answered ──> inner TLS, as its server
inner TLS, to the gateway, which the relay cannot read     └──lost──> dialled again after a while (full jitter)
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from random import Random
from typing import Final

from mesh.tunnel.frames import Answer, BadFrame, Called, Join
from mesh.tunnel.identity import Identity, NotTrusted
from mesh.tunnel.line import Line
from mesh.tunnel.serving import TunnelServer

WAITING: Final = 2
"""Connections that wait to be called; each call takes one, and another is made at once."""
CONNECT_S: Final = 10.0
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 30.0
_STEADY_S: Final = 5.0
"""A connection that lived for so long was no failure."""

log = logging.getLogger(__name__)


class RelayClient:
    """The line to one relay. Without ``server`` it only calls."""

    def __init__(
        self,
        identity: Identity,
        host: str,
        port: int,
        *,
        rng: Random,
        clock: Callable[[], float],
        server: TunnelServer | None = None,
    ) -> None:
        self._identity = identity
        self._host = host
        self._port = port
        self._rng = rng
        self._clock = clock
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()
        self._failing = False
        self.waiting = 0
        """Connections that wait to be called now."""

    def open(self) -> None:
        """Begin to wait, in the running loop."""
        if self._server is not None:
            for _ in range(WAITING):
                self._start(self._wait_again_and_again(self._server))

    async def close(self) -> None:
        """Wait no more, and end what came of it."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def call(self, gateway: str) -> Line:
        """A line to a gateway that waits at the relay. Raises OSError, TimeoutError, NotTrusted."""
        outer = await self._at_relay(Join(call=gateway))
        try:
            answer = await outer.hear(Answer)
            if answer.refused:
                raise ConnectionRefusedError(errno.ECONNREFUSED, answer.refused)
            inner = await _inner(outer, self._identity.calling(), server_side=False)
        except (BadFrame, ssl.SSLError) as problem:
            outer.abort()
            raise ConnectionAbortedError(errno.ECONNABORTED, str(problem)) from problem
        except BaseException:
            outer.abort()
            raise
        try:
            assert inner.transport is not None
            self._identity.check(inner.transport.get_extra_info("ssl_object"), gateway)
        except NotTrusted:
            inner.abort()
            raise
        return inner

    # -- to be called --------------------------------------------------------------------------------------------------

    async def _wait_again_and_again(self, server: TunnelServer) -> None:
        ceiling_s = FIRST_WAIT_S
        while True:
            began_s = self._clock()
            try:
                await self._wait(server)
            except (OSError, TimeoutError, BadFrame, ssl.SSLError, ValueError) as problem:
                log.log(
                    logging.DEBUG if self._failing else logging.WARNING,
                    "not at the relay %s:%d: %s; other gateways reach this one directly or not at all",
                    *(self._host, self._port, str(problem) or "time-out"),
                )
                self._failing = True
                if self._clock() - began_s >= _STEADY_S:
                    ceiling_s = FIRST_WAIT_S
                await asyncio.sleep(self._rng.uniform(0.0, ceiling_s))
                ceiling_s = min(2 * ceiling_s, LONGEST_WAIT_S)
            else:
                ceiling_s = FIRST_WAIT_S

    async def _wait(self, server: TunnelServer) -> None:
        """Be called once, and let the call go its way."""
        outer = await self._at_relay(Join())
        if self._failing:
            log.info("at the relay %s:%d again", self._host, self._port)
        self._failing = False
        self.waiting += 1
        try:
            await outer.hear(Called)
        except BaseException:
            outer.abort()
            raise
        finally:
            self.waiting -= 1
        self._start(self._take(outer, server))

    async def _take(self, outer: Line, server: TunnelServer) -> None:
        # With our answer the relay lets the caller's bytes through: TLS must have taken over before the next turn.
        outer.say(Answer())
        try:
            async with asyncio.timeout(CONNECT_S):
                inner = await _inner(outer, self._identity.serving(), server_side=True)
        except (OSError, TimeoutError, ssl.SSLError, ValueError) as problem:
            log.info("a call by the relay was refused: %s", str(problem) or "time-out")
            outer.abort()
            return
        except BaseException:
            outer.abort()
            raise
        await server.serve(inner)

    async def _at_relay(self, join: Join) -> Line:
        line = Line()
        async with asyncio.timeout(CONNECT_S):
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: line, self._host, self._port, ssl=self._identity.relay(), server_hostname=self._host
            )
        _keep_alive(transport.get_extra_info("socket"))
        line.say(join)
        return line

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _inner(outer: Line, context: ssl.SSLContext, *, server_side: bool) -> Line:
    """TLS inside of a line; what was a line is its carrier from now on."""
    assert outer.transport is not None
    line = Line()
    transport = await asyncio.get_running_loop().start_tls(
        outer.transport, line, context, server_side=server_side, ssl_handshake_timeout=CONNECT_S
    )
    if transport is None:
        text = "the line was closed"
        raise ConnectionResetError(text)
    line.connection_made(transport)
    return line


def _keep_alive(sock: socket.socket) -> None:
    """Routers forget still connections, and a relay that lost its power says nothing."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
