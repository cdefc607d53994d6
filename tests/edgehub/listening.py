"""The socket of a systemd that listens."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Self

LIMIT_S = 30


class Listening:
    """``async with`` one; ``next`` is what is told next."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._told: asyncio.Queue[str] = asyncio.Queue(10_000)

    async def __aenter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._hear)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    async def next(self) -> str:
        async with asyncio.timeout(LIMIT_S):
            return await self._told.get()

    def heard(self) -> list[str]:
        return [self._told.get_nowait() for _ in range(self._told.qsize())]

    def _hear(self) -> None:
        self._told.put_nowait(self._socket.recv(4096).decode())
