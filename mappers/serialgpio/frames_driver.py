"""Modules that are asked by messages, and devices that send them by themselves; one question is asked at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from glob import has_magic
from typing import Final

from mappers.sdk import (
    DeviceTimeout,
    Fault,
    FoundDevice,
    Listener,
    MapperError,
    NotConnected,
    Point,
    Progress,
    Quality,
    Readings,
    Reason,
    Subscribed,
    Value,
    ValueType,
    WriteRefused,
)
from mappers.serialgpio.config import SerialgpioConnection, SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.discover import found_port
from mappers.serialgpio.exchange import Exchange, exchange_of
from mappers.serialgpio.field import Field, NotDecodable
from mappers.serialgpio.frames_link import FramesLink
from mappers.serialgpio.modules import module_exchange
from mappers.serialgpio.point import SerialgpioPoint
from mappers.serialgpio.port import LineSettings
from mappers.serialgpio.ports import Listing, matching, serial_ports, the_one

_TRIES: Final = 2  # silent requests, after which a device that answered none does not answer
_BAD_AFTER: Final = 2  # times of silence, after which a value is bad


@dataclass(frozen=True, slots=True)
class Item:
    """A point as messages."""

    name: str
    type: ValueType
    exchange: Exchange

    def put(self, readings: Readings, payload: bytes) -> None:
        """Add the value in a message, or why it has none."""
        exchange = self.exchange
        if exchange.refuses(payload):
            readings.faults[self.name] = Fault(Reason.DEVICE_FAILURE, f"{self.name}: the device said {payload[:40]!r}")
            return
        assert exchange.field is not None
        try:
            value = exchange.field.decode(payload, self.type)
        except NotDecodable as error:
            readings.faults[self.name] = Fault(Reason.DECODE_ERROR, f"{self.name}: {error}")
            return
        if exchange.inverted:
            value = not value
        readings.values[self.name] = value


@dataclass(slots=True, eq=False)
class FramesPlan:
    """Points of one device: asked for by the same request, heard, only written, and those that cannot be."""

    device: SerialgpioDevice
    asked: dict[bytes, list[Item]]
    heard: list[Item]
    written: list[str]
    faults: dict[str, Fault]
    watch: FramesWatch | None = None


class FramesWatch:
    """Points that come by themselves, told as they come."""

    def __init__(self, items: Sequence[Item], listener: Listener) -> None:
        self._items = tuple(items)
        self._listener = listener

    def take(self, payload: bytes) -> None:
        """Tell what a message has."""
        readings = Readings()
        for item in self._items:
            if item.exchange.accepts(payload):
                item.put(readings, payload)
        if readings.values or readings.faults:
            self._listener.tell(readings)

    def lost(self, error: NotConnected) -> None:
        """Tell that the line is gone."""
        self._listener.lost(error)


class FramesDriver:
    """The devices on one line."""

    def __init__(self, config: SerialgpioConnection, listing: Listing = serial_ports) -> None:
        """Store the settings; ``connect`` acts. Another listing is for tests."""
        self._config = config
        self._listing = listing
        self._link: FramesLink | None = None
        self._wanted = False
        self._fields: set[Field] = set()
        self._heard: dict[Field, tuple[bytes, float]] = {}
        self._written: dict[tuple[str, str], Value] = {}
        self._watches: list[FramesWatch] = []

    async def connect(self) -> None:
        """Open the port. Raises NotConnected. A pattern is looked up when the line is first needed, for scans' sake."""
        await self.close()
        self._wanted = True
        if not has_magic(self._config.serial_port):
            self._line()

    async def close(self) -> None:
        """Let go of the port; what was written stays known."""
        link, self._link = self._link, None
        self._wanted = False
        self._watches.clear()
        self._heard.clear()
        if link is not None:
            link.close()

    def plan(self, device: SerialgpioDevice, points: Sequence[Point[SerialgpioPoint]]) -> FramesPlan:
        """Sort points by how their values come."""
        plan = FramesPlan(device, {}, [], [], {})
        for point in points:
            try:
                exchange = self._exchange(device, point)
                if exchange.request is not None:
                    self._config.frames.framed(exchange.request)
            except ValueError as error:
                plan.faults[point.name] = Fault(Reason.CONFIG_ERROR, f"{point.name}: {error}")
                continue
            item = Item(point.name, point.type, exchange)
            if exchange.field is None:
                plan.written.append(point.name)
            elif exchange.request is None:
                plan.heard.append(item)
                self._fields.add(exchange.field)
            else:
                plan.asked.setdefault(exchange.request, []).append(item)
        return plan

    async def read(self, plan: FramesPlan) -> Readings:
        """Ask what can be asked; the rest is as it was last heard or written. Raises NotConnected or DeviceTimeout."""
        readings = Readings(faults=dict(plan.faults))
        link = self._line()
        await self._ask_all(link, plan, readings)
        now_s = asyncio.get_running_loop().time()
        for item in plan.heard:
            self._put_heard(item, plan.device, readings, now_s)
        for name in plan.written:
            if (plan.device.unit, name) in self._written:
                readings.values[name] = self._written[plan.device.unit, name]
            else:
                readings.faults[name] = Fault(Reason.STALE, f"{name}: was not written yet", Quality.UNCERTAIN)
        return readings

    async def write(self, device: SerialgpioDevice, point: Point[SerialgpioPoint], value: Value) -> None:
        """Send what sets a value. Raises WriteRefused, NotConnected or DeviceTimeout."""
        link = self._line()
        try:
            exchange = self._exchange(device, point)
            if exchange.write is None:
                message = f"{point.name}: nothing says how it is written"
                raise WriteRefused(
                    message, remedy="Give it write or direction: output, or make the property read-only."
                )
            payload = exchange.write(value)
            self._config.frames.framed(payload)
        except ValueError as error:
            message = f"{point.name}: {error}"
            raise WriteRefused(message) from None
        if exchange.confirm is None:
            await link.send(payload)
        else:
            answer = await link.ask(payload, exchange.confirms)
            if exchange.refuses(answer):
                message = f"{point.name}: the device answered {answer[:40]!r} to {payload[:40]!r}"
                raise WriteRefused(message)
        self._written[device.unit, point.name] = value

    async def subscribe(self, plan: FramesPlan, cycle_ms: int, listener: Listener) -> Subscribed:  # noqa: ARG002  # the device's own pace
        """Have values told that come by themselves. Raises MapperError and its kinds."""
        if not plan.heard:
            message = "these points are asked for"
            raise MapperError(message)
        self._line()
        plan.watch = watch = FramesWatch(plan.heard, listener)
        self._watches.append(watch)
        first = Readings()
        now_s = asyncio.get_running_loop().time()
        for item in plan.heard:
            self._put_heard(item, plan.device, first, now_s)
        listener.tell(first)
        others = {item.name for items in plan.asked.values() for item in items}
        return Subscribed(plan.device.silence_ms / 1000, frozenset(others | {*plan.written, *plan.faults}))

    async def unsubscribe(self, plan: FramesPlan) -> None:
        """Tell nothing more of a plan."""
        watch, plan.watch = plan.watch, None
        if watch in self._watches:
            self._watches.remove(watch)

    async def discover(
        self,
        wanted: SerialgpioScan,  # noqa: ARG002  # there is nothing that all devices understand
        tell: Callable[[Progress], None],
    ) -> AsyncGenerator[FoundDevice, None]:
        """Ports of this machine that the connection's pattern means."""
        ports = matching(self._config.serial_port, self._listing)
        for number, port in enumerate(ports):
            tell(Progress(number, len(ports), port.best))
            yield found_port(port)

    def _exchange(self, device: SerialgpioDevice, point: Point[SerialgpioPoint]) -> Exchange:
        """A point as messages. Raises ValueError."""
        if self._config.module is not None:
            return module_exchange(self._config.module, point.address, device.unit)
        if point.address.line:
            message = "backend frames has messages, no lines; give match, type or write"
            raise ValueError(message)
        return exchange_of(point.address, device.unit)

    def _line(self) -> FramesLink:
        """The line, open. Raises NotConnected."""
        config = self._config
        if not self._wanted:
            message = f"{config.serial_port} is closed"
            raise NotConnected(message)
        if self._link is None:
            link = FramesLink(
                the_one(config.serial_port, self._listing),
                LineSettings(config.speed, config.data_bits, config.parity, config.stop_bits),
                config.frames,
                timeout_s=config.timeout_ms / 1000,
                gap_s=config.gap_ms / 1000,
                on_frame=self._on_frame,
                on_lost=self._on_lost,
            )
            link.open()
            self._link = link
        return self._link

    async def _ask_all(self, link: FramesLink, plan: FramesPlan, readings: Readings) -> None:
        """Ask each request once. A device that answers none of the first two does not answer at all."""
        silent = answered = 0
        for request, items in plan.asked.items():
            try:
                answer = await link.ask(request, _any_of(items))
            except DeviceTimeout as error:
                silent += 1
                if not answered and silent in (_TRIES, len(plan.asked)):
                    raise
                fault = Fault(Reason.TIMEOUT, error.message)
                readings.faults.update({item.name: fault for item in items})
                continue
            answered += 1
            for item in items:
                item.put(readings, answer)

    def _put_heard(self, item: Item, device: SerialgpioDevice, readings: Readings, now_s: float) -> None:
        assert item.exchange.field is not None
        heard = self._heard.get(item.exchange.field)
        if heard is None:
            readings.faults[item.name] = Fault(Reason.TIMEOUT, f"{item.name}: no such message came yet")
            return
        payload, at_s = heard
        item.put(readings, payload)
        silent = (now_s - at_s) / (device.silence_ms / 1000)
        if silent >= 1 and item.name in readings.values:
            quality = Quality.UNCERTAIN if silent < _BAD_AFTER else Quality.BAD
            readings.faults[item.name] = Fault(Reason.STALE, f"{item.name}: no message came lately", quality)

    def _on_frame(self, payload: bytes) -> None:
        now_s = asyncio.get_running_loop().time()
        for field in self._fields:
            if field.accepts(payload):
                self._heard[field] = payload, now_s
        for watch in self._watches:
            watch.take(payload)

    def _on_lost(self, error: NotConnected) -> None:
        for watch in list(self._watches):
            watch.lost(error)


def _any_of(items: Sequence[Item]) -> Callable[[bytes], bool]:
    return lambda payload: any(item.exchange.accepts(payload) for item in items)
