"""A TCP proxy that makes faults, on a port that stays the same."""

from __future__ import annotations

import asyncio
import contextlib
from typing import ClassVar

from mappers.testkit.line import Ability, Line

_HOST = "127.0.0.1"
_CHUNK_BYTES = 65536


class TcpProxy(Line):
    """Between a driver and a TCP peer."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(Ability)

    def __init__(self, peer_host: str, peer_port: int) -> None:
        self.host = _HOST
        self.port = 0
        self._peer = peer_host, peer_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._drivers: set[asyncio.StreamWriter] = set()
        self._left: int | None = None
        self._calm()

    @property
    def standing(self) -> int:
        """Connections that stand."""
        return len(self._drivers)

    async def open(self) -> None:
        """Listen."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]
            self.place = f"{self.host}:{self.port}"

    async def close(self) -> None:
        """Cut all, and listen no more."""
        await self.refuse()

    async def mend(self) -> None:
        """Be as it should."""
        self._calm()
        await self.open()

    async def refuse(self) -> None:
        """Cut, and let nobody in."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self.cut()

    async def cut(self) -> None:
        """Cut what stands."""
        for writer in tuple(self._writers):
            writer.transport.abort()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def freeze(self) -> None:
        """Lose every byte."""
        self._frozen = True

    def delay(self, seconds: float) -> None:
        """Hold back each answer."""
        self._delay_s = seconds

    def throttle(self, bytes_per_s: float) -> None:
        """Let answers through byte by byte."""
        self._byte_s = 1 / bytes_per_s

    def cut_within(self, count: int) -> None:
        """Cut within the next answer."""
        self._left = count

    def garbage(self, noise: bytes) -> None:
        """Send bytes that nobody sent."""
        for writer in self._drivers:
            writer.write(noise)

    def _calm(self) -> None:
        self._frozen = False
        self._delay_s = 0.0
        self._byte_s = 0.0
        self._left = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._drivers.add(writer)
        peer: asyncio.StreamWriter | None = None
        try:
            answers, peer = await asyncio.open_connection(*self._peer)
            self._writers |= {writer, peer}
            pumps = [
                asyncio.ensure_future(self._ask(reader, peer)),
                asyncio.ensure_future(self._answer(answers, writer)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # cut, or the peer is gone; a handler of a server that ends so is no error
        finally:
            self._tasks.discard(task)
            self._drivers.discard(writer)
            for one in filter(None, (writer, peer)):
                self._writers.discard(one)
                one.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if not self._frozen:
                    writer.write(chunk)
                    await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if self._frozen:
                    continue
                if self._left is not None:
                    chunk, self._left = chunk[: self._left], self._left - len(chunk)
                if self._byte_s:
                    for byte in chunk:
                        writer.write(bytes((byte,)))
                        await asyncio.sleep(self._byte_s)
                else:
                    writer.write(chunk)
                await writer.drain()
                if self._left is not None and self._left <= 0:
                    self._left = None
                    return
