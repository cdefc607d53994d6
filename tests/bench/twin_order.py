"""Bursts of updates to one device: does anyone ever see an older value after a newer one, and does the newest stay."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from tests.bench import plant
from tests.bench.figure import Figure, Scale
from tests.bench.rig import Hub, broker, hub
from twin.link.mqtt import MqttLink
from twin.wire.api import DocumentSource

_BURSTS: Final = 20
_UPDATES: Final = 1000
_WAIT_S: Final = 10.0


async def order(scale: Scale) -> list[Figure]:
    """Inversions that a watcher saw, plus final values that were wrong."""
    async with broker(scale.folder) as on, hub(scale.folder / "hub", on) as running:
        await running.client.apply([DocumentSource(name="plant.yaml", text=plant.documents(1))])
        async with MqttLink(on.options("bursts")) as link:
            await link.connected(_WAIT_S)
            watcher = _Watcher(running)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(watcher.follow())
                async with asyncio.timeout(_WAIT_S):
                    await watcher.ready.wait()
                wrong = [await _burst(running, link, watcher, burst) for burst in range(_BURSTS)]
                task.cancel()
    says = (
        f"updates that a watcher saw out of order, plus wrong final values, over {_BURSTS} bursts of {_UPDATES} updates"
        f" to one device; {watcher.seen} changes seen"
    )
    assert watcher.seen >= _BURSTS
    return [Figure("twin.order", watcher.inversions + sum(wrong), "count", says, reach=0, at_most=True)]


class _Watcher:
    """Follows the device through the API, as a program of a user does."""

    def __init__(self, running: Hub) -> None:
        self._running = running
        self.ready = asyncio.Event()
        self.moved = asyncio.Condition()
        self.newest = -1
        self.version = -1
        self.seen = 0
        self.inversions = 0

    async def follow(self) -> None:
        async with self._running.client.watch(_twin()) as events:
            async for event in events:
                if event.ready:
                    self.ready.set()
                leaf = event.body.reported.get("count") if event.body is not None else None
                if event.body is None or leaf is None:
                    continue
                self.seen += 1
                self.inversions += leaf.value < self.newest or event.body.version < self.version
                self.newest, self.version = leaf.value, event.body.version
                async with self.moved:
                    self.moved.notify_all()


async def _burst(running: Hub, link: MqttLink, watcher: _Watcher, burst: int) -> bool:
    """Send a burst as fast as the socket takes it; whether the final value is wrong, there or at the watcher."""
    missing = set(range(burst * _UPDATES, (burst + 1) * _UPDATES))
    last = max(missing)
    stored = asyncio.Event()

    def on_ack(payload: bytes) -> None:
        missing.difference_update(json.loads(payload).get("stored", ()))
        if not missing:
            stored.set()

    stop = await link.subscribe("et/1/ack/bursts", lambda message: on_ack(message.payload))
    for turn in sorted(missing):
        report = {"id": turn, "at": turn, "values": {"count": turn}}
        link.publish(f"et/1/report/bursts/{_twin()}", json.dumps(report).encode())
    try:
        async with asyncio.timeout(_WAIT_S):
            await stored.wait()
            async with watcher.moved:
                await watcher.moved.wait_for(lambda: watcher.newest >= last)
    except TimeoutError:
        return True
    finally:
        stop()
    body = await running.client.get(_twin())
    return bool(body.reported["count"].value != last)


def _twin() -> str:
    return f"device/{plant.NAMESPACE}/{plant.name(0)}"
