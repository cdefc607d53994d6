"""How many values a mapper host brings from a Modbus device into MQTT, and what CPU a value costs it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from mappers.sdk.config import DeviceSettings, HostSettings
from tests.bench.figure import Figure, Scale
from tests.bench.modbus_host import mapper_host, one_connection, registers
from tests.bench.rig import Child, broker, child, cpu_s, modbus_server, module, until
from twin.link import Message
from twin.link.mqtt import MqttLink
from twin.model import Kind
from twin.wire import topics
from twin.wire.codec import encode
from twin.wire.messages import Ack

_REGISTERS: Final = 1000
_ROUNDS: Final = 3
_WARM_S: Final = 1.5
_MEASURE_S: Final = 5.0
_WAIT_S: Final = 10.0
_TWIN: Final = "device/bench/plc"
_BARE: Final = "bare/modbus"


async def values(scale: Scale) -> list[Figure]:
    """Values a second and CPU a value, our mapper host and the bare loop in turns."""
    ours, bares = await _measure(scale, full=False)
    says = (
        f"values/s from a libmodbus server whose {_REGISTERS} registers all change at every poll into MQTT, one message"
        " a cycle, counted by a subscriber that acks as a hub does; mapper host alone, 1 in 4 points scaled, decode,"
        f" quality and change check on; median of {_ROUNDS} rounds, interleaved with the bare loop"
    )
    return [
        Figure(
            "modbus.values.bare",
            median(one.rate for one in bares),
            "values/s",
            "pymodbus + paho in a loop that only forwards (tests/bench/bare_modbus.py), same run",
        ),
        Figure(
            "modbus.values.cpu",
            median(one.cpu_us for one in ours),
            "us",
            "CPU of the mapper process per value, same run",
            reach=3,
            at_most=True,
        ),
        Figure("modbus.values", median(one.rate for one in ours), "values/s", says, reach=150_000),
    ]


async def values_full(scale: Scale) -> list[Figure]:
    """The same with limits and a deadband on each point, as a ratio to the bare loop."""
    ours, bares = await _measure(scale, full=True)
    return [
        Figure(
            "modbus.values_full.rate",
            median(one.rate for one in ours),
            "values/s",
            "what the mapper host brings in this run",
            reach=300_000,
        ),
        Figure(
            "modbus.values_full.bare",
            median(one.rate for one in bares),
            "values/s",
            "what the bare loop of pymodbus + paho brings, same run",
        ),
        Figure(
            "modbus.values_full",
            median(one.rate / bare.rate for one, bare in zip(ours, bares, strict=True)),
            "x",
            "as modbus.values, with limits, deadband, scale of 1 in 4, quality and change check on every point; ratio"
            f" to the bare loop of the same round, median of {_ROUNDS}",
            reach=0.35,
        ),
    ]


async def cpu(scale: Scale) -> list[Figure]:
    """What a delivered value costs the mapper host."""
    ours, _ = await _measure(scale, full=True, bare=False)
    says = (
        f"CPU of the mapper process per delivered value, set-up as modbus.values_full, median of {_ROUNDS} rounds; the"
        " host starts anew for each"
    )
    return [Figure("modbus.cpu", median(one.cpu_us for one in ours), "us", says, reach=3, at_most=True)]


async def _measure(scale: Scale, *, full: bool, bare: bool = True) -> tuple[list[_Window], list[_Window]]:
    ours: list[_Window] = []
    bares: list[_Window] = []
    async with (
        broker(scale.folder) as on,
        modbus_server(scale.folder, "--counting") as port,
        MqttLink(on.options("subscriber")) as link,
    ):
        await link.connected(_WAIT_S)
        counter = _Counter(link)
        await counter.open()
        for _round in range(_ROUNDS):
            settings = encode(_settings(port, full=full))
            link.publish(topics.mapper_config(on.account.name), settings, qos=1, retain=True)
            with mapper_host(on, scale) as process:
                ours.append(await counter.window(process, lambda: counter.ours))
            if not bare:
                continue
            argv = module("tests.bench.bare_modbus", *on.login, str(port), _BARE)
            with child(argv, log=scale.folder / "bare_modbus.log") as process:
                await process.line()
                bares.append(await counter.window(process, lambda: counter.bare))
    assert not counter.problems, counter.problems[:3]
    return ours, bares


@dataclass(frozen=True, slots=True)
class _Window:
    rate: float
    cpu_us: float


class _Counter:
    """The subscriber: counts values, and sees that each report is whole; one that was sent again does not count."""

    def __init__(self, link: MqttLink) -> None:
        self._link = link
        self._reporter = ""
        self._last: dict[str, Any] = {}
        self.problems: list[str] = []
        self.ours = 0
        self.bare = 0

    async def open(self) -> None:
        await self._link.subscribe(topics.ALL_REPORTS, self._on_report)
        await self._link.subscribe(_BARE, self._on_bare)

    async def window(self, process: Child, count: Callable[[], int]) -> _Window:
        """Warm up, then count for some seconds."""
        start = count()
        await until(lambda: count() > start)
        await asyncio.sleep(_WARM_S)
        began_s, cpu_before_s, before = time.perf_counter(), cpu_s(process.pid), count()
        await asyncio.sleep(_MEASURE_S)
        took_s, used_s, counted = time.perf_counter() - began_s, cpu_s(process.pid) - cpu_before_s, count() - before
        return _Window(counted / took_s, used_s / counted * 1e6)

    def _on_report(self, message: Message) -> None:
        report = json.loads(message.payload)
        reported: dict[str, Any] = report["values"]
        parsed = topics.parse_report(message.topic)
        if parsed.key.kind is not Kind.DEVICE:
            return  # the connection tells of itself, too
        if len(reported) != _REGISTERS or "marks" in report:
            self.problems.append(f"a report of {len(reported)} values, marks {report.get('marks')}")
        if all(self._last.get(name) != reported.get(name) for name in ("r0", "r499", "r999")):
            self.ours += len(reported)
        self._last = reported
        self._link.publish(topics.ack(parsed.reporter), encode(Ack(stored=[report["id"]])))

    def _on_bare(self, message: Message) -> None:
        self.bare += len(json.loads(message.payload))


def _settings(port: int, *, full: bool = False) -> HostSettings:
    device = DeviceSettings(twin=_TWIN, address={"unit": 1}, points=registers(_REGISTERS, full=full))
    return one_connection({"transport": "tcp", "host": "127.0.0.1", "port": port}, [device])
