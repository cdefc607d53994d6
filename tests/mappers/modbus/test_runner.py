"""A whole Modbus mapper on libmodbus: polls and writes at once, confirmations of each kind, a restarted server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from mappers.modbus import MAPPER
from mappers.sdk.binding import bind_connection, bind_devices
from mappers.sdk.config import ConnectionSettings
from mappers.sdk.outbox import Outbox
from mappers.sdk.runner import MapperRunner
from twin.clock import SystemClock
from twin.link import Link, Message
from twin.link.memory import MemoryBroker
from twin.model import TwinKey
from twin.wire import codec, topics
from twin.wire.messages import Ack, Delta, DesiredValue

PLC = TwinKey.parse("device/hall/plc")


def settings(
    port: int, points: Mapping[str, Mapping[str, object]], *, cycle_ms: int = 20, **config: object
) -> ConnectionSettings:
    made = [
        {
            "property": name,
            "cycle_ms": cycle_ms,
            "access": "ReadWrite",
            "type": keys.pop("type_", "INT"),
            "visitor": keys,
        }
        for name, keys in ((name, dict(keys)) for name, keys in points.items())
    ]
    device = {"twin": str(PLC), "address": {"unit": 1, "readWrite": config.pop("readWrite", False)}, "points": made}
    return ConnectionSettings.model_validate(
        {
            "name": "hall/bus",
            "mapper": "modbus",
            "config": {"host": "127.0.0.1", "port": port, **config},
            "devices": [device],
        }
    )


class Hub:
    """Acks reports, knows the newest values, and desires."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._ticks = 0
        self.known: dict[str, Any] = {}
        self.history: list[tuple[str, Any]] = []
        self.marks: dict[str, str] = {}

    async def open(self) -> None:
        await self._link.subscribe(topics.ALL_REPORTS, self._on_report)

    def desire(self, **values: Any) -> None:
        tick = time.time_ns() // 1000
        delta = Delta(version=1, desired={name: DesiredValue(value=one, tick=tick) for name, one in values.items()})
        self._link.publish(topics.delta(PLC), codec.encode(delta), qos=1, retain=True)

    def _on_report(self, message: Message) -> None:
        report = codec.decode_report(message.payload, what="report")
        self.known |= report.values
        self.history += report.values.items()
        for name in report.values:
            self.marks.pop(name, None)
        self.marks |= {name: mark.reason.value for name, mark in report.marks.items()}
        self._link.publish(topics.ack("mapper"), codec.encode(Ack(stored=[report.id])))


@asynccontextmanager
async def running(wanted: ConnectionSettings) -> AsyncIterator[tuple[Hub, MapperRunner]]:
    broker, clock, rng = MemoryBroker(), SystemClock(), Random(1)
    async with broker.link() as link, broker.link() as hub_link:
        hub = Hub(hub_link)
        await hub.open()
        outbox = Outbox(link, "mapper", clock, rng)
        await outbox.open()
        driver = MAPPER.driver(bind_connection(wanted, MAPPER))
        runner = MapperRunner("hall/bus", driver, link=link, outbox=outbox, clock=clock, rng=rng)
        binding = bind_devices(wanted, MAPPER)
        assert binding.problems == ()
        await runner.serve(binding.devices)
        task = asyncio.create_task(runner.run())
        try:
            yield hub, runner
        finally:
            task.cancel()
            await asyncio.wait({task})
            runner.close()
            outbox.close()


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not ready():  # noqa: ASYNC110  the other side is another process
            await asyncio.sleep(0.005)


def registers(count: int) -> dict[str, dict[str, object]]:
    return {f"r{n}": {"table": "holding", "address": n, "type": "uint16"} for n in range(count)}


@pytest.mark.parametrize("connections", [1, 3])
async def test_writes_in_the_middle_of_polls_lose_and_swap_nothing(serve, connections):
    peer = serve("--tcp", 0, "--slow", 2)
    async with running(settings(peer.port, registers(600), connections=connections)) as (hub, runner):
        await until(lambda: len(hub.known) == 600)
        for turn in range(30):
            hub.desire(**{f"r{turn * 19}": 5000 + turn})
            await until(lambda turn=turn: hub.known[f"r{turn * 19}"] == 5000 + turn)
        await asyncio.sleep(0.1)
        written = {f"r{turn * 19}": 5000 + turn for turn in range(30)}
        assert hub.known == {f"r{n}": n for n in range(600)} | written
        changes = [(name, value) for name, value in hub.history if name in written]
        assert len(changes) == 60, "each was reported as it was, then as it was written, and never as before again"
        assert runner.counters().errors == 0


async def test_a_pulse_a_late_confirmation_a_feedback_and_a_field(serve):
    points = {
        "level": {"table": "holding", "address": 3, "type": "uint16"},
        "late": {"table": "holding", "address": 4, "type": "uint16", "writeBack": {"delayMs": 100}},
        "command": {"table": "holding", "address": 10, "type": "uint16", "writeBack": {"readFrom": "actual"}},
        "actual": {"table": "holding", "address": 10, "type": "uint16"},
        "mode": {"table": "holding", "address": 16, "bit": 4, "bits": 2},
        "reset": {"table": "coil", "address": 1, "type_": "BOOLEAN", "writeBack": {"kind": "pulse", "pulseMs": 50}},
        "only": {"table": "holding", "address": 900, "type": "uint16", "writeBack": {"kind": "writeOnly"}},
    }
    peer = serve("--tcp", 0, "--log")
    async with running(settings(peer.port, points, gap=0)) as (hub, _):
        await until(lambda: len(hub.known) == 5)
        assert hub.known == {"level": 3, "late": 4, "command": 10, "actual": 10, "mode": 1}
        hub.desire(late=40, command=11, mode=2, reset=True, only=9)
        wanted = {"level": 3, "late": 40, "command": 11, "actual": 11, "mode": 2, "reset": True, "only": 9}
        await until(lambda: hub.known == wanted)
    log = peer._log()
    assert [words[1] for words in log if words[0] == "write" and words[1] == 5] == [5, 5]
    assert [words[1] for words in log if words[2:3] == (16,) and words[0] == "write"] == [22]
    assert [words for words in log if words[0] == "read" and words[1] == 3 and words[2] == 900] == []


async def test_a_write_with_function_23_needs_no_read_back(serve):
    peer = serve("--tcp", 0, "--log")
    point = {"table": "holding", "address": 7, "type": "uint16"}
    wanted = settings(peer.port, {"r7": point}, cycle_ms=60_000, readWrite=True)
    async with running(wanted) as (hub, _):
        await until(lambda: hub.known == {"r7": 7})
        hub.desire(r7=70)
        await until(lambda: hub.known == {"r7": 70})
    assert peer.functions() == [3, 23]


async def test_a_restarted_server_is_read_and_written_again(serve, unused_port):
    peer = serve("--tcp", unused_port)
    async with running(settings(unused_port, registers(3), timeoutMs=500, connections=2)) as (hub, _):
        await until(lambda: len(hub.known) == 3)
        peer.process.kill()
        peer.process.wait(10)
        await until(lambda: hub.marks == dict.fromkeys(("r0", "r1", "r2"), "not_connected"))
        hub.desire(r1=11)
        serve("--tcp", unused_port)
        await until(lambda: hub.known == {"r0": 0, "r1": 11, "r2": 2} and not hub.marks)
