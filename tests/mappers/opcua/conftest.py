"""An independent OPC UA server for the driver: npm's node-opcua, with every security policy."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from mappers.opcua.config import OpcuaConnection, OpcuaDevice, OpcuaPoint
from mappers.opcua.driver import OpcuaDriver
from mappers.sdk import NotConnected, Point, Readings, Value, ValueType
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
MODULES = ROOT / ".cache" / "peers" / "node_modules"
SERVER = ROOT / "tests" / "peers" / "opcua_server.js"
START_S = 60.0


class Server:
    """node-opcua in a child process."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"

    async def start(self, *arguments: object, **environment: str) -> None:
        with (self._folder / "server.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "node", str(SERVER), str(self.port), str(self._folder), *map(str, arguments),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                env={**os.environ, "PEER_MODULES": str(MODULES), **environment},
            )  # fmt: skip
        await self._until("READY", START_S)

    async def set(self, name: str, value: str) -> None:
        await self._tell(f"set {name} {value}")

    async def status(self, name: str, code: str) -> None:
        await self._tell(f"status {name} {code}")

    async def event(self, message: str, severity: int) -> None:
        await self._tell(f"event {message} {severity}")

    async def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.communicate()

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def _tell(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._until(f"DONE {line}", 10)

    async def _until(self, wanted: str, wait_s: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(wait_s):
            while (line := await self._process.stdout.readline()).decode().rstrip() != wanted:
                assert line, (self._folder / "server.log").read_text()[-2000:]


class Heard:
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.readings: list[Readings] = []
        self.alive_count = 0
        self.losses: list[NotConnected] = []
        self._news = asyncio.Event()

    def tell(self, readings: Readings) -> None:
        self.readings.append(readings)
        self._news.set()

    def alive(self) -> None:
        self.alive_count += 1
        self._news.set()

    def lost(self, error: NotConnected) -> None:
        self.losses.append(error)
        self._news.set()

    def values(self, name: str) -> list[Value]:
        return [one.values[name] for one in self.readings if name in one.values]

    async def until(self, condition: Callable[[], Any], wait_s: float = 15) -> None:
        async with asyncio.timeout(wait_s):
            while not condition():
                self._news.clear()
                await self._news.wait()


def at(name: str, **more: object) -> Point[OpcuaPoint]:
    return Point(name, ValueType.JSON, OpcuaPoint.model_validate({"nodeId": f"ns=1;s=Tank.{name}", **more}))


@pytest.fixture
async def server(tmp_path) -> AsyncIterator[Server]:
    if shutil.which("node") is None or not (MODULES / "node-opcua-server").exists():
        pytest.skip("node-opcua is not there: it needs npm, then tools/peers.sh")
    made = Server(tmp_path)
    yield made
    await made.stop()


@pytest.fixture
async def connect(server, tmp_path) -> AsyncIterator[Callable[..., Awaitable[OpcuaDriver]]]:
    """Make a driver of these settings and connect it; all are closed with the test."""
    made: list[OpcuaDriver] = []

    async def new(**settings: object) -> OpcuaDriver:
        config = {"url": server.url, "pki": str(tmp_path / "ours"), "keepAliveMs": 500, "timeoutMs": 5000, **settings}
        driver = OpcuaDriver(OpcuaConnection.model_validate(config))
        made.append(driver)
        await driver.connect()
        return driver

    yield new
    for driver in made:
        await driver.close()


@pytest.fixture
def point() -> Callable[..., Point[OpcuaPoint]]:
    return at


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def device() -> OpcuaDevice:
    return OpcuaDevice()
