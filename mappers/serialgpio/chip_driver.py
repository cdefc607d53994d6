"""Lines of a GPIO chip of the Linux kernel: edges with the kernel's own times, debounced by it, none lost uncounted.

A line becomes an output only by a write: until then it stays as the kernel has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from mappers.sdk import (
    Access,
    Fault,
    FoundDevice,
    FoundPoint,
    Listener,
    MapperError,
    NotConnected,
    Point,
    Progress,
    Readings,
    Reason,
    Subscribed,
    Value,
    ValueType,
    WriteRefused,
)
from mappers.serialgpio.chip import OpenChip, open_chip
from mappers.serialgpio.chip_lines import ChipLines, UsedLine
from mappers.serialgpio.config import SerialgpioConnection, SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.contact import Contact
from mappers.serialgpio.point import Kind, SerialgpioPoint

_BEATS: Final = 2


class ChipWatch:
    """The inputs of one plan, told as they change."""

    def __init__(self, names: dict[Contact, list[str]], listener: Listener) -> None:
        self._names = names
        self.listener = listener

    def changed(self, contacts: set[Contact], time_ms: int) -> None:
        """Tell the inputs that changed, and when."""
        values: dict[str, Value] = {name: one.value for one in contacts for name in self._names.get(one, ())}
        if values:
            self.listener.tell(Readings(values, times_ms=dict.fromkeys(values, time_ms)))


@dataclass(slots=True, eq=False)
class ChipPlan:
    """Points that are read together, and those that no chip can have."""

    points: tuple[Point[SerialgpioPoint], ...]
    faults: dict[str, Fault]
    watch: ChipWatch | None = None


class ChipDriver:
    """The lines of one chip."""

    def __init__(self, config: SerialgpioConnection, open_: OpenChip = open_chip) -> None:
        """Store the settings; ``connect`` acts. Another way to open is for tests and simulation."""
        self._config = config
        self._open = open_
        self._lines: ChipLines | None = None
        self._contacts: dict[SerialgpioPoint, Contact] = {}
        self._watches: list[ChipWatch] = []
        self._beat: asyncio.TimerHandle | None = None

    async def connect(self) -> None:
        """Open the chip. Raises NotConnected."""
        await self.close()
        try:
            self._lines = ChipLines(self._open(self._config.chip), self._contacts, self._on_change, self._on_lost)
        except OSError as error:
            message = f"{self._config.chip} cannot be opened: {error}"
            remedy = "Check that it exists (gpiodetect lists chips) and that this account may open it."
            raise NotConnected(message, remedy=remedy) from error

    async def close(self) -> None:
        """Let go of the chip; counts of edges stay, outputs are the kernel's then."""
        lines, self._lines = self._lines, None
        if lines is not None:
            lines.close()
        if self._beat is not None:
            self._beat.cancel()
        self._beat = None
        self._watches.clear()

    def plan(self, device: SerialgpioDevice, points: Sequence[Point[SerialgpioPoint]]) -> ChipPlan:  # noqa: ARG002  # one chip a connection
        """Sort out what no chip has."""
        faults = {
            point.name: Fault(Reason.CONFIG_ERROR, f"{point.name}: {wrong}")
            for point in points
            if (wrong := _unusable(point.address))
        }
        return ChipPlan(tuple(point for point in points if point.name not in faults), faults)

    async def read(self, plan: ChipPlan) -> Readings:
        """Read the lines. Raises NotConnected."""
        lines = self._chip()
        readings = Readings(faults=dict(plan.faults))
        for point in plan.points:
            used = lines.use(point.address)
            if isinstance(used, Fault):
                readings.faults[point.name] = Fault(used.reason, f"{point.name}: {used.text}")
            elif point.address.output:
                readings.values[point.name] = lines.level(used) is not point.address.active_low
            else:
                lines.drain(used)
                readings.values[point.name] = used.contacts[point.address].value
        return readings

    async def write(self, device: SerialgpioDevice, point: Point[SerialgpioPoint], value: Value) -> None:  # noqa: ARG002  # one chip a connection
        """Drive a line. Raises WriteRefused or NotConnected."""
        lines = self._chip()
        address = point.address
        if not address.output or _unusable(address):
            message = f"{point.name}: {_unusable(address) or f'line {address.line} is an input'}"
            raise WriteRefused(message, remedy="Give it direction: output, or make the property read-only.")
        if not isinstance(value, bool):
            message = f"{point.name}: {value!r} is neither true nor false"
            raise WriteRefused(message)
        used = lines.use(address)
        if isinstance(used, Fault):
            message = f"{point.name}: {used.text}"
            raise WriteRefused(message)
        try:
            lines.drive(used, value is not address.active_low)
        except OSError as error:
            message = f"{point.name}: line {used.offset} cannot be driven: {error}"
            raise WriteRefused(message) from error

    async def subscribe(self, plan: ChipPlan, cycle_ms: int, listener: Listener) -> Subscribed:  # noqa: ARG002  # edges come when they come
        """Have inputs told; outputs are read. Raises MapperError and its kinds."""
        outputs = frozenset(point.name for point in plan.points if point.address.output)
        if len(outputs) == len(plan.points):
            message = "outputs are read back from the chip"
            raise MapperError(message)
        lines = self._chip()
        names: dict[Contact, list[str]] = {}
        first = Readings(faults=dict(plan.faults))
        for point in plan.points:
            if point.name in outputs:
                continue
            used = lines.use(point.address)
            if isinstance(used, UsedLine):
                contact = used.contacts[point.address]
                names.setdefault(contact, []).append(point.name)
                first.values[point.name] = contact.value
            else:
                first.faults[point.name] = Fault(used.reason, f"{point.name}: {used.text}")
        plan.watch = watch = ChipWatch(names, listener)
        listener.tell(first)
        self._watches.append(watch)
        if self._beat is None:
            self._arm()
        return Subscribed(self._config.alive_ms / 1000, outputs)

    async def unsubscribe(self, plan: ChipPlan) -> None:
        """Tell nothing more of a plan."""
        watch, plan.watch = plan.watch, None
        if watch in self._watches:
            self._watches.remove(watch)

    async def discover(
        self,
        wanted: SerialgpioScan,  # noqa: ARG002  # lines are not looked at, only listed
        tell: Callable[[Progress], None],
    ) -> AsyncGenerator[FoundDevice, None]:
        """The chip, with the lines that nobody uses, as they are. Raises NotConnected."""
        lines = self._chip()
        path = self._config.chip
        tell(Progress(0, 1, path))
        points = []
        for facts in lines.facts:
            if facts.user:
                continue
            line = facts.name if facts.name and not facts.name.isdecimal() else str(facts.offset)
            visitor = {"line": line} | ({"direction": "output"} if facts.output else {})
            access = Access.READ_WRITE if facts.output else Access.READ_ONLY
            points.append(FoundPoint(f"line{facts.offset}", ValueType.BOOLEAN, access, visitor, description=facts.name))
        yield FoundDevice(PurePath(path).name, {}, tuple(points), "", {"chip": path})

    def _chip(self) -> ChipLines:
        if self._lines is None:
            message = f"{self._config.chip} is closed"
            raise NotConnected(message)
        return self._lines

    def _on_change(self, contacts: set[Contact], time_ms: int) -> None:
        for watch in self._watches:
            watch.changed(contacts, time_ms)

    def _on_lost(self, error: NotConnected) -> None:
        for watch in list(self._watches):
            watch.listener.lost(error)

    def _arm(self) -> None:
        self._beat = asyncio.get_running_loop().call_later(self._config.alive_ms / 1000 / _BEATS, self._on_beat)

    def _on_beat(self) -> None:
        """See that the chip is there, which tells of changes only."""
        if self._lines is None:
            return
        self._lines.there()
        if not self._lines.gone:
            for watch in self._watches:
                watch.listener.alive()
            self._arm()


def _unusable(address: SerialgpioPoint) -> str:
    if not address.line:
        return "a GPIO chip has lines, no messages; for example line: 17"
    if address.kind is not Kind.DIGITAL:
        return f"a GPIO chip has digital lines, not {address.kind}; use a Firmata board, or the kernel's own PWM or IIO"
    return ""
