"""Ends a child that gives no sign of life: a byte in a pipe, see ``mappers.sdk.beat``."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Final, Self

from twin.clock import Clock

BEAT_ENV: Final = "EDGETWIN_BEAT_FD"
"""Number of the child's end of the pipe, if somebody watches."""


class Watchdog:
    """One run of one child. ``with`` gives the child its end of the pipe and takes it back.

    ``first_s`` is how long the first sign may take, for a slow board needs long to load a program.
    """

    def __init__(self, patience_s: float, clock: Clock, first_s: float = 0.0) -> None:
        self._later_s = patience_s
        self.patience_s = first_s or patience_s
        self._clock = clock
        self._heard_at = clock.monotonic_s()
        self._read_fd, self.child_fd = os.pipe()
        os.set_blocking(self._read_fd, False)

    def __enter__(self) -> Self:
        """Have the child's end open while the child is started."""
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close the child's end here: its own copy is enough."""
        os.close(self.child_fd)

    @property
    def environment(self) -> dict[str, str]:
        """What tells the child which end is its own."""
        return {BEAT_ENV: str(self.child_fd)}

    async def watch(self, end: Callable[[float], None]) -> None:
        """Call ``end`` once when the child was silent for so long, which is too long; until cancelled."""
        self._heard_at = self._clock.monotonic_s()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._read_fd, self._hear)
        try:
            while (wait_s := self._heard_at + self.patience_s - self._clock.monotonic_s()) > 0:  # noqa: ASYNC110  # no event tells of silence
                await asyncio.sleep(min(wait_s, self._later_s))
            end(self.patience_s)
        finally:
            loop.remove_reader(self._read_fd)
            self.close()

    def close(self) -> None:
        """Listen no more."""
        if self._read_fd >= 0:
            os.close(self._read_fd)
            self._read_fd = -1

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if os.read(self._read_fd, 4096):
                self._heard_at = self._clock.monotonic_s()
                self.patience_s = self._later_s
            else:
                asyncio.get_running_loop().remove_reader(self._read_fd)  # the child has closed it, or ended
