"""The caller's side: reaches endpoints on other gateways, directly where their tunnel is reached, else by the relay."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from mesh.model.services import Endpoint, PortKey
from mesh.tunnel.bridge import Bridge, loopback_pair
from mesh.tunnel.frames import Answer, Ask, BadFrame
from mesh.tunnel.identity import Identity, NotTrusted
from mesh.tunnel.line import Line

READY: Final = 2
"""Lines to a gateway that are kept ready once it was called: a handshake less for the next."""
READY_S: Final = 60.0
DIRECT_S: Final = 1.0
"""After that the relay is tried as well."""
ESTRANGED_S: Final = 30.0
"""For so long a gateway that was not reached directly is called by the relay at once."""

log = logging.getLogger(__name__)


class ByRelay(Protocol):
    """Makes lines to gateways that are not reached directly."""

    async def call(self, gateway: str) -> Line:
        """A line to it, whose certificate was checked. Raises OSError, TimeoutError, NotTrusted."""


@dataclass(slots=True)
class _Ready:
    line: Line
    until_s: float


class TunnelDialer:
    """A Dialer for both planes. ``peers`` are the gateways' tunnels as host and port."""

    def __init__(
        self,
        identity: Identity,
        peers: Mapping[str, tuple[str, int]],
        clock: Callable[[], float],
        relay: ByRelay | None = None,
    ) -> None:
        self.peers = peers
        """May be replaced at any time."""
        self._identity = identity
        self._clock = clock
        self._relay = relay
        self._ready: dict[str, deque[_Ready]] = {}
        self._estranged: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._bridges: set[Bridge] = set()
        self._closed = False

    async def dial(self, port: PortKey, endpoint: Endpoint, timeout_s: float) -> socket.socket:
        """A connected socket that leads to the endpoint. Raises OSError, TimeoutError."""
        if self._closed:
            raise OSError(errno.ESHUTDOWN, "the tunnel is closed")
        async with asyncio.timeout(timeout_s):
            ask = Ask(
                namespace=port.service.namespace,
                service=port.service.name,
                port=port.port,
                place=replace(endpoint, via="").place,
            )
            line = await self._asked(endpoint.via, ask)
        try:
            return await self._bridged(line)
        except BaseException:
            line.abort()
            raise

    async def close(self) -> None:
        """End every line."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for ready in self._ready.values():
            for one in ready:
                one.line.abort()
        self._ready.clear()
        for bridge in list(self._bridges):
            bridge.lost()

    async def _asked(self, gateway: str, ask: Ask) -> Line:
        """A line on which the callee has agreed. One that was kept ready may have died, which costs a second try."""
        line = self._take(gateway)
        if line is not None:
            try:
                return await self._ask(line, ask)
            except ConnectionResetError:
                line.abort()
        return await self._ask(await self._line(gateway), ask)

    async def _ask(self, line: Line, ask: Ask) -> Line:
        try:
            line.say(ask)
            answer = await line.hear(Answer)
        except BadFrame as problem:
            line.abort()
            raise ConnectionResetError(errno.ECONNRESET, str(problem)) from problem
        except BaseException:
            line.abort()
            raise
        if answer.refused:
            line.abort()
            raise ConnectionRefusedError(errno.ECONNREFUSED, answer.refused)
        return line

    async def _line(self, gateway: str) -> Line:
        """A new line, by the way that works."""
        peer = self.peers.get(gateway)
        estranged = self._clock() < self._estranged.get(gateway, 0.0)
        if peer is not None and not (estranged and self._relay is not None):
            try:
                async with asyncio.timeout(DIRECT_S):
                    line = await self._direct(gateway, *peer)
            except (OSError, TimeoutError) as problem:
                if self._relay is None:
                    raise
                log.info("%s is not reached directly, so by the relay: %s", gateway, str(problem) or "time-out")
                self._estranged[gateway] = self._clock() + ESTRANGED_S
            else:
                self._estranged.pop(gateway, None)
                self._keep_ready(gateway)
                return line
        if self._relay is None:
            raise OSError(errno.EHOSTUNREACH, f"no way to {gateway} is known")
        try:
            return await self._relay.call(gateway)
        except NotTrusted as problem:
            log.warning("%s by the relay: %s", gateway, problem)
            raise ConnectionAbortedError(errno.ECONNABORTED, str(problem)) from problem

    async def _direct(self, gateway: str, host: str, port: int) -> Line:
        loop = asyncio.get_running_loop()
        line = Line()
        try:
            transport, _ = await loop.create_connection(lambda: line, host, port, ssl=self._identity.calling())
        except (ssl.SSLError, ValueError) as problem:
            raise ConnectionAbortedError(errno.ECONNABORTED, str(problem)) from problem
        try:
            self._identity.check(transport.get_extra_info("ssl_object"), gateway)
        except NotTrusted as problem:
            log.warning("%s at %s:%d: %s", gateway, host, port, problem)
            line.abort()
            raise ConnectionAbortedError(errno.ECONNABORTED, str(problem)) from problem
        return line

    # -- lines that are ready ------------------------------------------------------------------------------------------

    def _take(self, gateway: str) -> Line | None:
        ready = self._ready.get(gateway)
        while ready:
            one = ready.popleft()
            if not one.line.gone and self._clock() < one.until_s:
                self._keep_ready(gateway)
                return one.line
            one.line.abort()
        return None

    def _keep_ready(self, gateway: str) -> None:
        ready = self._ready.setdefault(gateway, deque())
        peer = self.peers.get(gateway)
        if peer is not None and len(ready) < READY and not self._closed:
            task = asyncio.get_running_loop().create_task(self._prepare(gateway, peer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _prepare(self, gateway: str, peer: tuple[str, int]) -> None:
        try:
            async with asyncio.timeout(DIRECT_S):
                line = await self._direct(gateway, *peer)
        except (OSError, TimeoutError) as problem:
            log.debug("no line to %s is kept ready: %s", gateway, problem)
            return
        self._ready.setdefault(gateway, deque()).append(_Ready(line, self._clock() + READY_S))

    # -- the local end -------------------------------------------------------------------------------------------------

    async def _bridged(self, line: Line) -> socket.socket:
        near, far = loopback_pair()
        bridge = Bridge(line)
        try:
            await asyncio.get_running_loop().create_connection(lambda: bridge, sock=far)
        except BaseException:
            near.close()
            far.close()
            raise
        self._bridges.add(bridge)
        bridge.done.add_done_callback(lambda _: self._bridges.discard(bridge))
        return near
