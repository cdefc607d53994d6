"""Virtual devices on ptys, and drivers that are closed with the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from mappers.sdk import NotConnected, Point, Readings, ValueType
from mappers.serialgpio.config import SerialgpioConnection
from mappers.serialgpio.firmata_driver import FirmataDriver
from mappers.serialgpio.frames_driver import FramesDriver
from mappers.serialgpio.point import SerialgpioPoint
from mappers.serialgpio.virtual_board import VirtualBoard
from mappers.serialgpio.virtual_line import BoardOnLine, VirtualLine

WAIT_S = 10.0
QUICK = {"timeoutMs": 1000, "bootMs": 3000, "samplingMs": 10, "aliveMs": 400}


async def until(ready: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(timeout_s):
        while not ready():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.005)


def point(name: str, value_type: ValueType = ValueType.BOOLEAN, **address: object) -> Point[SerialgpioPoint]:
    return Point(name, value_type, SerialgpioPoint.model_validate(address))


class Ear:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.faults: dict[str, object] = {}
        self.told: list[Readings] = []
        self.alive_count = 0
        self.error: NotConnected | None = None

    def tell(self, readings: Readings) -> None:
        self.told.append(readings)
        self.values.update(readings.values)
        self.faults.update(readings.faults)

    def alive(self) -> None:
        self.alive_count += 1

    def lost(self, error: NotConnected) -> None:
        self.error = error


@pytest.fixture
async def board(tmp_path) -> AsyncIterator[BoardOnLine]:
    """A virtual Uno; its path outlives its cable."""
    async with BoardOnLine(VirtualBoard(), tmp_path / "board") as board:
        yield board


@pytest.fixture
async def new_driver() -> AsyncIterator[Callable[..., FirmataDriver]]:
    """Drivers at a path."""
    drivers: list[FirmataDriver] = []

    def make(path: str, **settings: object) -> FirmataDriver:
        driver = FirmataDriver(SerialgpioConnection.model_validate({"serialPort": path, **QUICK, **settings}))
        drivers.append(driver)
        return driver

    yield make
    for driver in drivers:
        await driver.close()


@pytest.fixture
async def driver(board, new_driver) -> FirmataDriver:
    """A driver connected to the board."""
    driver = new_driver(board.line.path)
    await driver.connect()
    return driver


@pytest.fixture
async def plug(tmp_path) -> AsyncIterator[Callable[..., VirtualLine]]:
    """Lines with something at their end; pulled with the test."""
    lines: list[VirtualLine] = []

    def make(answer: Callable[[bytes], bytes] = lambda _: b"") -> VirtualLine:
        line = VirtualLine(answer, tmp_path / f"line{len(lines)}")
        line.plug()
        lines.append(line)
        return line

    yield make
    for line in lines:
        line.pull()


@pytest.fixture
async def open_frames() -> AsyncIterator[Callable[..., object]]:
    """Connected drivers of messages."""
    drivers: list[FramesDriver] = []

    async def make(line: VirtualLine, **settings: object) -> FramesDriver:
        given = {"backend": "frames", "serialPort": line.path, "timeoutMs": 1000, **settings}
        driver = FramesDriver(SerialgpioConnection.model_validate(given))
        drivers.append(driver)
        await driver.connect()
        return driver

    yield make
    for driver in drivers:
        await driver.close()
