"""A gateway and a sensor in one air."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from bumble.device import Device

from mappers.ble.config import BleConnection, BleDevice
from mappers.ble.driver import BleDriver
from mappers.ble.point import BlePoint
from mappers.ble.radio import BleakRadio
from mappers.ble.virtual import Air
from mappers.sdk import NotConnected, Point, Readings, ValueType
from tests.peers.ble_peripheral import Sensor
from tests.peers.bluez_facade import Facade, PrivateBus

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


@contextlib.asynccontextmanager
async def on_bluez(air: Air, folder: Path, adapters: dict[str, Device] | None = None) -> AsyncIterator[Facade]:
    """org.bluez on a bus of our own, with the gateway's adapter as hci0: what bleak finds when no backend is named."""
    with pytest.MonkeyPatch.context() as patch:
        async with PrivateBus(folder) as address:
            patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
            async with Facade(address, adapters or {"hci0": await air.central()}) as facade:
                yield facade


def new_driver(radio: BleakRadio | None, **settings) -> BleDriver:
    config = {"timeout_ms": 400, "connect_timeout_ms": 3000, "reconnect_max_ms": 50, **settings}
    return BleDriver(BleConnection(**config), radio=radio, rng=Random(1))


@pytest.fixture(params=["virtual", "bluez"])
async def driver(request, air, tmp_path):
    """A driver over our own backend, and over bleak's for BlueZ."""
    async with contextlib.AsyncExitStack() as stack:
        radio = air.radio() if request.param == "virtual" else None
        if radio is None:
            await stack.enter_async_context(on_bluez(air, tmp_path))
        made = new_driver(radio)
        await made.connect()
        yield made
        await made.close()


@pytest.fixture
def device():
    return BleDevice.model_validate({"mac": MAC})
