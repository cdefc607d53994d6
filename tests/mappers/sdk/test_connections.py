"""All connections of an account: by diff, and a broken one harms nobody."""

import asyncio
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint

import pytest

from mappers.sdk.config import HostSettings
from mappers.sdk.connections import Connections
from mappers.sdk.registry import Registry
from twin.wire import codec, topics

pytestmark = pytest.mark.fast


class OneEntry:
    name = "scripted"
    value = "somewhere:MAPPER"

    def __init__(self, mapper: object) -> None:
        self.mapper = mapper

    def load(self) -> object:
        return self.mapper


class Fleet:
    """Connections under test; each connection gets a driver of its own, in ``drivers``."""

    def __init__(self, world, mapper_of, new_driver) -> None:
        self.world = world
        self.drivers = []

        def make():
            self.drivers.append(new_driver())
            return self.drivers[-1]

        broken = EntryPoint("broken", "no.such.module:MAPPER", "edgetwin.mappers")
        self.connections = Connections(
            "mapper", world.link, Registry([OneEntry(mapper_of(make)), broken]), world.clock, world.rng
        )

    def apply(self, *connections) -> None:
        settings = HostSettings(connections=connections)
        topic = topics.mapper_config("mapper")
        self.world.hub.link.publish(topic, codec.encode(settings), qos=1, retain=True)


@pytest.fixture
async def fleet(world, mapper_of, new_driver) -> AsyncIterator[Fleet]:
    made = Fleet(world, mapper_of, new_driver)
    task = asyncio.create_task(made.connections.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


def named(settings, name, **changes):
    return settings.model_copy(update={"name": name, **changes})


async def test_connections_come_stay_and_go_by_diff(world, fleet) -> None:
    one = named(world.settings(tank=[{"property": "level"}]), "default/one")
    two = named(world.settings(pump=[{"property": "speed"}]), "default/two")
    fleet.apply(one, two)
    await world.passes(1.5)
    assert [driver.count("connect") for driver in fleet.drivers] == [1, 1]
    faster = named(world.settings(tank=[{"property": "level", "cycle_ms": 100}]), "default/one")
    fleet.apply(faster)
    await world.passes(1)
    assert [driver.count("connect") for driver in fleet.drivers] == [1, 1]
    assert [driver.is_open for driver in fleet.drivers] == [True, False]
    assert fleet.drivers[0].count("read tank") >= 10
    fleet.apply(named(faster, "default/one", config={"port": "other"}))
    await world.passes(1)
    assert [driver.is_open for driver in fleet.drivers] == [False, False, True]


async def test_broken_settings_are_marked_named_and_harm_nobody(world, fleet, caplog) -> None:
    good = world.settings(tank=[{"property": "level"}, {"property": "odd", "visitor": {"scale": 0}}])
    unknown = named(world.settings(a=[{"property": "p"}]), "default/a", mapper="nobody")
    broken = named(world.settings(b=[{"property": "q"}]), "default/b", mapper="broken")
    wrong = named(world.settings(c=[{"property": "r"}]), "default/c", config={"prot": 1})
    address = world.settings(d=[{"property": "s"}])
    address = named(address, "default/d", devices=(address.devices[0].model_copy(update={"address": {"unit": [1]}}),))
    fleet.apply(good, unknown, broken, wrong, address)
    await world.passes(2)
    assert world.hub.last("level") == (0, "")
    for name in ("odd", "p", "q", "r", "s"):
        assert world.hub.last(name) == (None, "config_error"), name
    text = caplog.text
    assert "mapper 'nobody' is not installed; installed are broken, scripted" in text
    assert "mapper 'broken' (no.such.module:MAPPER) cannot be imported" in text
    assert "connection default/c: config.prot" in text
    assert "connection default/d: devices[0] device/default/d: address.unit" in text
    assert (
        "connection default/bus: devices[0] device/default/tank: points[1].visitor (odd).scale: Value error, scale 0"
        in text
    )


async def test_settings_that_are_no_message_leave_the_old_ones_in_force(world, fleet, caplog) -> None:
    fleet.apply(world.settings(tank=[{"property": "level"}]))
    await world.passes(1)
    world.hub.link.publish(topics.mapper_config("mapper"), b'{"conections": []}', qos=1)
    await world.passes(1)
    assert fleet.drivers[0].is_open
    assert "conections" in caplog.text


async def test_a_hub_that_sends_settings_again_is_told_every_value_again(world, fleet) -> None:
    settings = world.settings(tank=[{"property": "level"}])
    fleet.apply(settings)
    await world.passes(5)
    fleet.apply(settings)
    await world.passes(0.5)
    assert world.hub.values("level") == [0, 0]
    assert fleet.drivers[0].count("connect") == 1


async def test_a_driver_that_ends_as_if_it_were_cancelled_is_started_again(world, fleet) -> None:
    fleet.apply(named(world.settings(tank=[{"property": "level"}]), "default/one"))
    await world.passes(1.5)
    (driver,) = fleet.drivers
    driver.errors["tank"] = asyncio.CancelledError()
    await world.passes(5)
    del driver.errors["tank"]
    before = driver.count("read tank")
    await world.passes(120)
    assert driver.count("read tank") > before
