"""What the gateway knows of itself that rules look at: the line to the cloud, the disk, clock, certificate, history."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgehub.alarming.looking import Facts
from edgehub.cloud_keys import CloudKeys, NotJoined
from edgehub.sync.states import SyncState
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import StoreError
from twin.sqlite_history import SqliteHistory
from twin.wire.api import SyncBody

log = logging.getLogger(__name__)

NOTES: Final = "alarms"
"""Owner of the note that says since when the cloud is not reached, so that a restart does not make it forget."""
SELDOM_S: Final = 10.0
"""Between two looks at what asks the disk."""
_UNREACHED: Final = "unreached"
_REACHED: Final = (SyncState.RESYNC, SyncState.LIVE)
_DAY_MS: Final = 86_400_000


class GatewayFacts:
    """Of one gateway; ``look`` is called every second."""

    def __init__(
        self,
        engine: TwinEngine,
        history: SqliteHistory,
        keys: CloudKeys,
        folder: Path,
        clock: Clock,
        sync: Callable[[], SyncBody | None],
    ) -> None:
        self._engine = engine
        self._history = history
        self._keys = keys
        self._folder = folder
        self._clock = clock
        self._sync = sync
        self._unreached_ms = 0
        self._seldom_s: float | None = None
        self._disk: float | None = None
        self._certificate: tuple[int, int | None] = (0, None)
        """The certificate that was read, and when it ends."""
        self._dropped: int | None = None
        self._drops: int | None = None

    def load(self) -> None:
        """Remember since when the cloud is not reached."""
        try:
            self._unreached_ms = int(self._engine.notes(NOTES).get(_UNREACHED, "0"))
        except (StoreError, ValueError) as error:
            log.warning("alarms begin without their notes: %s", error)

    async def look(self) -> Facts:
        """All that is known now."""
        now_ms, now_s = self._clock.now_us() // 1000, self._clock.monotonic_s()
        if self._seldom_s is None or now_s - self._seldom_s >= SELDOM_S:
            self._seldom_s = now_s
            await asyncio.to_thread(self._look_at_disk)
        sync, ends_at = self._sync(), self._certificate[1]
        known = sync is not None and sync.state != SyncState.OFF
        return Facts(
            unsent_leaves=sync.unsent if sync is not None and known else None,
            offline_s=self._offline_s(sync.state, now_ms) if sync is not None and known else None,
            disk_free_percent=self._disk,
            clock="; ".join(self._engine.replica.clock_alarms()),
            certificate_days=None if ends_at is None else (ends_at - now_ms) / _DAY_MS,
            drops=self._drops,
        )

    def _offline_s(self, state: str, now_ms: int) -> float:
        unreached_ms = 0 if state in _REACHED else self._unreached_ms or now_ms
        if unreached_ms != self._unreached_ms:
            self._unreached_ms = unreached_ms
            self._engine.note(NOTES, _UNREACHED, str(unreached_ms) if unreached_ms else None)
        return max(0, now_ms - unreached_ms) / 1000 if unreached_ms else 0.0

    def _look_at_disk(self) -> None:
        try:
            disk = os.statvfs(self._folder)
            self._disk = disk.f_bavail * 100 / disk.f_blocks if disk.f_blocks else None
        except OSError:
            self._disk = None
        changed = self._keys.changed()
        if changed != self._certificate[0]:
            self._certificate = changed, self._ends_at()
        try:
            dropped = self._history.dropped()
        except StoreError:
            self._drops = None
            return
        self._drops = max(0, dropped - self._dropped) if self._dropped is not None else 0
        self._dropped = dropped

    def _ends_at(self) -> int | None:
        try:
            return self._keys.ends_at() if self._keys.connection() is not None else None
        except NotJoined:
            return None
