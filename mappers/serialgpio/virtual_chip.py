"""A GPIO chip without hardware: lines with levels, edges with numbers and times, a small buffer as the kernel has.

For tests and demonstrations, where the kernel has no chip: ``ChipDriver(config, lambda path: chip)``.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mappers.serialgpio.chip import LineEvent, LineFacts, LineUse
from mappers.serialgpio.point import Bias

_KEPT = 16


@dataclass(slots=True)
class _Line:
    name: str
    level: bool = False
    output: bool = False
    user: str = ""
    edges: int = 0
    requested: VirtualLineRequest | None = None


class VirtualChip:
    """``names`` are its lines. ``now_ms`` is the clock of its edges."""

    def __init__(self, names: Sequence[str], now_ms: Callable[[], int] = lambda: 0) -> None:
        self._lines = [_Line(name) for name in names]
        self._now_ms = now_ms
        self.gone = False
        self.closed = 0

    def wire(self, offset: int, level: bool) -> None:
        """Change what is wired to a line; an edge if it is another level."""
        line = self._lines[offset]
        if line.level is level:
            return
        line.level = level
        if line.requested is not None and not line.output:
            line.edges += 1
            line.requested.edge(LineEvent(level, self._now_ms(), line.edges))

    def occupy(self, offset: int, user: str, *, output: bool = False) -> None:
        """Have somebody else use a line, or drive it at least."""
        self._lines[offset].user = user
        self._lines[offset].output = output

    def is_output(self, offset: int) -> bool:
        """Whether a line is driven."""
        return self._lines[offset].output

    def level(self, offset: int) -> bool:
        """The level of a line."""
        return self._lines[offset].level

    def pull(self) -> None:
        """Take the chip away."""
        self.gone = True
        for line in self._lines:
            if line.requested is not None:
                line.requested.wake()

    def check(self) -> None:
        """Raise OSError if the chip is gone."""
        if self.gone:
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def lines(self) -> list[LineFacts]:
        """What it has."""
        self.check()
        return [LineFacts(at, one.name, one.output, one.user) for at, one in enumerate(self._lines)]

    def request(self, offset: int, use: LineUse) -> VirtualLineRequest:
        """Take a line."""
        self.check()
        line = self._lines[offset]
        if line.user or line.requested is not None:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        line.edges = 0
        if not use.output:
            line.output = False
            line.level = line.level or use.bias is Bias.PULL_UP
        line.requested = VirtualLineRequest(self, line, use)
        return line.requested

    def close(self) -> None:
        """Count that it was closed."""
        self.closed += 1


@dataclass(slots=True, eq=False)
class VirtualLineRequest:
    """A requested line; its descriptor is a pipe."""

    chip: VirtualChip
    line: _Line
    use: LineUse
    _events: deque[LineEvent] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _pipe: tuple[int, int] = field(default_factory=os.pipe)

    @property
    def fd(self) -> int:
        """Readable when there are events."""
        return self._pipe[0]

    def level(self) -> bool:
        """Its level now."""
        self.chip.check()
        return self.line.level

    def drive(self, level: bool) -> None:
        """Make it an output."""
        self.chip.check()
        if self.line.name.endswith("-in"):  # lines that cannot be driven
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        self.line.output, self.line.level = True, level

    def edge(self, event: LineEvent) -> None:
        """Keep an edge; the oldest is dropped when there are too many."""
        self._events.append(event)
        self.wake()

    def wake(self) -> None:
        """Make the descriptor readable."""
        os.write(self._pipe[1], b"!")

    def events(self) -> list[LineEvent]:
        """The edges that wait."""
        self.chip.check()
        found = list(self._events)
        self._events.clear()
        os.set_blocking(self._pipe[0], False)
        try:
            while os.read(self._pipe[0], 4096):
                pass
        except BlockingIOError:
            pass
        return found

    def release(self) -> None:
        """Let go of it."""
        self.line.requested = None
        for end in self._pipe:
            os.close(end)
