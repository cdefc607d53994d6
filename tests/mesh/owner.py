"""The owner of a mesh process in a test: starts it, tells it tables, hears what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

from mesh.control import Line
from mesh.difference import table_difference
from mesh.frames import Begin, Changed, Programmed, Ready, Whole, encode, from_mesh
from mesh.model.table import Table, TableChange
from mesh.settings import Settings
from tests import ports

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 20


class Owner:
    """One process of the mesh, and the line to it."""

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self._folder = folder
        self._settings = settings or Settings()
        self._heard = asyncio.Condition()
        self._line: Line | None = None
        self._server: asyncio.Server | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.frames = []
        self.number = 0

    async def __aenter__(self) -> Owner:
        path = self._folder / "mesh.sock"
        self._server = await asyncio.get_running_loop().create_unix_server(self._made, str(path))
        await self.start()
        return self

    async def __aexit__(self, *_) -> None:
        await self.end()
        self._server.close()

    async def start(self) -> None:
        """Start the process, and begin."""
        self.frames.clear()
        self._line = None
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mesh.process", "--control", "mesh.sock",
            cwd=self._folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE_S), self._heard:
            await self._heard.wait_for(lambda: self._line is not None)
        self.say(Begin(settings=self._settings))

    async def end(self) -> int:
        """End it politely; its exit code."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    def say(self, frame) -> None:
        """Tell it something."""
        self._line.send(encode(frame))

    def say_bytes(self, text: bytes) -> None:
        """Tell it anything."""
        self._line.send(text)

    async def hear(self, kind, also=lambda frame: True):
        """The next frame of a kind, of those that are not asked for yet."""
        found = []

        def there():
            found[:] = [one for one in self.frames if isinstance(one, kind) and also(one)]
            return bool(found)

        async with asyncio.timeout(PATIENCE_S), self._heard:
            await self._heard.wait_for(there)
            self.frames.remove(found[0])
        return found[0]

    async def whole(self, table: Table) -> Programmed:
        """Give it a table, and wait until that is carried out."""
        self.number += 1
        self.say(Whole(number=self.number, table=table_difference(Table(), table)))
        return await self.done()

    async def change(self, **fields) -> Programmed:
        """The same of a change."""
        self.number += 1
        self.say(Changed(number=self.number, change=TableChange(**fields)))
        return await self.done()

    async def done(self) -> Programmed:
        """Wait until the last table is carried out."""
        return await self.hear(Programmed, lambda one: one.number == self.number)

    async def ready(self) -> Ready:
        """Wait until it is ready."""
        return await self.hear(Ready)

    def _made(self) -> Line:
        line = Line(self._took, lambda _: None)
        asyncio.get_running_loop().create_task(self._came(line))
        return line

    async def _came(self, line: Line) -> None:
        async with self._heard:
            self._line = line
            self._heard.notify_all()

    def _took(self, line: Line, text: bytes) -> None:
        asyncio.get_running_loop().create_task(self._add(from_mesh(text)))

    async def _add(self, frame) -> None:
        async with self._heard:
            self.frames.append(frame)
            self._heard.notify_all()


class Backend:
    """An endpoint that says its name to whoever connects, then says back what it hears."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self.server: asyncio.Server | None = None

    async def __aenter__(self) -> Backend:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_) -> None:
        self.server.close()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader, writer) -> None:
        try:
            writer.write(self._name + b"\n")
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def until(holds, every_s: float = 0.02):
    """Wait until this returns something true, and return it."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await holds()):  # noqa: ASYNC110 - another process sets no events of ours
            await asyncio.sleep(every_s)
    return found


def free_port(address: str = "127.0.0.1") -> int:
    return ports.free_port(address=address)


async def greeting(address: str, port: int) -> str:
    """Who answers there; empty: nobody."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                return (await reader.readline()).decode().strip()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return ""
