"""Rollouts as they run: one worker at a time looks, decides, writes it down, and then changes the twins of gateways.

lease ──> look ──> advance ──> written down, if nobody else has changed it ──> desired `release` of gateways

Each step may be the last one of this worker: what is written down is found not to be in the twins, and done again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from cloudsync.duty import Duty
from cloudsync.hub import Hub
from cloudsync.rollout.fleet import key_of, look
from cloudsync.rollout.plan import Step, advance
from cloudsync.store import AuditEntry, CloudStore
from cloudsync.store.rollouts import Phase, Rollout
from cloudsync.writing import update
from twin.clock import Clock
from twin.document import DELETED, SlotValue
from twin.errors import Refused
from twin.release import RELEASE, written

log = logging.getLogger(__name__)

NAME: Final = "rollout"
POLL_S: Final = 1.0


class Keeper:
    """Carries out rollouts while it is on duty. ``worker`` is a name that no other has."""

    def __init__(
        self, hub: Hub, store: CloudStore, worker: str, *, known: Callable[[str], Awaitable[bool]], clock: Clock
    ) -> None:
        self.duty = Duty(store, NAME, worker, clock, every_s=POLL_S)
        self._hub = hub
        self._store = store
        self._known = known

    async def tick(self) -> None:
        """One step of every rollout that is looked after, if this worker is the one. Raises StoreError."""
        rollouts = await self._store.rollouts.rollouts(looked_after=True)
        if not rollouts or not await self.duty.is_ours():
            return
        now = self.duty.now()
        fleet = {name: one.seen for name, one in (await look(self._store, self._known, now)).items()}
        for rollout in rollouts:
            step = advance(rollout, fleet, now, listening=self.duty.listening_since)
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
            await self._store.audit(AuditEntry(self.duty.now(), NAME, "rollout", rollout.id, text))
        return True

    async def _desire(self, gateway: str, rollout: Rollout, value: SlotValue) -> None:
        try:
            async with self._hub.change(gateway) as turn:
                await update(turn, key_of(gateway), {RELEASE: value}, by=f"{NAME} {rollout.id}")
                what = f"{rollout.release.version} {'withdrawn from' if value is DELETED else 'ordered at'} {gateway}"
                await turn.tx.audit(AuditEntry(turn.now_ms, NAME, "rollout", rollout.id, what))
        except Refused as error:  # its twin is gone, or is not as it was: the next look shows
            log.warning("rollout %s, gateway %s: %s", rollout.id, gateway, error)
