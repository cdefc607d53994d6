"""A serial cable that makes faults: a pty for the driver, at a path that stays the same, and the peer's own port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from pathlib import Path
from typing import ClassVar

from mappers.testkit.line import Ability, Line

_CHUNK_BYTES = 4096
_PIECE_S = 0.0005  # between bytes when throttled; the rate is rounded to it


class PtyCable(Line):
    """Between a driver and a peer that has a serial port of its own, such as a simulator behind a pty."""

    abilities: ClassVar[frozenset[Ability]] = frozenset(Ability) - {Ability.COUNT}

    def __init__(self, peer_path: str, folder: Path) -> None:
        self._peer_path = peer_path
        self._link = folder / "port"
        self.place = self.path = str(self._link)
        self._peer = -1
        self._ends: tuple[int, int] | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self._left: int | None = None
        self._calm()

    async def open(self) -> None:
        """Plug in."""
        if self._peer < 0:
            self._peer = os.open(self._peer_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            tty.setraw(self._peer)
            asyncio.get_running_loop().add_reader(self._peer, self._on_answer)
        self._plug()

    async def close(self) -> None:
        """Pull out both ends."""
        self._pull()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._peer >= 0:
            asyncio.get_running_loop().remove_reader(self._peer)
            os.close(self._peer)
            self._peer = -1

    async def mend(self) -> None:
        """Be as it should."""
        self._calm()
        self._plug()

    async def refuse(self) -> None:
        """Pull the driver's end: its path is gone."""
        self._pull()

    async def cut(self) -> None:
        """Pull the driver's end and plug it in again."""
        self._pull()
        self._plug()

    def freeze(self) -> None:
        """Lose every byte."""
        self._frozen = True

    def delay(self, seconds: float) -> None:
        """Hold back each answer."""
        self._delay_s = seconds

    def throttle(self, bytes_per_s: float) -> None:
        """Let answers through byte by byte."""
        self._byte_s = max(_PIECE_S, 1 / bytes_per_s)

    def cut_within(self, count: int) -> None:
        """Pull the driver's end within the next answer."""
        self._left = count

    def garbage(self, noise: bytes) -> None:
        """Send bytes that nobody sent."""
        self._to_driver(noise)

    def _calm(self) -> None:
        self._frozen = False
        self._delay_s = 0.0
        self._byte_s = 0.0
        self._free_at = 0.0
        self._left = None

    def _plug(self) -> None:
        if self._ends is not None:
            return
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        self._ends = ours, theirs  # theirs stays open, so that the line lives on when nobody has it open
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.ttyname(theirs))
        asyncio.get_running_loop().add_reader(ours, self._on_request)

    def _pull(self) -> None:
        ends, self._ends = self._ends, None
        if ends is None:
            return
        asyncio.get_running_loop().remove_reader(ends[0])
        self._link.unlink(missing_ok=True)
        for end in ends:
            os.close(end)

    def _on_request(self) -> None:
        assert self._ends is not None
        with contextlib.suppress(OSError):
            chunk = os.read(self._ends[0], _CHUNK_BYTES)
            if not self._frozen:
                os.write(self._peer, chunk)

    def _on_answer(self) -> None:
        with contextlib.suppress(OSError):
            chunk = os.read(self._peer, _CHUNK_BYTES)
            if self._frozen:
                return
            if not self._delay_s and not self._byte_s:
                self._arrive(chunk)
                return
            now_s = asyncio.get_running_loop().time()
            self._free_at = max(self._free_at, now_s) + self._delay_s
            pieces = [bytes((byte,)) for byte in chunk] if self._byte_s else [chunk]
            for piece in pieces:
                self._free_at += self._byte_s
                self._later(self._free_at, piece)

    def _later(self, at_s: float, piece: bytes) -> None:
        def arrive() -> None:
            self._timers.discard(timer)
            self._arrive(piece)

        timer = asyncio.get_running_loop().call_at(at_s, arrive)
        self._timers.add(timer)

    def _arrive(self, chunk: bytes) -> None:
        if self._frozen:
            return
        if self._left is not None:
            chunk, self._left = chunk[: self._left], self._left - len(chunk)
        self._to_driver(chunk)
        if self._left is not None and self._left <= 0:
            self._left = None
            self._pull()

    def _to_driver(self, chunk: bytes) -> None:
        if self._ends is not None and chunk:
            with contextlib.suppress(OSError):
                os.write(self._ends[0], chunk)
