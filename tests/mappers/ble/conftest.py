"""A gateway and a sensor in one air."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from mappers.ble.config import BleConnection, BleDevice
from mappers.ble.driver import BleDriver
from mappers.ble.point import BlePoint
from mappers.ble.virtual import Air
from mappers.sdk import NotConnected, Point, Readings, ValueType
from tests.peers.ble_peripheral import Sensor

MAC = "C4:7C:8D:6A:12:34"


@dataclass
class Told:
    """A listener that keeps what it is told."""

    values: dict = field(default_factory=dict)
    faults: dict = field(default_factory=dict)
    count: int = 0
    alive_count: int = 0
    error: NotConnected | None = None

    def tell(self, readings: Readings) -> None:
        self.count += 1
        self.values |= readings.values
        for name in readings.values.keys() - readings.faults.keys():
            self.faults.pop(name, None)
        self.faults |= readings.faults

    def alive(self) -> None:
        self.alive_count += 1

    def lost(self, error: NotConnected) -> None:
        self.error = error


def point(name: str, kind: str = "DOUBLE", **visitor) -> Point[BlePoint]:
    return Point(name, ValueType(kind), BlePoint.model_validate(visitor))


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # conditions of a peer have no event
            await asyncio.sleep(0.005)


@pytest.fixture
async def air():
    return Air()


@pytest.fixture
async def sensor(air):
    made = Sensor()
    await made.start(await air.device(MAC, "Sensor"))
    return made


@pytest.fixture
async def driver(air):
    config = BleConnection(timeout_ms=400, connect_timeout_ms=3000, reconnect_max_ms=50)
    made = BleDriver(config, radio=air.radio(), rng=Random(1))
    await made.connect()
    yield made
    await made.close()


@pytest.fixture
def device():
    return BleDevice.model_validate({"mac": MAC})
