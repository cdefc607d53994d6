"""A driver behind the SDK's runner, and the hub's end of a broker in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

from mappers.sdk.binding import BoundDevice, bind_devices
from mappers.sdk.config import ConnectionSettings
from mappers.sdk.outbox import Outbox
from mappers.sdk.runner import MapperRunner
from mappers.testkit.bench import Bench
from twin.clock import SystemClock
from twin.link import Link, Message
from twin.link.memory import MemoryBroker
from twin.model import TwinKey, Value
from twin.wire import codec, topics
from twin.wire.messages import Ack, Delta, DesiredValue, Mark

_END_S: Final = 3.0  # the driver's close has a second of it
_ACCOUNT: Final = "tried"
_TWIN: Final = TwinKey.parse("device/default/tried")


class Served:
    """What a hub sees of one device, and what it wishes of it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.values: dict[str, Value] = {}
        self.marks: dict[str, Mark] = {}
        self._counts: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._tick = 0

    def __str__(self) -> str:
        """What was reported so far."""
        marks = {name: f"{mark.quality} ({mark.reason})" for name, mark in self.marks.items()}
        return f"reported are {self.values}, marks {marks}"

    async def open(self) -> None:
        """Listen."""
        await self._link.subscribe(topics.ALL_REPORTS, self._on_report)

    def count(self, name: str) -> int:
        """How often a value of this property was reported."""
        return self._counts.get(name, 0)

    def desire(self, name: str, value: Value) -> None:
        """Want a value."""
        self._tick += 1
        delta = Delta(version=self._tick, desired={name: DesiredValue(value=value, tick=self._tick)})
        self._link.publish(topics.delta(_TWIN), codec.encode(delta), qos=1, retain=True)

    async def until(self, condition: Callable[[], object], timeout_s: float) -> bool:
        """Whether a condition comes true in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _on_report(self, message: Message) -> None:
        report = codec.decode_report(message.payload, what="report")
        for name in report.values:
            self._counts[name] = self.count(name) + 1
            self.marks.pop(name, None)
        self.values |= report.values
        self.marks |= report.marks
        self._link.publish(topics.ack(_ACCOUNT), codec.encode(Ack(stored=[report.id])))
        self._changed.set()


@asynccontextmanager
async def served(
    bench: Bench,
    settings: ConnectionSettings,
    *,
    driver: Any = None,
    bound: Callable[[BoundDevice], BoundDevice] = lambda device: device,
    make: Callable[[Any], Any] | None = None,
) -> AsyncIterator[Served]:
    """Serve these settings with a driver of the bench, or with another."""
    binding = bind_devices(settings, bench.mapper)
    assert not binding.problems, binding.problems
    broker, clock, rng = MemoryBroker(), SystemClock(), Random(7)
    used = driver if make is not None else bench.driver()
    async with broker.link() as link, broker.link() as hub_link:
        gateway = Served(hub_link)
        await gateway.open()
        for one in (link, hub_link):
            await one.connected(bench.patience_s)
        outbox = Outbox(link, _ACCOUNT, clock, rng)
        await outbox.open()
        runner = MapperRunner(settings.name, used, link=link, outbox=outbox, clock=clock, rng=rng)
        await runner.serve([bound(one) for one in binding.devices])
        running = asyncio.create_task(runner.run(), name="runner")
        try:
            yield gateway
        finally:
            running.cancel()
            done, _ = await asyncio.wait({running}, timeout=_END_S)
            where = "" if done else where_it_waits(running)
            running.cancel()
            runner.close()
            outbox.close()
        assert not where, f"the runner cannot be ended, a call of the driver swallows its cancellation: {where}"
        assert running.cancelled(), f"the runner ended by itself: {running.exception()!r}"


def where_it_waits(task: asyncio.Task[None]) -> str:
    """The calls in which a task waits, from the outermost in."""
    names: list[str] = []
    inner: Any = task.get_coro()
    while inner is not None:
        names.append(getattr(inner, "__qualname__", type(inner).__name__))
        inner = getattr(inner, "cr_await", None) or getattr(inner, "ag_await", None)
    return " > ".join(names)
