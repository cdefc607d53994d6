"""A loop in virtual time, a scripted driver, and a hub's end of the link."""

import asyncio
import selectors
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from random import Random
from typing import Any

import pytest

from mappers.sdk import ConnectionConfig, DeviceConfig, Fault, Mapper, Point, PointConfig, Readings, Value
from mappers.sdk.binding import BoundDevice, bind_devices
from mappers.sdk.config import ConnectionSettings
from mappers.sdk.outbox import Outbox
from mappers.sdk.runner import MapperRunner
from twin.link import Message
from twin.link.memory import MemoryBroker, MemoryLink
from twin.model import TwinKey
from twin.wire import codec, topics
from twin.wire.messages import Ack, Delta, DesiredValue, ErrorBody, RefusedReport, Report

ACCOUNT = "mapper"


class JumpingSelector(selectors.DefaultSelector):
    """Waits by moving the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing is left to wait for"
            self.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class VirtualClock:
    """The loop's time as both clocks."""

    def now_us(self) -> int:
        return 1_700_000_000_000_000 + int(self.monotonic_s() * 1e6)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class ScriptedDriver:
    """Reads from a table of registers by device; what a test sets, happens."""

    def __init__(self) -> None:
        self.registers: dict[str, dict[str, Value]] = {}
        self.faults: dict[str, Fault] = {}
        self.errors: dict[str, Exception] = {}  # by device name
        self.offline: Exception | None = None
        self.write_error: Exception | None = None
        self.keep: Callable[[str, Value], Value] = lambda name, value: value
        self.read_s: dict[str, float] = {}
        self.calls: list[tuple[float, str]] = []
        self.written: list[tuple[str, Value]] = []
        self.busy = False
        self.is_open = False

    async def connect(self) -> None:
        self.calls.append((asyncio.get_running_loop().time(), "connect"))
        if self.offline is not None:
            raise self.offline
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    def plan(self, device: Any, points: Sequence[Point[PointConfig]]) -> tuple[str, tuple[str, ...]]:
        return device.unit, tuple(point.name for point in points)

    async def read(self, plan: Any) -> Readings:
        unit, names = plan
        await self._call(f"read {unit}", unit)
        registers = self.registers.get(unit, {})
        faults = {name: self.faults[name] for name in names if name in self.faults}
        return Readings({name: registers.get(name, 0) for name in names if name not in faults}, faults)

    async def write(self, device: Any, point: Point[PointConfig], value: Value) -> None:
        await self._call(f"write {point.name}", device.unit)
        if self.write_error is not None:
            raise self.write_error
        self.written.append((point.name, value))
        self.registers.setdefault(device.unit, {})[point.name] = self.keep(point.name, value)

    async def _call(self, text: str, unit: str) -> None:
        assert not self.busy, "one call at a time"
        self.busy = True
        try:
            self.calls.append((asyncio.get_running_loop().time(), text))
            await asyncio.sleep(self.read_s.get(unit, 0.001))
        finally:
            self.busy = False
        if self.offline is not None:
            raise self.offline
        if unit in self.errors:
            raise self.errors[unit]

    def count(self, text: str) -> int:
        return sum(1 for _, call in self.calls if call == text)


class UnitConfig(DeviceConfig):
    unit: str


class PortConfig(ConnectionConfig):
    port: str = "bus"


def scripted_mapper(driver: Callable[[], ScriptedDriver]) -> Mapper:
    return Mapper("scripted", PortConfig, UnitConfig, PointConfig, lambda config: driver())  # type: ignore[arg-type]


class HubEnd:
    """What a hub would see and say, and whether it answers."""

    def __init__(self, link: MemoryLink) -> None:
        self.link = link
        self.reports: list[tuple[TwinKey, Report]] = []
        self.answers = True
        self.refuse = ""

    async def open(self) -> None:
        await self.link.subscribe(topics.ALL_REPORTS, self._on_report)

    def desire(self, key: TwinKey, tick: int = 1, **desired: Value) -> None:
        delta = Delta(
            version=tick, desired={name: DesiredValue(value=value, tick=tick) for name, value in desired.items()}
        )
        self.link.publish(topics.delta(key), codec.encode(delta), qos=1, retain=True)

    def last(self, name: str) -> tuple[Value, str]:
        """Value last reported and reason of the newest report of this property."""
        value, reason = None, "never reported"
        for _, report in self.reports:
            value = report.values.get(name, value)
            if name in report.marks:
                reason = report.marks[name].reason.value
            elif name in report.values:
                reason = ""
        return value, reason

    def values(self, name: str) -> list[Value]:
        return [report.values[name] for _, report in self.reports if name in report.values]

    def _on_report(self, message: Message) -> None:
        report = codec.decode_report(message.payload, what="report")
        self.reports.append((topics.parse_report(message.topic).key, report))
        if self.answers:
            refused = [RefusedReport(id=report.id, error=ErrorBody(code="refused", message=self.refuse))]
            ack = Ack(stored=[report.id], refused=refused if self.refuse else [])
            self.link.publish(topics.ack(ACCOUNT), codec.encode(ack))


class World:
    """A runner with its driver, and the hub at the other end of the null modem."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.rng = Random(7)
        self.broker = MemoryBroker()
        self.link = self.broker.link()
        self.hub = HubEnd(self.broker.link())
        self.driver = ScriptedDriver()
        self.mapper = scripted_mapper(lambda: self.driver)
        self.outbox = Outbox(self.link, ACCOUNT, self.clock, self.rng)
        self.runner = MapperRunner(
            "default/bus",
            self.driver,  # type: ignore[arg-type]  # a driver of its own config types
            link=self.link,
            outbox=self.outbox,
            clock=self.clock,
            rng=self.rng,
        )
        self.task: asyncio.Task[None] | None = None

    def settings(self, **devices: Sequence[Mapping[str, Any]]) -> ConnectionSettings:
        """One device a keyword, its points as settings."""
        return ConnectionSettings.model_validate(
            {
                "name": "default/bus",
                "mapper": "scripted",
                "config": {},
                "devices": [
                    {
                        "twin": f"device/default/{name}",
                        "address": {"unit": name},
                        "points": [{"type": "INT", "visitor": {}, **point} for point in points],
                    }
                    for name, points in devices.items()
                ],
            }
        )

    def bound(self, **devices: Sequence[Mapping[str, Any]]) -> tuple[BoundDevice, ...]:
        binding = bind_devices(self.settings(**devices), self.mapper)
        assert binding.problems == ()
        return binding.devices

    async def start(self, **devices: Sequence[Mapping[str, Any]]) -> None:
        await self.runner.serve(self.bound(**devices))
        self.task = asyncio.create_task(self.runner.run())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
            self.task = None
        self.runner.close()

    @staticmethod
    async def passes(seconds: float) -> None:
        """Let virtual time pass; costs none."""
        await asyncio.sleep(seconds)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    async with made.link, made.hub.link:
        await made.hub.open()
        await made.outbox.open()
        await made.link.connected(1)
        await made.hub.link.connected(1)
        yield made
        await made.stop()
        made.outbox.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def new_driver() -> Callable[[], ScriptedDriver]:
    return ScriptedDriver


@pytest.fixture
def mapper_of() -> Callable[[Callable[[], ScriptedDriver]], Mapper]:
    return scripted_mapper


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    real = item.path.name == "test_host.py"
    return {"real": asyncio.new_event_loop} if real else {"virtual": VirtualLoop}
