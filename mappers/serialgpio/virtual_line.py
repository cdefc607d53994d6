"""The other end of a serial line without hardware: a pty, at whose hidden end a simulated device listens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Self

from mappers.serialgpio.virtual_board import VirtualBoard


class VirtualLine:
    """A pty. ``answer`` makes of what comes what is sent back; ``link`` is a path that stays the same."""

    def __init__(self, answer: Callable[[bytes], bytes], link: Path | None = None) -> None:
        """Store what to do; entering it acts."""
        self.path = ""
        self.received = bytearray()
        self._answer = answer
        self._link = link
        self._ends: tuple[int, int] | None = None

    async def __aenter__(self) -> Self:
        """Plug in."""
        self.plug()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Pull out."""
        self.pull()

    def plug(self) -> None:
        """Make the line, under the same path if it has a link."""
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._ends = ours, theirs  # theirs stays open, so that the line lives on when nobody has it open
        self.path = os.ttyname(theirs)
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self.path)
            self.path = str(self._link)
        asyncio.get_running_loop().add_reader(ours, self._readable)

    def pull(self) -> None:
        """Pull the cable: who has it open sees it go."""
        ends, self._ends = self._ends, None
        if ends is None:
            return
        asyncio.get_running_loop().remove_reader(ends[0])
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        for end in ends:
            os.close(end)

    def send(self, chunk: bytes) -> None:
        """Send; what does not fit is lost, as on a real line."""
        if self._ends is not None and chunk:
            with contextlib.suppress(BlockingIOError):
                os.write(self._ends[0], chunk)

    def _readable(self) -> None:
        if self._ends is None:
            return
        try:
            chunk = os.read(self._ends[0], 4096)
        except OSError:
            return
        self.received += chunk
        self.send(self._answer(chunk))


class BoardOnLine:
    """A virtual board at the end of a line, sampling its analog channels."""

    def __init__(self, board: VirtualBoard, link: Path | None = None) -> None:
        """Store the board; entering it acts."""
        self.board = board
        self.line = VirtualLine(self._received, link)
        self.hangs = False
        """Whether it takes what comes and says nothing."""
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Plug in and boot."""
        self.plug()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Pull out."""
        self.pull()

    def plug(self) -> None:
        """Plug in; the board boots."""
        self.line.plug()
        self.boot()
        self._sample()

    def pull(self) -> None:
        """Pull the cable."""
        self.line.pull()
        if self._timer is not None:
            self._timer.cancel()

    def boot(self) -> None:
        """Have the board begin anew, without a word from the cable."""
        self.line.send(self.board.boot())

    def wire(self, pin: int, level: bool) -> None:
        """Change what is wired to a pin."""
        told = self.board.wire(pin, level)
        if not self.hangs:
            self.line.send(told)

    def _received(self, chunk: bytes) -> bytes:
        return b"" if self.hangs else self.board.received(chunk)

    def _sample(self) -> None:
        if not self.hangs:
            self.line.send(self.board.sampled())
        self._timer = asyncio.get_running_loop().call_later(self.board.sampling_ms / 1000, self._sample)
