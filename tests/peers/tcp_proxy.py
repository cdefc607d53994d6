"""A line between a client and a server that breaks on request: cut, silent, slow, in crumbs, noisy."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType


class Line:
    """A proxy on a port of the loopback, a free one if none is given. Its fields say how the line is, at any time."""

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = port
        self.silent = False
        """Swallows all bytes, both ways; connections stand and new ones are taken."""
        self.delay_s = 0.0
        self.crumbs = False
        """Bytes come one by one."""

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._on_client, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self.pull()

    async def pull(self) -> None:
        """Pull the cable: who is connected is reset, who comes is refused."""
        if self._server is not None:
            self._server.close()
        for writer in self._ends:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cut(self) -> None:
        """Reset who is connected, after what was said has gone; who comes is served."""
        for writer in list(self._ends):
            with contextlib.suppress(OSError):
                await writer.drain()
        for writer in list(self._ends):
            writer.close()

    def say(self, noise: bytes) -> None:
        """Have clients receive bytes that the server did not send."""
        for writer in self._ends:
            if writer.get_extra_info("sockname")[1] == self.port:
                writer.write(noise)

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._ends |= {writer, back}
        for one, other in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(one, other))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while given := await reader.read(65_536):
                if self.silent:
                    continue
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                for part in [given[at : at + 1] for at in range(len(given))] if self.crumbs else [given]:
                    writer.write(part)
                    await writer.drain()
                    if self.crumbs:
                        await asyncio.sleep(0)
        self._ends.discard(writer)
        writer.transport.abort()
