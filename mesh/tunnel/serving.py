"""The callee's side: lets other gateways reach the endpoints that are on this node, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from typing import Final

from mesh.model.services import Endpoint, Origin
from mesh.planes.listeners import BACKLOG
from mesh.tunnel.accepting import HANDSHAKE_S, Accepting
from mesh.tunnel.bridge import Bridge
from mesh.tunnel.frames import Answer, Ask, BadFrame
from mesh.tunnel.identity import Identity, NotTrusted
from mesh.tunnel.line import Line
from mesh.upstream import Upstreams

ASK_S: Final = 120.0
"""A caller keeps lines ready that it has nothing to ask for yet."""
CONNECT_S: Final = 5.0
MAX_LINES: Final = 1024
_MAX_READY: Final = 16
"""Lines of one gateway on which nothing was asked yet."""
_PAUSE_S: Final = 0.1

log = logging.getLogger(__name__)


class TunnelServer:
    """Takes lines of other gateways. ``node`` is our own name: endpoints of other nodes are none of its business."""

    def __init__(self, identity: Identity, upstreams: Upstreams, node: str) -> None:
        self._identity = identity
        self._upstreams = upstreams
        self._node = node
        self._accepting = Accepting("tunnel", identity.serving, self.serve, backlog=BACKLOG, most=MAX_LINES)
        self._lines: set[Line] = set()
        self._ready: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._accepting)

    async def open(self, address: str, port: int) -> int:
        """Listen; returns the port. Raises OSError."""
        return await self._accepting.open(address, port)

    async def close(self) -> None:
        """End all lines."""
        lines = list(self._lines)
        await self._accepting.close()
        if ends := [line.on_gone for line in lines if not line.gone]:
            await asyncio.wait(ends, timeout=_PAUSE_S)

    async def serve(self, line: Line) -> None:
        """See one line to its end; its handshake is over."""
        self._lines.add(line)
        line.on_gone.add_done_callback(lambda _: self._lines.discard(line))
        try:
            assert line.transport is not None
            caller = self._identity.check(line.transport.get_extra_info("ssl_object"))
            await self._answer(line, caller)
        except (NotTrusted, BadFrame) as problem:
            log.warning("a line of the tunnel was refused: %s", problem)
        except (OSError, TimeoutError, ssl.SSLError) as problem:
            log.debug("a line of the tunnel ended: %s", problem)
        finally:
            line.abort()

    async def _answer(self, line: Line, caller: str) -> None:
        if self._ready.get(caller, 0) >= _MAX_READY:
            text = f"{caller} keeps more than {_MAX_READY} lines ready"
            raise NotTrusted(text)
        self._ready[caller] = self._ready.get(caller, 0) + 1
        try:
            async with asyncio.timeout(ASK_S):
                ask = await line.hear(Ask)
        finally:
            self._ready[caller] -= 1
            if not self._ready[caller]:
                del self._ready[caller]
        endpoint = self._endpoint(ask)
        if endpoint is None:
            log.info("%s asked for %s of %s, which is not here", caller, ask.place, ask.key)
            await self._refuse(line, f"{ask.place} of {ask.key} is not on {self._node}")
            return
        try:
            sock = await _connected(endpoint)
        except (OSError, TimeoutError) as problem:
            await self._refuse(line, f"{endpoint.place} does not answer: {str(problem) or 'time-out'}")
            return
        line.say(Answer())
        bridge = Bridge(line)
        await asyncio.get_running_loop().create_connection(lambda: bridge, sock=sock)
        try:
            await bridge.done
        except asyncio.CancelledError:
            bridge.lost()
            raise
        async with asyncio.timeout(HANDSHAKE_S):
            await line.on_gone

    async def _refuse(self, line: Line, why: str) -> None:
        line.say(Answer(refused=why))
        line.close()
        async with asyncio.timeout(HANDSHAKE_S):
            await line.on_gone

    def _endpoint(self, ask: Ask) -> Endpoint | None:
        """The endpoint that is meant, if it is in our table, on our node, and reached without a tunnel."""
        upstream = self._upstreams.get(ask.key)
        target = upstream.targets.get(ask.place) if upstream else None
        if target is None or target.endpoint.via:
            return None
        here = target.endpoint.origin is Origin.HERE or (self._node and target.endpoint.node == self._node)
        return target.endpoint if here else None


async def _connected(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with contextlib.ExitStack() as stack:
        stack.callback(sock.close)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(CONNECT_S):
            await asyncio.get_running_loop().sock_connect(sock, (endpoint.address, endpoint.port))
        stack.pop_all()
    return sock
