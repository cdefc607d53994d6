"""A driver that keeps every promise of the contract, in the open: what mutants break is in its own lines.

Lines of text over TCP: ``ID get KEY`` is answered by ``ID VALUE``, ``ID set KEY VALUE`` by ``ID ok``, ``ID all`` by all
keys, ``ID watch`` by a line ``* KEY VALUE`` at each change.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from mappers.sdk import (
    Capability,
    ConnectionConfig,
    DeviceConfig,
    DeviceTimeout,
    Fault,
    FoundDevice,
    FoundPoint,
    Listener,
    Mapper,
    NotConnected,
    Point,
    PointConfig,
    Progress,
    Readings,
    Reason,
    Subscribed,
    Value,
    ValueType,
    WriteRefused,
)
from twin.model import Access


class Host(ConnectionConfig):
    host: str
    port: Annotated[int, Field(ge=1, le=65535)]
    timeout_ms: int = 1000


class Unit(DeviceConfig):
    unit: str


class Address(PointConfig):
    key: str


class Plan:
    """Names and keys of one unit."""

    def __init__(self, unit: str, keys: dict[str, str]) -> None:
        self.unit = unit
        self.keys = keys
        self.listener: Listener | None = None


class LineDriver:
    """The good one."""

    def __init__(self, config: Host) -> None:
        self.config = config
        self.timeout_s = config.timeout_ms / 1000
        self.writer: asyncio.StreamWriter | None = None
        self.reading: asyncio.Task[None] | None = None
        self.waiting: dict[str, asyncio.Future[str]] = {}
        self.plans: list[Plan] = []
        self.number = 0

    async def connect(self) -> None:
        await self.close()
        where = f"{self.config.host}:{self.config.port}"
        try:
            async with asyncio.timeout(self.timeout_s):
                reader, self.writer = await asyncio.open_connection(self.config.host, self.config.port)
        except OSError as error:
            message = f"{where} does not answer: {error or type(error).__name__}"
            raise NotConnected(message, remedy="Is it on?") from error
        self.reading = asyncio.create_task(self.take(reader))

    async def close(self) -> None:
        reading, self.reading = self.reading, None
        writer, self.writer = self.writer, None
        self.plans.clear()
        if writer is not None:
            writer.transport.abort()
        if reading is not None:
            reading.cancel()
        self.fail_all()

    def plan(self, device: Unit, points: Sequence[Point[Address]]) -> Plan:
        return Plan(device.unit, {point.name: point.address.key for point in points})

    async def read(self, plan: Plan) -> Readings:
        readings = Readings()
        answers: dict[str, str] = {}
        for name, key in plan.keys.items():
            if key not in answers:
                answers[key] = await self.ask(f"get {plan.unit}.{key}")
            self.put(readings, name, answers[key])
        return readings

    async def write(self, device: Unit, point: Point[Address], value: Value) -> None:
        fits = isinstance(value, str) if point.type is ValueType.STRING else isinstance(value, int | float)
        if not fits or isinstance(value, bool):
            message = f"{point.name}: {value!r} is no {point.type}"
            raise WriteRefused(message)
        answer = await self.ask(f"set {device.unit}.{point.address.key} {json.dumps(value)}")
        if answer != "ok":
            message = f"{point.name}: the device says {answer!r}"
            raise WriteRefused(message)

    async def subscribe(self, plan: Plan, cycle_ms: int, listener: Listener) -> Subscribed:
        await self.ask("watch")
        plan.listener = listener
        self.plans.append(plan)
        listener.tell(await self.read(plan))
        return Subscribed(alive_s=30.0)

    async def unsubscribe(self, plan: Plan) -> None:
        plan.listener = None
        if plan in self.plans:
            self.plans.remove(plan)

    async def discover(self, wanted: Any, tell: Callable[[Progress], None]) -> AsyncGenerator[FoundDevice, None]:
        tell(Progress(0, 1))
        keys = (await self.ask("all")).split(",")
        points = tuple(
            FoundPoint(key.split(".")[1], ValueType.JSON, Access.READ_ONLY, {"key": key.split(".")[1]}) for key in keys
        )
        yield FoundDevice("pump", {"unit": "pump"}, points)
        tell(Progress(1, 1))

    def put(self, readings: Readings, name: str, answer: str) -> None:
        try:
            readings.values[name] = json.loads(answer)
        except ValueError:
            readings.faults[name] = Fault(Reason.ILLEGAL_ADDRESS, f"{name}: the device says {answer!r}")

    async def ask(self, request: str) -> str:
        if self.writer is None:
            message = f"{self.config.host}:{self.config.port} is closed"
            raise NotConnected(message)
        self.number += 1
        number = str(self.number)
        answer = self.waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self.writer.write(f"{number} {request}\n".encode())
            async with asyncio.timeout(self.timeout_s):
                said = await answer
        except TimeoutError as error:
            message = f"{request!r} was not answered"
            raise DeviceTimeout(message) from error
        finally:
            self.waiting.pop(number, None)
        if said == "silent":
            message = f"{request!r} was not answered by its unit"
            raise DeviceTimeout(message)
        return said

    async def take(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, ValueError):
            async for line in reader:
                if not line.endswith(b"\n"):
                    break  # cut in the middle: half an answer is none
                number, _, answer = line.decode().rstrip("\n").partition(" ")
                if number == "*":
                    self.told(answer)
                elif number in self.waiting and not self.waiting[number].done():
                    self.waiting[number].set_result(answer)
        self.lost()

    def told(self, text: str) -> None:
        place, _, answer = text.partition(" ")
        for plan in self.plans:
            readings = Readings()
            for name, key in plan.keys.items():
                if f"{plan.unit}.{key}" == place:
                    self.put(readings, name, answer)
            if plan.listener is not None and (readings.values or readings.faults):
                plan.listener.tell(readings)

    def lost(self) -> None:
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()
        self.fail_all()
        for plan in list(self.plans):
            if plan.listener is not None:
                plan.listener.lost(NotConnected(f"{self.config.host}:{self.config.port} has hung up"))

    def fail_all(self) -> None:
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(NotConnected(f"{self.config.host}:{self.config.port} has hung up"))


OFFERS = frozenset({Capability.SUBSCRIBE, Capability.DISCOVER})
MAPPER = Mapper("line", Host, Unit, Address, LineDriver, capabilities=OFFERS)  # type: ignore[arg-type]
