"""The twin of a connection: what it tells, and how often."""

import asyncio
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint

import pytest

from mappers.sdk import DeviceTimeout, NotConnected
from mappers.sdk.config import HostSettings
from mappers.sdk.connection_twin import COUNT_INTERVAL_MS, connection_twin
from mappers.sdk.connections import Connections
from mappers.sdk.registry import Registry
from twin.model import TwinKey
from twin.wire import codec, topics

pytestmark = pytest.mark.fast

BUS = TwinKey.parse("mapper/default/bus")


class OneEntry:
    name = "scripted"
    value = "somewhere:MAPPER"

    def __init__(self, mapper: object) -> None:
        self.mapper = mapper

    def load(self) -> object:
        return self.mapper


@pytest.fixture
async def apply(world) -> AsyncIterator[object]:
    """Connections that run, and what gives them their settings."""
    broken = EntryPoint("broken", "no.such.module:MAPPER", "edgetwin.mappers")
    registry = Registry([OneEntry(world.mapper), broken])
    connections = Connections("mapper", world.link, registry, world.clock, world.rng)
    task = asyncio.create_task(connections.run())

    def given(*settings) -> None:
        payload = codec.encode(HostSettings(connections=settings))
        world.hub.link.publish(topics.mapper_config("mapper"), payload, qos=1, retain=True)

    yield given
    task.cancel()
    await asyncio.wait([task])


def reports(world, key=BUS):
    return [report for twin, report in world.hub.reports if twin == key]


def last(world, name, key=BUS):
    return [report.values[name] for report in reports(world, key) if name in report.values][-1]


async def test_a_connection_tells_its_state_counts_and_latency(world, apply) -> None:
    apply(world.settings(tank=[{"property": "level"}], pump=[{"property": "speed"}]))
    await world.passes(25)
    assert (last(world, "state"), last(world, "mapper"), last(world, "devices")) == ("connected", "scripted", 2)
    assert last(world, "requests") >= 20
    assert 0.9 <= last(world, "latency_ms") <= 1.1
    assert (last(world, "errors"), last(world, "last_error"), last(world, "connects")) == (0, "", 1)


async def test_counts_are_told_at_a_bounded_rate_however_busy_the_bus_is(world, apply) -> None:
    apply(world.settings(tank=[{"property": "level", "cycle_ms": 10}]))
    await world.passes(30)
    assert len(reports(world)) <= 2 + 30_000 / COUNT_INTERVAL_MS
    assert last(world, "requests") > 1800


async def test_a_loss_is_told_within_a_second_with_its_cause(world, apply) -> None:
    apply(world.settings(tank=[{"property": "level", "cycle_ms": 100}]))
    await world.passes(30)
    world.driver.offline = NotConnected("the cable is out")
    await world.passes(1.2)
    assert last(world, "state") == "lost"
    await world.passes(COUNT_INTERVAL_MS / 1000 + 1)
    assert (last(world, "last_error"), last(world, "errors") > 0) == ("the cable is out", True)
    assert last(world, "last_error_at") <= world.clock.now_us() // 1000
    world.driver.offline = None
    await world.passes(40)
    assert last(world, "state") == "connected"


async def test_a_silent_device_is_counted_and_its_connection_stands(world, apply) -> None:
    world.driver.errors["pump"] = DeviceTimeout("no answer from pump")
    apply(world.settings(tank=[{"property": "level"}], pump=[{"property": "speed"}]))
    await world.passes(3)
    assert (last(world, "state"), last(world, "devices"), last(world, "devices_silent")) == ("connected", 2, 1)


async def test_what_cannot_be_served_says_why(world, apply) -> None:
    settings = world.settings(a=[{"property": "p"}]).model_copy(update={"mapper": "broken"})
    apply(settings)
    await world.passes(2)
    assert last(world, "state") == "misconfigured"
    assert "mapper 'broken' (no.such.module:MAPPER) cannot be imported" in last(world, "last_error")


async def test_simulated_devices_do_not_hide_the_bus_of_the_others(world, apply) -> None:
    both = world.settings(tank=[{"property": "level"}], pump=[{"property": "speed"}])
    made_up = tuple(one.model_copy(update={"simulate": True}) for one in both.devices)
    apply(both.model_copy(update={"devices": (made_up[0], both.devices[1])}))
    await world.passes(2)
    assert (last(world, "state"), last(world, "devices")) == ("connected", 1)
    apply(both.model_copy(update={"devices": made_up}))
    await world.passes(2)
    assert (last(world, "state"), last(world, "devices")) == ("simulated", 2)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("plant/line-1", "mapper/plant/line-1"),
        ("plant/line-1 (simulated)", "mapper/plant/line-1"),
        ("plant/" + "x" * 64, None),
        ("no-namespace", None),
    ],
)
def test_the_twin_has_the_name_of_the_connection(name, key) -> None:
    assert connection_twin(name) == (TwinKey.parse(key) if key else None)
