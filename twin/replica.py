"""Rows of the other site and a twin in memory: how one is joined into the other, and how a twin becomes rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from typing import Final, NamedTuple

from twin.clock import Clock
from twin.commit import Commit, GroupCommit
from twin.document import Leaf
from twin.exchange import Row, Run
from twin.merge import join_slot
from twin.model import Section, Site, TwinKey
from twin.resident import ResidentTwin
from twin.residents import Residents
from twin.store import Batch, FeedState, NoteKey, Store
from twin.tick import Ticker, clock_alarm

_MENDING: Final = NoteKey("feed", "mending")


class Restamp(NamedTuple):
    """An own row to be written again with a tick beyond ``above``."""

    row: Row
    above: int


class Replica:
    """The twins of an engine, for the exchange with the other site; shares the engine's memory and its commits."""

    def __init__(
        self,
        twins: Residents,
        ticker: Ticker,
        commits: GroupCommit,
        store: Store,
        clock: Clock,
        executor: Executor,
        site: Site,
    ) -> None:
        self.site = site
        self.peer_last = 0
        """The greatest tick of the peer's that came since the start."""
        self._twins = twins
        self._ticker = ticker
        self._commits = commits
        self._store = store
        self._clock = clock
        self._executor = executor

    def merge(
        self,
        rows: Iterable[Row],
        *,
        cursor: int | None = None,
        met: Iterable[Run] = (),
        again: Iterable[Restamp] = (),
        mending: bool | None = None,
    ) -> Commit:
        """Join the other site's rows, with the cursor and the peer's runs that they bring, in one transaction.

        Rows of a twin, or of a uid, that no document names wait aside for it. ``again`` are own rows to be written
        anew under new ticks. ``mending``: whether this site mends itself from now on, for ``is_mending``.
        """
        batch = self._commits.open.batch
        touched: dict[int, ResidentTwin] = {}
        for row in rows:
            twin = self._twins.find(row.key, row.uid) or self._twins.awaiting(row.key, row.uid, batch)
            if joined(twin, row, batch):
                touched[twin.id] = twin
            if row.site is self.site:
                self._ticker.last = max(self._ticker.last, row.slot.tick)
            else:
                self.peer_last = max(self.peer_last, row.slot.tick)
        now_us = self._clock.now_us()
        for row, above in sorted(again, key=lambda one: one.row.slot.tick):
            found = self._twins.find(row.key, row.uid)
            if found is not None:
                self._ticker.last = max(self._ticker.last, above)
                if joined(found, row._replace(slot=row.slot._replace(tick=self._ticker.take(now_us))), batch):
                    touched[found.id] = found
        for twin in touched.values():
            twin.version += 1
            batch.versions[twin.id] = twin.version
        if cursor is not None:
            batch.cursors[self.site.peer] = cursor
        batch.runs.update({(self.site.peer, run.id): run.first for run in met})
        if mending is not None:
            batch.notes[_MENDING] = "" if mending else None
        return self._joined()

    def begin_run(self, run_id: str) -> Commit:
        """Name this start of the store; its rows have greater ticks than any before."""
        self._commits.open.batch.runs[self.site, run_id] = self._ticker.last + 1
        return self._joined()

    def skip_ticks(self, beyond: int) -> None:
        """Give no tick any more that is not greater than this one."""
        self._ticker.last = max(self._ticker.last, beyond)

    def clock_alarms(self) -> list[str]:
        """What is wrong with the clocks, for people; ticks decide whatever a clock says."""
        lasts = {"this site's": self._ticker.last, f"the {self.site.peer}'s": self.peer_last}
        now_us = self._clock.now_us()
        return [alarm for whose, last in lasts.items() if (alarm := clock_alarm(whose, last, now_us))]

    def own_rows(self) -> Iterator[Row]:
        """All slots of this site as they stand in memory."""
        for twin in self._twins:
            yield from (row for row in twin_rows(twin) if row.site is self.site)

    def rows(self, key: TwinKey, uid: str) -> list[Row]:
        """All slots of one twin, of both sites; none if there is no such twin. It may be one that waits."""
        twin = self._twins.find(key, uid)
        return [] if twin is None else list(twin_rows(twin))

    async def changes(self, after: int, limit: int) -> list[Row]:
        """Own slots with a greater tick, in tick order, as they are on disk. Raises StoreError."""
        # On the commit thread, because between two commits only what is on disk can be read.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._store.rows_after, self.site, after, limit)

    async def unsent(self, after: int) -> tuple[int, int]:
        """How many own slots on disk have a greater tick, and the least of those (0: none). Raises StoreError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._store.count_after, self.site, after)

    async def feed_state(self) -> FeedState:
        """Runs and cursors as they are on disk. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._store.feed)

    async def is_mending(self) -> bool:
        """Whether a mending of this site has begun and not ended, as it is on disk. Raises StoreError."""
        notes = await asyncio.get_running_loop().run_in_executor(self._executor, self._store.notes, _MENDING.owner)
        return _MENDING.name in notes

    def places(self, *, waiting: bool) -> list[tuple[TwinKey, str]]:
        """Key and uid of every twin that a document names, in order; ``waiting``: and of those that wait for one."""
        twins = self._twins if waiting else self._twins.known.values()
        return sorted((twin.spec.key, twin.spec.uid) for twin in twins)

    def _joined(self) -> Commit:
        self._commits.start()
        return self._commits.open


def joined(twin: ResidentTwin, row: Row, batch: Batch) -> bool:
    """Join one row into the twin and the batch; whether that changed anything.

    A reported row that is not the edge's is dropped: only the device side reports.
    """
    name = row.property
    if row.section is Section.REPORTED:
        last = twin.reported.get(name)
        slot = join_slot(last, row.slot)
        if row.site is not Site.EDGE or slot is None or slot == last:
            return False
        twin.reported[name] = batch.reported[twin.id, name] = slot
    else:
        leaf = twin.desired.get(name, Leaf())
        last = leaf.slot(row.site)
        slot = join_slot(last, row.slot)
        if slot is None or slot == last:
            return False
        twin.desired[name] = leaf.with_slot(row.site, slot)
        batch.desired[twin.id, name, row.site] = slot
    twin.delta_touched = True
    return True


def twin_rows(twin: ResidentTwin) -> Iterator[Row]:
    """All slots of a twin."""
    key, uid = twin.spec.key, twin.spec.uid
    for name, slot in twin.reported.items():
        yield Row(key, uid, Section.REPORTED, name, Site.EDGE, slot)
    for name, leaf in twin.desired.items():
        for site in Site:
            if (found := leaf.slot(site)) is not None:
                yield Row(key, uid, Section.DESIRED, name, site, found)
