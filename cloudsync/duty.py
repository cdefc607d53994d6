"""What one worker at a time does for the whole cloud: a lease says whose duty it is, and rounds do it.

A worker that dies loses its duty when the lease runs out; one that ends gives it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol

from cloudsync.store import CloudStore
from twin.clock import Clock
from twin.errors import StoreError

log = logging.getLogger(__name__)

LEASE_MS: Final = 10_000
RENEW_MS: Final = 3_000
GAP_MS: Final = 30_000
"""If nobody was there to hear gateways for so long, their silence is counted anew."""
CLOCK_STEP_MS: Final = 5_000


class Duty:
    """Whether this worker is the one. ``worker`` is a name that no other has."""

    def __init__(self, store: CloudStore, name: str, worker: str, clock: Clock, *, every_s: float) -> None:
        self.name = name
        self.every_s = every_s
        self.listening_since = 0
        """Milliseconds of the wall clock: the silence of gateways counts from then."""
        self.term = 0
        """How often this worker has come to it: what it remembers of an earlier term may be old."""
        self._store = store
        self._worker = worker
        self._clock = clock
        self._holds = False
        self._renew_at_s = 0.0
        self._clock_at = (0, 0.0)

    async def is_ours(self) -> bool:
        """Take or renew the lease when that is due; whether this worker has it. Raises StoreError."""
        now, monotonic_s = self.now(), self._clock.monotonic_s()
        before, before_s = self._clock_at
        stepped = before and abs(now - before - (monotonic_s - before_s) * 1000) > CLOCK_STEP_MS
        self._clock_at = now, monotonic_s
        if monotonic_s >= self._renew_at_s or stepped:
            until = now + LEASE_MS
            lease = await self._store.workloads.lease(self.name, self._worker, now=now, until=until, gap_ms=GAP_MS)
            self._renew_at_s = monotonic_s + RENEW_MS / 1000
            if lease.held and not self._holds:
                log.info("%s: this worker does it", self.name)
                self.listening_since = lease.since
                self.term += 1
            self._holds = lease.held
        if stepped:
            self.listening_since = now
        return self._holds

    @property
    def holds(self) -> bool:
        """Whether it was this worker's when it was looked at last."""
        return self._holds

    async def release(self) -> None:
        """Let another worker have it, which asks for it every few seconds. Raises StoreError."""
        if self._holds:
            self._holds = False
            await self._store.workloads.release(self.name, self._worker, now=self.now())

    def now(self) -> int:
        """Milliseconds of the wall clock."""
        return self._clock.now_us() // 1000


class Dutiful(Protocol):
    """Who has a duty."""

    duty: Duty

    async def tick(self) -> None:
        """One round. Raises StoreError."""


@contextlib.asynccontextmanager
async def on_duty(who: Dutiful) -> AsyncIterator[None]:
    """Let ``who`` do its rounds while the block runs."""
    task = asyncio.create_task(rounds(who.duty.name, who.tick, every_s=who.duty.every_s), name=who.duty.name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await who.duty.release()


async def rounds(name: str, tick: Callable[[], Awaitable[None]], *, every_s: float) -> None:
    """Do a round every so often, for ever; of failures in a row the first is told."""
    failing = False
    while True:
        try:
            await tick()
            failing = False
        except StoreError as error:
            log.log(logging.DEBUG if failing else logging.WARNING, "%s waits: %s", name, error)
            failing = True
        except Exception:  # a supervisor boundary: one bad document must not end the worker
            log.log(logging.DEBUG if failing else logging.ERROR, "a round of %s failed", name, exc_info=True)
            failing = True
        await asyncio.sleep(every_s)
