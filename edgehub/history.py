"""The gateway's history, kept within its limits: a small piece of work at a time on the thread of the commits."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

from twin.clock import Clock
from twin.errors import StoreError
from twin.history import AgeClock, Limits
from twin.sqlite_history import SqliteHistory

log = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0
AGE_EVERY: Final = 60
"""Rounds between two looks at the age."""
FLUSH_EVERY: Final = 600
"""Rounds between two times that a short tail is packed."""


class HistoryKeeper:
    """Looks after the history every second, until cancelled."""

    def __init__(self, history: SqliteHistory, limits: Limits, clock: Clock, executor: Executor, disk: Path) -> None:
        self._history = history
        self._limits = limits
        self._clock = clock
        self._executor = executor
        self._disk = disk
        self._age = AgeClock(history.newest_ms())
        self._failed = False

    async def keep(self) -> None:
        """Do a round every second; a store that fails is tried again in the next one."""
        number = 0
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await self.round(age=number % AGE_EVERY == 0, flush=number % FLUSH_EVERY == FLUSH_EVERY - 1)
            except (StoreError, OSError) as error:
                log.log(
                    logging.DEBUG if self._failed else logging.WARNING, "the history is not looked after: %s", error
                )
                self._failed = True
            else:
                self._failed = False
            number += 1

    async def round(self, *, age: bool, flush: bool) -> None:
        """Do all that there is to do, piece by piece; commits go in between. Raises StoreError."""
        now_ms = self._age.now_ms(self._clock.now_us() // 1000, self._clock.monotonic_s())
        more = True
        while more:
            more = await asyncio.get_running_loop().run_in_executor(
                self._executor, self._piece, now_ms if age else None, flush
            )
            flush = False

    def _piece(self, now_ms: int | None, flush: bool) -> bool:
        disk = os.statvfs(self._disk)
        free_bytes = disk.f_bavail * disk.f_frsize
        return self._history.tend(self._limits, now_ms=now_ms, free_bytes=free_bytes, flush=flush)
