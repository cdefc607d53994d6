"""The line between the demo's gateway and its cloud: a TCP proxy that `edgetwin demo cut` and `demo restore` turn.

They write one word into a file of the state folder, which the demo looks at.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final, Self

CUT: Final = "cut"
UP: Final = "up"
LOOK_S: Final = 0.1


class DemoLine:
    """Carries connections to ``target``, a loopback port, while the file says so."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None
        self._up = True
        self.target = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        self._file.write_text(UP, encoding="ascii")
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._watching = asyncio.create_task(self._watch(), name="line of the demo")
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Break what is carried, and stop."""
        assert self._server is not None
        assert self._watching is not None
        self._watching.cancel()
        self._server.close()
        self._abort()
        self._file.unlink(missing_ok=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(OSError):
                self._up = self._file.read_text(encoding="ascii").strip() != CUT
            if not self._up:
                self._abort()

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._up or not self.target:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))
        self._writers -= ends


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    writer.transport.abort()
