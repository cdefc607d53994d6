"""An independent OPC UA server for the driver: npm's node-opcua, with every security policy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from mappers.opcua.config import OpcuaConnection, OpcuaDevice, OpcuaPoint
from mappers.opcua.driver import OpcuaDriver
from mappers.sdk import NotConnected, Point, Readings, Value, ValueType
from tests.peers.opcua import OpcuaServer, need_node_opcua


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

    async def until(self, condition: Callable[[], Any], wait_s: float = 60) -> None:
        async with asyncio.timeout(wait_s):
            while not condition():
                self._news.clear()
                await self._news.wait()


def at(name: str, **more: object) -> Point[OpcuaPoint]:
    return Point(name, ValueType.JSON, OpcuaPoint.model_validate({"nodeId": f"ns=1;s=Tank.{name}", **more}))


@pytest.fixture(scope="session")
def shared(tmp_path_factory) -> Iterator[OpcuaServer]:
    need_node_opcua()
    made = OpcuaServer(tmp_path_factory.mktemp("opcua"), 1, 20)  # the node n0 changes every 20 ms
    made.start()
    yield made
    made.stop()


@pytest.fixture
def server(shared: OpcuaServer) -> OpcuaServer:
    """As it is after its start, whatever the test before did to it."""
    shared.start()
    shared.reset()
    return shared


@pytest.fixture(scope="session")
def strict(tmp_path_factory) -> Iterator[OpcuaServer]:
    """Lets nobody in without a name, or with a certificate of whoever; answers two nodes at a time."""
    need_node_opcua()
    made = OpcuaServer(tmp_path_factory.mktemp("strict"), ANONYMOUS="0", ANY_USER="1", MAX_READ="2")
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def connect(shared, tmp_path) -> AsyncIterator[Callable[..., Awaitable[OpcuaDriver]]]:
    """Make a driver of these settings and connect it; all are closed with the test."""
    made: list[OpcuaDriver] = []

    async def new(**settings: object) -> OpcuaDriver:
        config = {
            "url": shared.url,
            "pki": str(tmp_path / "ours"),
            "keepAliveMs": 5000,
            "timeoutMs": 10_000,
            **settings,
        }
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
