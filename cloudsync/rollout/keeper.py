"""Rollouts as they run: one worker at a time looks, decides, writes it down, and then changes the twins of gateways.

lease ──> look ──> advance ──> written down, if nobody else has changed it ──> desired `release` of gateways

Each step may be the last one of this worker: what is written down is found not to be in the twins, and done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from cloudsync.hub import Hub
from cloudsync.rollout.fleet import key_of, look
from cloudsync.rollout.plan import Step, advance
from cloudsync.store import AuditEntry, CloudStore
from cloudsync.store.rollouts import Phase, Rollout
from cloudsync.writing import update
from twin.clock import Clock
from twin.document import DELETED, SlotValue
from twin.errors import Refused, StoreError
from twin.release import RELEASE, written

log = logging.getLogger(__name__)

NAME: Final = "rollout"
POLL_S: Final = 1.0
LEASE_MS: Final = 10_000
RENEW_MS: Final = 3_000
GAP_MS: Final = 30_000
"""If nobody was there to hear gateways for so long, nobody is late by that time."""


@contextlib.asynccontextmanager
async def rolling_out(
    hub: Hub, store: CloudStore, worker: str, *, known: Callable[[str], Awaitable[bool]], clock: Clock
) -> AsyncIterator[None]:
    """Let this worker carry out rollouts, whenever it is the one, while the block runs."""
    keeper = Keeper(hub, store, worker, known=known, clock=clock)
    task = asyncio.create_task(keeper.run(), name="rollouts")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await keeper.release()


class Keeper:
    """``run`` until cancelled. ``worker`` is a name that no other has."""

    def __init__(
        self, hub: Hub, store: CloudStore, worker: str, *, known: Callable[[str], Awaitable[bool]], clock: Clock
    ) -> None:
        self._hub = hub
        self._store = store
        self._worker = worker
        self._known = known
        self._clock = clock
        self._holds = False
        self._renew_at_s = 0.0
        self._listening = 0
        self._failing = False

    async def run(self) -> None:
        """Look once a second, for ever."""
        while True:
            try:
                await self.tick()
                self._failing = False
            except StoreError as error:
                log.log(logging.DEBUG if self._failing else logging.WARNING, "rollouts wait: %s", error)
                self._failing = True
            except Exception:  # a supervisor boundary: one bad rollout must not end the worker
                log.log(logging.DEBUG if self._failing else logging.ERROR, "a look at rollouts failed", exc_info=True)
                self._failing = True
            await asyncio.sleep(POLL_S)

    async def release(self) -> None:
        """Let another worker have it at once."""
        if self._holds:
            self._holds = False
            await self._store.workloads.release(NAME, self._worker, now=self._now())

    async def tick(self) -> None:
        """One step of every rollout that is looked after, if this worker is the one. Raises StoreError."""
        rollouts = await self._store.rollouts.rollouts(looked_after=True)
        if not rollouts or not await self._is_the_one():
            return
        now = self._now()
        fleet = {name: one.seen for name, one in (await look(self._store, self._known, now)).items()}
        for rollout in rollouts:
            step = advance(rollout, fleet, now, listening=self._listening)
            if step.rollout != rollout and not await self._written(step, rollout):
                continue  # somebody has changed it meanwhile
            for gateway in step.order:
                await self._desire(gateway, rollout, written(rollout.release))
            for gateway in step.withdraw:
                await self._desire(gateway, rollout, DELETED)

    async def _written(self, step: Step, before: Rollout) -> bool:
        rollout = step.rollout
        if not await self._store.rollouts.put(rollout, looked_after=step.looked_after):
            return False
        if rollout.phase is not before.phase:
            text = f"{rollout.release.version}: {rollout.phase}" + (f", {rollout.why}" if rollout.why else "")
            log.log(logging.WARNING if rollout.phase is Phase.STOPPED else logging.INFO, "rollout %s", text)
            await self._store.audit(AuditEntry(self._now(), NAME, "rollout", rollout.id, text))
        return True

    async def _desire(self, gateway: str, rollout: Rollout, value: SlotValue) -> None:
        try:
            async with self._hub.change(gateway) as turn:
                await update(turn, key_of(gateway), {RELEASE: value}, by=f"{NAME} {rollout.id}")
                what = f"{rollout.release.version} {'withdrawn from' if value is DELETED else 'ordered at'} {gateway}"
                await turn.tx.audit(AuditEntry(turn.now_ms, NAME, "rollout", rollout.id, what))
        except Refused as error:  # its twin is gone, or is not as it was: the next look shows
            log.warning("rollout %s, gateway %s: %s", rollout.id, gateway, error)

    async def _is_the_one(self) -> bool:
        now, monotonic_s = self._now(), self._clock.monotonic_s()
        if monotonic_s >= self._renew_at_s or not self._holds:
            until = now + LEASE_MS
            lease = await self._store.workloads.lease(NAME, self._worker, now=now, until=until, gap_ms=GAP_MS)
            self._renew_at_s = monotonic_s + RENEW_MS / 1000
            self._holds, self._listening = lease.held, lease.since
        return self._holds

    def _now(self) -> int:
        return self._clock.now_us() // 1000
