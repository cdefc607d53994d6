"""A GPIO chip of the Linux kernel as the driver sees it, and the one that gpiod (libgpiod 2) gives.

Levels are physical: who is active low is known above. All calls may raise OSError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mappers.sdk import NotConnected
from mappers.serialgpio.point import Bias

if TYPE_CHECKING:
    import gpiod

_CONSUMER = "edgetwin"


@dataclass(frozen=True, slots=True)
class LineUse:
    """How a line is requested: as an input with edges, or as it is until it is driven."""

    output: bool = False
    bias: Bias = Bias.NONE
    debounce_us: int = 0


@dataclass(frozen=True, slots=True)
class LineFacts:
    """A line as the kernel has it."""

    offset: int
    name: str = ""
    output: bool = False
    user: str = ""


@dataclass(frozen=True, slots=True)
class LineEvent:
    """An edge. ``number`` counts those of a line; a gap are edges that the kernel dropped."""

    rising: bool
    time_ms: int
    number: int


class ChipLine(Protocol):
    """One requested line."""

    @property
    def fd(self) -> int:
        """Readable when there are events."""
        ...

    def level(self) -> bool:
        """Its level now."""
        ...

    def drive(self, level: bool) -> None:
        """Make it an output of this level."""
        ...

    def events(self) -> list[LineEvent]:
        """The edges that wait."""
        ...

    def release(self) -> None:
        """Let go of it; never raises."""
        ...


class Chip(Protocol):
    """One open chip."""

    def lines(self) -> list[LineFacts]:
        """What it has."""
        ...

    def request(self, offset: int, use: LineUse) -> ChipLine:
        """Take a line for our own."""
        ...

    def close(self) -> None:
        """Let go of it; never raises. Lines that were requested stay so."""
        ...


OpenChip: TypeAlias = Callable[[str], Chip]


def open_chip(path: str) -> Chip:
    """A chip of this machine. Raises OSError, and NotConnected if gpiod is not installed."""
    try:
        import gpiod  # slow to import, not on every system, and few need it
    except ImportError as error:
        message = f"{path} needs the Python package gpiod, which is not installed"
        raise NotConnected(message, remedy="Install it: pip install 'edgetwin[gpiochip]'.") from error
    return GpiodChip(gpiod.Chip(path), gpiod)


class GpiodChip:
    """A chip by gpiod. The library is given, so that its calls can be tried without a chip."""

    def __init__(self, chip: gpiod.Chip, library: Any) -> None:
        self._chip = chip
        self._gpiod = library

    def lines(self) -> list[LineFacts]:
        """What it has."""
        output = self._gpiod.line.Direction.OUTPUT
        found = []
        for offset in range(self._chip.get_info().num_lines):
            info = self._chip.get_line_info(offset)
            user = (info.consumer or "the kernel") if info.used else ""
            found.append(LineFacts(offset, info.name or "", info.direction == output, user))
        return found

    def request(self, offset: int, use: LineUse) -> GpiodLine:
        """Take a line for our own."""
        return GpiodLine(
            self._chip.request_lines({offset: _settings(self._gpiod, use)}, _CONSUMER), offset, self._gpiod
        )

    def close(self) -> None:
        """Let go of it."""
        self._chip.close()


class GpiodLine:
    """A requested line by gpiod."""

    def __init__(self, request: gpiod.LineRequest, offset: int, library: Any) -> None:
        self._request = request
        self._offset = offset
        self._gpiod = library
        self._driven = False

    @property
    def fd(self) -> int:
        """Readable when there are events."""
        return self._request.fd

    def level(self) -> bool:
        """Its level now."""
        return bool(self._request.get_value(self._offset) == self._gpiod.line.Value.ACTIVE)

    def drive(self, level: bool) -> None:
        """Make it an output of this level, without a moment of another."""
        line = self._gpiod.line
        value = line.Value.ACTIVE if level else line.Value.INACTIVE
        if self._driven:
            self._request.set_value(self._offset, value)
            return
        settings = self._gpiod.LineSettings(direction=line.Direction.OUTPUT, output_value=value)
        self._request.reconfigure_lines({self._offset: settings})
        self._driven = True

    def events(self) -> list[LineEvent]:
        """The edges that wait."""
        found = []
        while self._request.wait_edge_events(timedelta()):  # reading would wait for the first
            rising = self._gpiod.EdgeEvent.Type.RISING_EDGE
            found += [
                LineEvent(one.event_type == rising, one.timestamp_ns // 1_000_000, one.line_seqno)
                for one in self._request.read_edge_events()
            ]
        return found

    def release(self) -> None:
        """Let go of it."""
        self._request.release()


def _settings(library: Any, use: LineUse) -> Any:
    line = library.line
    if use.output:
        return library.LineSettings(direction=line.Direction.AS_IS)
    biases = {Bias.NONE: line.Bias.AS_IS, Bias.PULL_UP: line.Bias.PULL_UP, Bias.PULL_DOWN: line.Bias.PULL_DOWN}
    return library.LineSettings(
        direction=line.Direction.INPUT,
        edge_detection=line.Edge.BOTH,
        bias=biases[use.bias],
        debounce_period=timedelta(microseconds=use.debounce_us),
        event_clock=line.Clock.REALTIME,
    )
