"""kill -9 of hub, mapper host and broker at random moments under load: nothing acknowledged is lost, all comes back.

Ten kills of each in `make test`, a hundred in `make torture`. While they happen, a writer sets desired values of the
device ``free`` through the API, a reporter with a login of its own reports on it, and v1 is polled over Modbus; both
remember what was acknowledged. Values only rise, so what is stored may never be below what was acknowledged.
"""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.rig import Device, Hub, until
from twin.errors import EdgetwinError
from twin.link import Message
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions
from twin.model import Quality, Reason, TwinKey
from twin.wire import topics
from twin.wire.codec import decode, encode
from twin.wire.messages import Ack, Report

FREE = TwinKey.parse("free")
COUNTS = [
    pytest.param(10, id="10"),
    pytest.param(100, id="100", marks=[pytest.mark.torture, pytest.mark.timeout(1200)]),
]


@dataclass
class Load:
    """What was acknowledged so far."""

    desired: int = 0
    reported: int = 0
    failures: list[str] = field(default_factory=list)

    async def write(self, hub: Hub) -> None:
        """Set rising values for ever, through a new connection whenever the old one ends."""
        number = 0
        while True:
            with contextlib.suppress(EdgetwinError, AssertionError):
                async with hub.client(timeout_s=1.0) as client:
                    while True:
                        number += 1
                        await client.set("free", {"count": number, "position": number % 1000})
                        self.desired = number

    async def report(self, link: MqttLink) -> None:
        """Report rising values for ever; one that is not acknowledged within half a second is followed by the next."""
        number = 0
        acked = asyncio.Event()

        def on_ack(message: Message) -> None:
            ack = decode(Ack, message.payload, what="ack")
            self.failures += [one.error.message for one in ack.refused]
            self.reported = max([self.reported, *ack.stored])
            acked.set()

        await link.subscribe(topics.ack("rig"), on_ack)
        while True:
            number += 1
            acked.clear()
            link.publish(topics.report("rig", FREE), encode(Report(id=number, at=number, values={"count": number})))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):  # wait_for of Python 3.11 may swallow the cancellation that ends us
                    await acked.wait()


@contextlib.asynccontextmanager
async def load_on(hub: Hub) -> AsyncIterator[Load]:
    """Writer and reporter at work."""
    made = await asyncio.to_thread(hub.run, "account", "create", "rig", "--device", "free")
    access = await hub.access()
    password = made.stdout.split()[-1]
    options = MqttOptions(
        access.host, access.port, "rig-1", "rig", password, retry_base_s=0.05, retry_cap_s=0.2, keepalive_s=5
    )
    load = Load()
    async with MqttLink(options) as link:
        await link.connected(15)
        tasks = [asyncio.create_task(load.write(hub)), asyncio.create_task(load.report(link))]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended


async def child_pid(hub: Hub, name: str) -> int:
    async with hub.client() as client:
        return next(child.pid for child in (await client.status()).children if child.name == name)


async def stored(hub: Hub) -> tuple[int, int]:
    """The values of ``free`` that the running hub has: desired and reported."""
    async with hub.client() as client:
        body = await client.get("free")
        desired, reported = body.desired.get("count"), body.reported.get("count")
        return desired.value if desired else 0, reported.value if reported else 0


async def progress(load: Load) -> None:
    """Wait until both have been acknowledged again."""
    before = (load.desired, load.reported)
    await until(lambda: (load.desired > before[0] and load.reported > before[1]) or None, 30, lambda: str(load))


async def v1_is_good(hub: Hub) -> None:
    async with hub.client() as client, client.watch("device/default/v1") as events, asyncio.timeout(20):
        async for event in events:
            leaves = event.body.reported.values() if event.body else ()
            if leaves and all(leaf.quality is Quality.GOOD for leaf in leaves):
                return


def assert_sound(hub: Hub) -> None:
    """The files of a hub that has ended are whole."""
    db = sqlite3.connect(hub.folder.database)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    finally:
        db.close()
    assert not list(hub.folder.path.glob("*.corrupt*"))


@pytest.mark.parametrize("kills", COUNTS)
async def test_a_killed_hub_loses_nothing_it_acknowledged(hub: Hub, plant: Device, kills: int):
    rng = random.Random(kills)
    async with load_on(hub) as load:
        for _ in range(kills):
            await progress(load)
            await asyncio.sleep(rng.uniform(0, 0.3))
            hub.kill()
            acked = (load.desired, load.reported)
            hub.start()
            await hub.ready()
            found = await stored(hub)
            assert found[0] >= acked[0], (found, acked)
            assert found[1] >= acked[1], (found, acked)
        await progress(load)
    await v1_is_good(hub)
    assert load.failures == []
    assert hub.stop() == 0
    assert_sound(hub)


@pytest.mark.parametrize("kills", COUNTS)
async def test_a_killed_mapper_host_marks_its_devices_bad_and_comes_back(hub: Hub, plant: Device, kills: int):
    rng = random.Random(kills)
    await v1_is_good(hub)
    async with load_on(hub) as load:
        for number in range(kills):
            async with hub.client() as client, client.watch("device/default/v1") as events:
                pid = await child_pid(hub, "mapper")
                await asyncio.sleep(rng.uniform(0, 0.3))
                os.kill(pid, signal.SIGKILL)
                plant.set_input(0, 1000 + number)
                reasons = set()
                async with asyncio.timeout(20):
                    async for event in events:
                        leaf = event.body.reported["flow"] if event.body else None
                        if leaf is not None and leaf.quality is Quality.BAD:
                            reasons.add(leaf.reason)
                        elif leaf is not None and leaf.value == 1000 + number:
                            break
                assert reasons == {Reason.MAPPER_DOWN}
        await progress(load)
        found = await stored(hub)
        assert found[0] >= load.desired - 1
    assert load.failures == []
    assert hub.stop() == 0
    assert_sound(hub)


@pytest.mark.parametrize("kills", COUNTS)
async def test_a_killed_broker_loses_nothing_that_was_acknowledged(hub: Hub, plant: Device, kills: int):
    rng = random.Random(kills)
    async with load_on(hub) as load:
        for _ in range(kills):
            await progress(load)
            pid = await child_pid(hub, "mosquitto")
            await asyncio.sleep(rng.uniform(0, 0.3))
            os.kill(pid, signal.SIGKILL)
            acked = (load.desired, load.reported)
            await progress(load)
            found = await stored(hub)
            assert found[0] >= acked[0], (found, acked)
            assert found[1] >= acked[1], (found, acked)
    await v1_is_good(hub)
    async with hub.client() as client:
        await client.set("v1", {"position": 321})
    await until(lambda: plant.holding(0) == 321 or None, 10)
    assert load.failures == []
    assert hub.stop() == 0
    assert_sound(hub)
