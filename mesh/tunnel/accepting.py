"""Takes in TLS connections: the one accept loop of tunnels and relays.

listener ──sock──> handshake ──line──> serve(line), a task of its own; more than so many are closed at once
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from mesh.tunnel.line import Line

HANDSHAKE_S: Final = 10.0
_PAUSE_S: Final = 0.1

log = logging.getLogger(__name__)


class Accepting:
    """One listener. ``context`` is asked for each connection, so that a renewed certificate counts.

    ``serve`` sees one line to its end, its handshake over. ``prepare`` is given each socket before that.
    """

    def __init__(
        self,
        name: str,
        context: Callable[[], ssl.SSLContext],
        serve: Callable[[Line], Awaitable[None]],
        *,
        prepare: Callable[[socket.socket], None] = lambda _: None,
        backlog: int,
        most: int = 0,
    ) -> None:
        self._name = name
        self._context = context
        self._serve = serve
        self._prepare = prepare
        self._backlog = backlog
        self._most = most
        """Connections at once; 0: as many as come."""
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._serving)

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError."""
        family, _, _, _, place = (
            await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(place)
            listener.listen(self._backlog)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener), name=self._name)
        bound: int = listener.getsockname()[1]
        return bound

    async def close(self) -> None:
        """End all tasks, and listen no more."""
        tasks = [*self._serving, *([self._accepting] if self._accepting is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._listener is not None:
            self._listener.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as problem:
                log.warning("the %s cannot accept: %s", self._name, problem)
                await asyncio.sleep(_PAUSE_S)
                continue
            if self._most and len(self._serving) >= self._most:
                sock.close()
                continue
            task = loop.create_task(self._greet(sock))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _greet(self, sock: socket.socket) -> None:
        line = Line()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._prepare(sock)
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: line, sock, ssl=self._context(), ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, ssl.SSLError, ValueError) as problem:
            log.info("a connection to the %s was refused: %s", self._name, problem)
            sock.close()
            return
        except BaseException:
            sock.close()
            raise
        await self._serve(line)
