"""Workers as real processes over a real Mosquitto and one SQLite file, killed while they work."""

import asyncio
import random

import pytest

from cloudsync.writing import set_desired
from tests.cloudsync.sync.real import RealWorld
from twin.model import Section, Site

NAMES = ("g1", "g2", "g3")


@pytest.fixture
async def world(broker, tmp_path):
    async with RealWorld(broker.host, broker.port, broker.hub.name, broker.hub.password, tmp_path) as made:
        yield made


async def _write(world, rng, count, acked):
    """Edits on both sides, one after the other; what was acknowledged, by place."""
    for number in range(1, count + 1):
        name = rng.choice(NAMES)
        gateway, key = world.gateways[name], world.key(name)
        prop = rng.choice("abc")
        values = {prop: number}
        if rng.random() < 0.5:
            await gateway.edit(lambda engine: engine.set_desired(key, values, by=str(number)))  # noqa: B023
            acked[name, Section.DESIRED, prop, Site.EDGE] = number
        else:
            async with world.hub.change(name) as turn:
                await set_desired(turn, key, values, by=str(number))
            acked[name, Section.DESIRED, prop, Site.CLOUD] = number
        await asyncio.sleep(0.01)


async def _kill_again_and_again(world, kills):
    for _ in range(kills):
        await asyncio.sleep(0.3)
        await world.end(world.workers[0], kill=True)
        await world.start_worker()


async def _run(world, edits, kills):
    await world.serve()
    await world.start_worker()
    await world.start_worker()
    for name in NAMES:
        await world.add_gateway(name)
    await world.agree()
    acked = {}
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_write(world, random.Random(1), edits, acked))
        tasks.create_task(_kill_again_and_again(world, kills))
    await world.agree()
    for (name, *place), number in acked.items():
        assert int((await world.slots(name))[tuple(place)].by) >= number


async def test_workers_killed_while_they_work_lose_nothing(world):
    await _run(world, 150, 3)


@pytest.mark.torture
@pytest.mark.timeout(900)
async def test_workers_killed_fifty_times_lose_nothing(world):
    await _run(world, 3000, 50)


async def test_a_worker_ends_gracefully_and_others_take_its_gateways(world):
    await world.serve()
    worker = await world.start_worker()
    gateway = await world.add_gateway("g1")
    await gateway.edit(lambda engine: engine.set_desired(world.key("g1"), {"a": 1}, by="1"))
    await world.agree()
    assert await world.end(worker) == 0
    await gateway.edit(lambda engine: engine.set_desired(world.key("g1"), {"a": 2}, by="2"))
    await world.agree()


async def test_messages_that_are_none_are_dropped_and_told_once(world, caplog):
    await world.serve()
    gateway = await world.add_gateway("g1")
    await world.agree()
    for _ in range(3):
        gateway.session.dialogue.up._link.publish("et/1/sync/g1/up", b"\xffnonsense", qos=1)
        gateway.session.dialogue.up._link.publish("et/1/sync/g1/state", b"[]", qos=1)
    await gateway.edit(lambda engine: engine.set_desired(world.key("g1"), {"a": 1}, by="1"))
    await world.agree()
    told = [record for record in caplog.records if record.levelname == "WARNING" and "dropped" in record.message]
    assert len(told) == 2
