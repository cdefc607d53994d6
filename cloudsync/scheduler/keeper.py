"""The scheduler as it runs: one worker at a time looks, decides, writes it down, and has gateways' sets follow.

lease ──> look ──> plan ──one transaction, if nothing else has changed──> placements ──Placing──> sets of gateways
                                                                             └<── what is there now ──┘

Each step may be the last one of this worker: what is written down is carried out by whoever comes next.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from cloudsync.duty import Duty
from cloudsync.hub import Hub
from cloudsync.placing import Placing
from cloudsync.scheduler.catalog import pod_ref
from cloudsync.scheduler.errands import Carrier, Changed
from cloudsync.scheduler.looking import Looking, Seen
from cloudsync.scheduler.meshing import Meshing
from cloudsync.scheduler.model import Placed, Plan, Pod
from cloudsync.scheduler.plan import plan
from cloudsync.scheduler.reading import pod_raw
from cloudsync.scheduler.replicas import Ids
from cloudsync.sessions import is_online
from cloudsync.store import AuditEntry, CloudStore
from cloudsync.store.workloads import Placement, Workload
from twin.clock import Clock
from twin.manifest.catalog import content_hash
from twin.sealing import Sealer

NAME: Final = "scheduler"
POLL_S: Final = 0.5
LOOK_MS: Final = 10_000
"""When to look if nothing is known to have changed."""
_IN_A_ROW: Final = 4


def scheduler(
    hub: Hub, store: CloudStore, sealer: Sealer, worker: str, *, known: Callable[[str], Awaitable[bool]], clock: Clock
) -> Scheduler:
    """A scheduler whose ids are random."""
    ids = Ids(lambda: secrets.token_hex(3), lambda: secrets.token_hex(8))
    return Scheduler(store, Placing(hub, store, new_uid=ids.uid), sealer, worker, known=known, clock=clock, ids=ids)


class Scheduler:
    """Schedules while it is on duty. ``worker`` is a name that no other has."""

    def __init__(
        self,
        store: CloudStore,
        placing: Placing,
        sealer: Sealer,
        worker: str,
        *,
        known: Callable[[str], Awaitable[bool]],
        clock: Clock,
        ids: Ids,
    ) -> None:
        self.duty = Duty(store, NAME, worker, clock, every_s=POLL_S)
        self._store = store
        self._carrier = Carrier(store, placing, sealer, by=NAME)
        self._meshing = Meshing(store, placing, by=NAME)
        self._known = known
        self._ids = ids
        self._looking = Looking(store, known)
        self._term = 0
        self._seen: object = None
        self._look_at = 0

    async def tick(self) -> None:
        """Do a round if this worker is the one, and something has changed or is due."""
        known, self._seen = self._seen, None  # after a round that fails there is one again
        if not await self.duty.is_ours():
            return
        if self._term != self.duty.term:
            self._term = self.duty.term
            self._looking, known = Looking(self._store, self._known), None
        presences = await self._store.workloads.presences()
        revision = await self._store.workloads.revision()
        now = self.duty.now()
        online = frozenset(one.gateway for one in presences if is_online(one, now))
        if presences and not online:
            self.duty.listening_since = now  # then it is not they who are cut off, but this cloud
        seen = (revision, online, frozenset(one.gateway for one in presences if one.agreed))
        if seen == known and now < self._look_at and not await self._meshing.has_news(now):
            self._seen = seen
            return
        for _ in range(_IN_A_ROW):  # what was written down is carried out at once
            if not await self.round(revision, now):
                break
            revision = await self._store.workloads.revision()
        self._seen = seen

    async def round(self, revision: int, now: int) -> bool:
        """Look, decide, and write down; or, if there is nothing to be written, carry out. Whether it is to go on.

        Raises StoreError; what was written down by then stands.
        """
        seen = await self._looking.look(revision, now, self.duty.listening_since)
        made = plan(seen.world, now, self._ids)
        self._look_at = min(now + LOOK_MS, made.look_at or now + LOOK_MS)
        try:
            if await self._write(seen, made, now):
                return True
            await self._carrier.carry_out(seen, now)
            await self._meshing.carry_out(seen.around(), now)
        except Changed:
            self._look_at = now
            return True
        return False

    # -- writing down --------------------------------------------------------------------------------------------

    async def _write(self, seen: Seen, made: Plan, now: int) -> bool:
        """Write the plan, if there is anything in it; whether there was. Raises Changed, StoreError."""
        names = {pod_ref(name): why for name, why in made.whys.items()}
        new = {pod_ref(name) for name in made.make}
        whys = {ref: why for ref, why in names.items() if ref not in new and self._looking.whys.get(ref, "") != why}
        if made.empty and not whys and not seen.adopted:
            return False
        made_now = [self._workload(pod, seen, names[pod_ref(pod.name)], now) for pod in made.make.values()]
        placements = {one.place: one for one in seen.adopted}
        placements |= {(one.gateway, pod_ref(one.pod)): self._placement(one, seen) for one in made.place}
        async with self._store.workloads.transaction() as tx:
            if tx.revision != seen.revision + 1:
                raise Changed
            await tx.put(made_now)
            await tx.delete([pod_ref(name) for name in made.drop])
            await tx.place(list(placements.values()))
            await tx.forget([(gateway, pod_ref(name)) for gateway, name in made.forget])
            await tx.explain(whys)
            for note in made.notes:
                await tx.audit(AuditEntry(now, NAME, "schedule", note.subject, note.what))
        self._looking.whys.update(whys)
        return True

    def _workload(self, pod: Pod, seen: Seen, why: str, now: int) -> Workload:
        of = next(one.workload for one in seen.workloads.values() if one.workload.uid == pod.owner)
        raw = pod_raw(of.raw, pod.name, pod.owner)
        return Workload(
            pod_ref(pod.name), pod.uid, 1, content_hash(raw), raw, owner=pod.owner, made=pod.made, why=why, at=now
        )

    def _placement(self, placed: Placed, seen: Seen) -> Placement:
        ref = pod_ref(placed.pod)
        known = seen.placements.get(placed.gateway, {}).get(ref)
        source, hash_ = (known.source, known.hash) if known is not None and known.uid == placed.uid else ("", "")
        return Placement(
            *(placed.gateway, ref, placed.uid, placed.owner, placed.state, placed.since, placed.grace_s, source, hash_)
        )
