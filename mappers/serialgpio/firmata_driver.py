"""Firmata boards: pins set up when they are first needed, inputs told as they change, outputs read back from the board.

A pin becomes an output only by a write: until then it stays as the board has it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from typing import Final

from mappers.sdk import (
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
    WriteRefused,
)
from mappers.serialgpio.config import SerialgpioConnection, SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.contact import Contact
from mappers.serialgpio.discover import found_board, found_port, probed
from mappers.serialgpio.firmata import Message, Mode, PinState, Ports, ReportAnalog, ReportPort, SetMode, VersionQuery
from mappers.serialgpio.firmata_inputs import FirmataWatch, Input, Levels
from mappers.serialgpio.firmata_link import FirmataLink
from mappers.serialgpio.firmata_write import pull_up, set_output
from mappers.serialgpio.pins import NotEncodable, Pin, pin_of, unusable
from mappers.serialgpio.point import SerialgpioPoint
from mappers.serialgpio.port import LineSettings
from mappers.serialgpio.ports import Listing, matching, serial_ports, the_one

_BEATS: Final = 2  # in the time that a board may be silent
_MISSED: Final = 3  # beats without a word, after which the board is gone


@dataclass(slots=True, eq=False)
class FirmataPlan:
    """Points that are read together, and those that no board can have."""

    points: tuple[Point[SerialgpioPoint], ...]
    faults: dict[str, Fault]
    watch: FirmataWatch | None = None


@dataclass(slots=True)
class _Ready:
    """Points whose pins are set up, by how they are read."""

    inputs: list[Input] = field(default_factory=list)
    outputs: list[tuple[Point[SerialgpioPoint], Pin]] = field(default_factory=list)
    faults: dict[str, Fault] = field(default_factory=dict)


class FirmataDriver:
    """The board at one port."""

    def __init__(self, config: SerialgpioConnection, listing: Listing = serial_ports) -> None:
        """Store the settings; ``connect`` acts. Another listing is for tests."""
        self._config = config
        self._listing = listing
        self._timeout_s = config.timeout_ms / 1000
        self._link: FirmataLink | None = None
        self._wanted = False
        self._modes: dict[int, Mode] = {}
        self._set_up: set[int] = set()
        self._levels = Levels(self._on_change)
        self._written: dict[int, tuple[int, Value]] = {}
        self._watches: list[FirmataWatch] = []
        self._beat: asyncio.TimerHandle | None = None
        self._heard = 0
        self._missed = 0

    async def connect(self) -> None:
        """Open the port and greet the board. Raises NotConnected.

        A pattern is looked up when the board is first needed: a scan is not to open what it only lists.
        """
        await self.close()
        self._wanted = True
        if not has_magic(self._config.serial_port):
            await self._board()

    async def close(self) -> None:
        """Let go of the port; counts of edges stay."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
        if self._beat is not None:
            self._beat.cancel()
        self._beat = None
        self._wanted = False
        self._watches.clear()
        self._levels.forget()
        self._modes.clear()
        self._set_up.clear()

    def plan(self, device: SerialgpioDevice, points: Sequence[Point[SerialgpioPoint]]) -> FirmataPlan:  # noqa: ARG002  # one board a line
        """Sort out lines that no board has."""
        faults = {
            point.name: Fault(Reason.CONFIG_ERROR, f"{point.name}: {wrong}")
            for point in points
            if (wrong := unusable(point.address))
        }
        return FirmataPlan(tuple(point for point in points if point.name not in faults), faults)

    async def read(self, plan: FirmataPlan) -> Readings:
        """Read inputs as the board told them, outputs as it holds them. Raises NotConnected or DeviceTimeout."""
        link = await self._board()
        ready = await self._prepare(link, plan)
        await link.catch_up(self._timeout_s)
        readings = Readings(faults=ready.faults)
        for one in ready.inputs:
            value = one.value(link.analog)
            if value is None:
                readings.faults[one.name] = Fault(Reason.TIMEOUT, f"{one.name}: the board does not tell this pin")
            else:
                readings.values[one.name] = value
        states = await link.pin_states([pin.number for _, pin in ready.outputs], self._timeout_s)
        for point, pin in ready.outputs:
            state = states[pin.number]
            if state.mode == pin.mode:
                readings.values[point.name] = self._held(point.address, pin, state)
            else:
                fault = Fault(
                    Reason.STALE, f"{point.name}: the pin is no output until it is written", Quality.UNCERTAIN
                )
                readings.faults[point.name] = fault
        return readings

    async def write(self, device: SerialgpioDevice, point: Point[SerialgpioPoint], value: Value) -> None:  # noqa: ARG002  # one board a line
        """Set an output. Raises WriteRefused, NotConnected or DeviceTimeout."""
        link = await self._board()
        address = point.address
        if not address.output:
            message = f"{point.name}: line {address.line} is an input"
            raise WriteRefused(message, remedy="Give it direction: output, or make the property read-only.")
        pin = self._pin(link, point)
        if isinstance(pin, Fault):
            raise WriteRefused(pin.text)
        try:
            count = _count(address, pin, value)
        except NotEncodable as error:
            message = f"{point.name}: {error}"
            raise WriteRefused(message) from None
        await set_output(link, pin, count, self._timeout_s)
        self._written[pin.number] = count, value

    async def subscribe(self, plan: FirmataPlan, cycle_ms: int, listener: Listener) -> Subscribed:
        """Have inputs told; outputs are read. Raises MapperError and its kinds."""
        if not any(not point.address.output for point in plan.points):
            message = "outputs are read back from the board"
            raise MapperError(message)
        link = await self._board()
        ready = await self._prepare(link, plan)
        await link.catch_up(self._timeout_s)
        plan.watch = watch = FirmataWatch(ready.inputs, listener, cycle_ms / 1000)
        watch.first(link.analog, ready.faults)
        self._watches.append(watch)
        if self._beat is None:
            self._arm()
        return Subscribed(self._config.alive_ms / 1000, frozenset(point.name for point, _ in ready.outputs))

    async def unsubscribe(self, plan: FirmataPlan) -> None:
        """Tell nothing more of a plan."""
        watch, plan.watch = plan.watch, None
        if watch in self._watches:
            self._watches.remove(watch)

    async def discover(
        self, wanted: SerialgpioScan, tell: Callable[[Progress], None]
    ) -> AsyncGenerator[FoundDevice, None]:
        """Ports of this machine that the connection means, and what the boards at them have. Raises NotConnected."""
        ports = matching(self._config.serial_port, self._listing)
        for number, port in enumerate(ports):
            tell(Progress(number, len(ports), port.best))
            if not has_magic(self._config.serial_port):
                yield await found_board(port, await self._board(), self._timeout_s)
            elif wanted.probe:
                yield await probed(port, self._new_link(port.path), wanted.probe_ms / 1000)
            else:
                yield found_port(port)

    def _new_link(
        self,
        path: str,
        on_news: Callable[[Message], None] = lambda _: None,
        on_lost: Callable[[NotConnected], None] = lambda _: None,
    ) -> FirmataLink:
        config = self._config
        settings = LineSettings(config.speed, config.data_bits, config.parity, config.stop_bits)
        return FirmataLink(path, settings, on_news=on_news, on_lost=on_lost)

    async def _board(self) -> FirmataLink:
        """The board, greeted. Raises NotConnected."""
        if not self._wanted:
            message = f"{self._config.serial_port} is closed"
            raise NotConnected(message)
        if self._link is None:
            path = the_one(self._config.serial_port, self._listing)
            link = self._new_link(path, self._on_news, self._on_lost)
            try:
                await link.open(self._config.boot_ms / 1000, self._timeout_s)
                link.sample_every(self._config.sampling_ms)
            except BaseException:
                link.close()
                raise
            self._link = link
        return self._link

    def _pin(self, link: FirmataLink, point: Point[SerialgpioPoint]) -> Pin | Fault:
        """The pin of a point, which nobody else uses otherwise."""
        pin = pin_of(point.address, link.capabilities, link.mapping)
        if isinstance(pin, Fault):
            return Fault(pin.reason, f"{point.name}: {pin.text}")
        used = self._modes.setdefault(pin.number, pin.mode)
        if used is not pin.mode:
            text = f"{point.name}: pin {pin.number} is {used.name.lower()} for another property already"
            return Fault(Reason.CONFIG_ERROR, text)
        return pin

    async def _prepare(self, link: FirmataLink, plan: FirmataPlan) -> _Ready:
        """Set up what was not needed before, and wait until the board has told it."""
        ready = _Ready(faults=dict(plan.faults))
        fresh: list[tuple[Contact, Pin]] = []
        channels: set[int] = set()
        for point in plan.points:
            pin = self._pin(link, point)
            if isinstance(pin, Fault):
                ready.faults[point.name] = pin
            elif point.address.output:
                ready.outputs.append((point, pin))
            else:
                contact = None if pin.mode is Mode.ANALOG else self._levels.contact(point.address)
                ready.inputs.append(Input(point.name, pin, contact))
                if contact is not None and not contact.known:
                    fresh.append((contact, pin))
                if pin.number not in self._set_up:
                    self._set_up.add(pin.number)
                    if pin.mode is Mode.PULLUP:
                        await pull_up(link, pin, self._timeout_s)
                    else:
                        link.send(SetMode(pin.number, pin.mode))
                    channels |= {pin.channel} if pin.channel is not None else set()
        if fresh or channels:
            await self._have_told(link, {pin.port for _, pin in fresh}, channels)
        for contact, pin in fresh:
            if pin.port in link.ports:
                self._levels.add(contact, pin)
                self._levels.take(pin.port, link.ports[pin.port])
        return ready

    async def _have_told(self, link: FirmataLink, ports: set[int], channels: set[int]) -> None:
        for port in ports:
            link.ports.pop(port, None)
        link.send(*(ReportPort(port, True) for port in sorted(ports)))
        link.send(*(ReportAnalog(channel, True) for channel in sorted(channels)))
        # A board before Firmata 2.4 tells no port until something changes; its points have a fault meanwhile.
        await link.catch_up(self._timeout_s)
        with contextlib.suppress(TimeoutError):
            await link.until(lambda: link.analog.keys() >= channels, self._timeout_s)

    def _held(self, address: SerialgpioPoint, pin: Pin, state: PinState) -> Value:
        """What an output holds: the very value that was written, if it is as near to it as the board can."""
        count, value = self._written.get(pin.number, (None, None))
        if pin.mode is Mode.OUTPUT:
            return bool(state.state) is not address.active_low
        return value if count == state.state else pin.raw(state.state)

    def _on_news(self, message: Message) -> None:
        if isinstance(message, Ports):
            self._levels.take(message.port, message.mask)
            return
        for watch in self._watches:
            watch.analog(message)  # type: ignore[arg-type]  # the link tells of ports and analog channels only

    def _on_change(self, contacts: set[Contact]) -> None:
        for watch in self._watches:
            watch.changed(contacts)

    def _on_lost(self, error: NotConnected) -> None:
        for watch in list(self._watches):
            watch.lost(error)

    def _arm(self) -> None:
        wait_s = self._config.alive_ms / 1000 / _BEATS
        self._missed, self._heard = 0, -1
        self._beat = asyncio.get_running_loop().call_later(wait_s, self._on_beat, wait_s)

    def _on_beat(self, wait_s: float) -> None:
        """Ask a quiet board whether it is there."""
        link = self._link
        if link is None:
            return
        self._missed = self._missed + 1 if link.heard == self._heard else 0
        if self._missed >= _MISSED:
            message = f"the board at {self._config.serial_port} is silent"
            link.lost(NotConnected(message, remedy="Is it on, and its sketch running?"))
            return
        if not self._missed:
            for watch in self._watches:
                watch.alive()
        self._heard = link.heard
        with contextlib.suppress(NotConnected):  # told by on_lost
            link.send(VersionQuery())
        self._beat = asyncio.get_running_loop().call_later(wait_s, self._on_beat, wait_s)


def _count(address: SerialgpioPoint, pin: Pin, value: Value) -> int:
    """The count for a value. Raises NotEncodable."""
    if pin.mode is not Mode.OUTPUT:
        return pin.count(value)
    if not isinstance(value, bool):
        message = f"{value!r} is neither true nor false"
        raise NotEncodable(message)
    return int(value is not address.active_low)
