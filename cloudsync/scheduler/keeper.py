"""The scheduler as it runs: one worker at a time looks, decides, writes it down, and has gateways' sets follow.

lease ──> look ──> plan ──one transaction, if nothing else has changed──> placements ──Placing──> sets of gateways
                                                                             └<── what is there now ──┘

Each step may be the last one of this worker: what is written down is carried out by whoever comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

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
from twin.errors import StoreError
from twin.manifest.catalog import content_hash
from twin.sealing import Sealer

log = logging.getLogger(__name__)

NAME: Final = "scheduler"
POLL_S: Final = 0.5
LEASE_MS: Final = 10_000
RENEW_MS: Final = 3_000
GAP_MS: Final = 30_000
"""If nobody was there to hear gateways for so long, their silence is counted anew."""
LOOK_MS: Final = 10_000
"""When to look if nothing is known to have changed."""
CLOCK_STEP_MS: Final = 5_000
_IN_A_ROW: Final = 4


@contextlib.asynccontextmanager
async def scheduling(
    hub: Hub, store: CloudStore, sealer: Sealer, worker: str, *, known: Callable[[str], Awaitable[bool]], clock: Clock
) -> AsyncIterator[None]:
    """Let this worker schedule, whenever it is the one, while the block runs."""
    ids = Ids(lambda: secrets.token_hex(3), lambda: secrets.token_hex(8))
    placing = Placing(hub, store, new_uid=ids.uid)
    scheduler = Scheduler(store, placing, sealer, worker, known=known, clock=clock, ids=ids)
    task = asyncio.create_task(scheduler.run(), name="scheduler")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await scheduler.release()


class Scheduler:
    """``run`` until cancelled. ``worker`` is a name that no other has."""

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
        self._store = store
        self._carrier = Carrier(store, placing, sealer, by=NAME)
        self._meshing = Meshing(store, placing, by=NAME)
        self._worker = worker
        self._known = known
        self._clock = clock
        self._ids = ids
        self._looking = Looking(store, known)
        self._renew_at = 0.0
        self._holds = False
        self._listening = 0
        self._clock_at = (0, 0.0)
        self._seen: object = None
        self._look_at = 0
        self._failing = False

    async def run(self) -> None:
        """Look twice a second, for ever."""
        while True:
            try:
                await self.tick()
                self._failing = False
            except StoreError as error:
                log.log(logging.DEBUG if self._failing else logging.WARNING, "scheduling waits: %s", error)
                self._failing = True
                self._seen = None
            except Exception:  # a supervisor boundary: one bad document must not end the worker
                log.log(
                    logging.DEBUG if self._failing else logging.ERROR, "a round of the scheduler failed", exc_info=True
                )
                self._failing = True
                self._seen = None
            await asyncio.sleep(POLL_S)

    async def release(self) -> None:
        """Let another worker have it at once."""
        if self._holds:
            self._holds = False
            await self._store.workloads.release(NAME, self._worker, now=self._now())

    async def tick(self) -> None:
        """Do a round if this worker is the one, and something has changed or is due."""
        if not await self._is_the_one():
            return
        presences = await self._store.workloads.presences()
        revision = await self._store.workloads.revision()
        now = self._now()
        online = frozenset(one.gateway for one in presences if is_online(one, now))
        if presences and not online:
            self._listening = now  # then it is not they who are cut off, but this cloud
        seen = (revision, online, frozenset(one.gateway for one in presences if one.agreed))
        if seen == self._seen and now < self._look_at and not await self._meshing.has_news(now):
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
        seen = await self._looking.look(revision, now, self._listening)
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

    # -- whose turn it is ----------------------------------------------------------------------------------------

    async def _is_the_one(self) -> bool:
        now, monotonic_s = self._now(), self._clock.monotonic_s()
        before, before_s = self._clock_at
        stepped = before and abs(now - before - (monotonic_s - before_s) * 1000) > CLOCK_STEP_MS
        self._clock_at = now, monotonic_s
        if monotonic_s >= self._renew_at or stepped:
            until = now + LEASE_MS
            lease = await self._store.workloads.lease(NAME, self._worker, now=now, until=until, gap_ms=GAP_MS)
            self._renew_at = monotonic_s + RENEW_MS / 1000
            if lease.held and not self._holds:
                log.info("this worker schedules")
                self._looking = Looking(self._store, self._known)
                self._listening, self._seen = lease.since, None
            self._holds = lease.held
        if stepped:
            self._listening = now
        return self._holds

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

    def _now(self) -> int:
        return self._clock.now_us() // 1000
