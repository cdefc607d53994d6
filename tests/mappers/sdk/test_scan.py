"""A search for devices: settings from words, and a driver that is closed whatever ends it."""

import asyncio
import contextlib

import pytest
from pydantic import Field

from mappers.sdk import ConnectionConfig, DeviceConfig, FoundDevice, Mapper, MapperError, NotConnected, PointConfig
from mappers.sdk.driver import ScanConfig
from mappers.sdk.errors import InvalidSettings
from mappers.sdk.scan import CONNECT_S, devices, search_of

pytestmark = pytest.mark.fast


class Line(ConnectionConfig):
    host: str
    timeout_ms: int = 100
    ports: list[int] = Field([])


class Look(ScanConfig):
    timeout_ms: int = 5


class Finder:
    """Finds one device, then does as its host is called."""

    def __init__(self, config: Line) -> None:
        if config.host == "broken":
            raise ImportError("no such library")
        self.host = config.host
        self.closed = 0

    async def connect(self) -> None:
        if self.host == "slow":
            await asyncio.Event().wait()

    async def close(self) -> None:
        self.closed += 1
        if self.host == "stuck":
            await asyncio.Event().wait()

    async def discover(self, wanted, tell):
        yield FoundDevice("pump", {"unit": wanted.timeout_ms})
        if self.host == "lost":
            raise NotConnected("gone")
        if self.host == "mad":
            raise ZeroDivisionError("1/0")
        if self.host == "endless":
            await asyncio.Event().wait()


@pytest.fixture
def made():
    return []


@pytest.fixture
def mapper(made):
    def driver(config):
        made.append(Finder(config))
        return made[-1]

    return Mapper("finder", Line, DeviceConfig, PointConfig, driver, scan=Look)


async def found(mapper, host: str) -> list[FoundDevice]:
    async with contextlib.aclosing(devices(search_of(mapper, {"host": host}), lambda _: None)) as finding:
        return [one async for one in finding]


def test_words_go_to_the_connection_and_to_the_scan_and_a_key_of_both_to_both(mapper):
    search = search_of(mapper, {"host": "here", "timeout_ms": "7", "ports": "[1, 2]"})
    assert search.connection == Line(host="here", timeout_ms=7, ports=[1, 2])
    assert search.wanted == Look(timeout_ms=7)
    assert search.written == {"host": "here", "timeout_ms": "7", "ports": [1, 2]}


def test_every_wrong_word_is_told_at_once(mapper):
    with pytest.raises(InvalidSettings) as caught:
        search_of(mapper, {"hots": "here", "ports": "[1", "timeout_ms": "soon"})
    assert str(caught.value).splitlines() == [
        "hots: the key hots is not known here",
        "  Did you mean host?",
        "host: host is missing",
        "  Add it: a text.",
        "timeout_ms: timeout_ms 'soon' is not a whole number",
        "  Write a whole number.",
        "ports: ports '[1' is not a list",
        "  Write a list.",
    ]


async def test_devices_are_given_and_the_driver_is_closed(mapper, made):
    assert [one.name for one in await found(mapper, "here")] == ["pump"]
    assert made[0].closed == 1


@pytest.mark.parametrize(
    ("host", "error", "said"),
    [
        ("lost", NotConnected, "gone"),
        ("mad", MapperError, "mapper finder failed: ZeroDivisionError: 1/0"),
        ("slow", NotConnected, f"no connection within {CONNECT_S:g} s"),
    ],
)
async def test_a_failure_is_told_and_the_driver_is_closed(mapper, made, host, error, said):
    with pytest.raises(error, match=said):
        await found(mapper, host)
    assert made[0].closed == 1


async def test_a_search_that_is_left_early_is_closed(mapper, made):
    async with contextlib.aclosing(devices(search_of(mapper, {"host": "endless"}), lambda _: None)) as finding:
        async for _ in finding:
            break
    assert made[0].closed == 1
    task = asyncio.create_task(found(mapper, "endless"))
    await asyncio.sleep(1)  # virtual
    task.cancel()
    await asyncio.wait([task])
    assert made[1].closed == 1


async def test_a_driver_that_does_not_close_holds_nothing_up(mapper):
    assert len(await found(mapper, "stuck")) == 1


async def test_a_driver_that_cannot_be_made_is_told(mapper):
    with pytest.raises(InvalidSettings, match="has no driver for it: ImportError: no such library"):
        await found(mapper, "broken")


async def test_a_driver_without_the_capability_is_told(mapper):
    other = Mapper("plain", Line, DeviceConfig, PointConfig, lambda _: object())
    with pytest.raises(InvalidSettings, match="mapper plain cannot look for devices"):
        await found(other, "here")
