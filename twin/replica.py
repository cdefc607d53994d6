"""Rows of the other site and a twin in memory: how one is joined into the other, and how a twin becomes rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from typing import NamedTuple

from twin.clock import Clock
from twin.commit import Commit, GroupCommit
from twin.document import Leaf
from twin.exchange import Row, Run
from twin.merge import join_slot
from twin.model import Section, Site, TwinKey, TwinSpec
from twin.resident import ResidentTwin
from twin.store import Batch, FeedState, Store, TwinRow
from twin.tick import Ticker


class Restamp(NamedTuple):
    """An own row to be written again with a tick beyond ``above``."""

    row: Row
    above: int


class Replica:
    """The twins of an engine, for the exchange with the other site; shares the engine's memory and its commits."""

    def __init__(
        self,
        twins: Mapping[TwinKey, ResidentTwin],
        adopt: Callable[[TwinSpec], ResidentTwin],
        ticker: Ticker,
        commits: GroupCommit,
        store: Store,
        clock: Clock,
        executor: Executor,
        site: Site,
    ) -> None:
        self.site = site
        self._twins = twins
        self._adopt = adopt
        self._ticker = ticker
        self._commits = commits
        self._store = store
        self._clock = clock
        self._executor = executor

    def merge(
        self, rows: Iterable[Row], *, cursor: int | None = None, met: Iterable[Run] = (), again: Iterable[Restamp] = ()
    ) -> Commit:
        """Join the other site's rows, with the cursor and the peer's runs that they bring, in one transaction.

        Rows of another uid than the twin's are dropped; a twin whose document has not come yet is made without one.
        ``again`` are own rows to be written anew under new ticks.
        """
        batch = self._commits.open.batch
        touched: dict[int, ResidentTwin] = {}
        for row in rows:
            twin = self._twins.get(row.key)
            if twin is None:
                twin = self._adopt(TwinSpec(row.key, row.uid))
                batch.twins[twin.id] = TwinRow(twin.id, twin.spec, 0)
            if joined(twin, row, batch):
                touched[twin.id] = twin
            if row.site is self.site:
                self._ticker.last = max(self._ticker.last, row.slot.tick)
        now_us = self._clock.now_us()
        for row, above in sorted(again, key=lambda one: one.row.slot.tick):
            twin = self._twins.get(row.key)
            if twin is not None:
                self._ticker.last = max(self._ticker.last, above)
                if joined(twin, row._replace(slot=row.slot._replace(tick=self._ticker.take(now_us))), batch):
                    touched[twin.id] = twin
        for twin in touched.values():
            twin.version += 1
            batch.versions[twin.id] = twin.version
        if cursor is not None:
            batch.cursors[self.site.peer] = cursor
        batch.runs.update({(self.site.peer, run.id): run.first for run in met})
        return self._joined()

    def begin_run(self, run_id: str) -> Commit:
        """Name this start of the store; its rows have greater ticks than any before."""
        self._commits.open.batch.runs[self.site, run_id] = self._ticker.last + 1
        return self._joined()

    def skip_ticks(self, beyond: int) -> None:
        """Give no tick any more that is not greater than this one."""
        self._ticker.last = max(self._ticker.last, beyond)

    def own_rows(self) -> Iterator[Row]:
        """All slots of this site as they stand in memory."""
        for twin in self._twins.values():
            yield from (row for row in twin_rows(twin) if row.site is self.site)

    def rows(self, key: TwinKey) -> list[Row]:
        """All slots of one twin, of both sites; none if there is no such twin."""
        twin = self._twins.get(key)
        return [] if twin is None else list(twin_rows(twin))

    async def changes(self, after: int, limit: int) -> list[Row]:
        """Own slots with a greater tick, in tick order, as they are on disk. Raises StoreError."""
        # On the commit thread, because between two commits only what is on disk can be read.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._store.rows_after, self.site, after, limit)

    async def feed_state(self) -> FeedState:
        """Runs and cursors as they are on disk. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._store.feed)

    def __iter__(self) -> Iterator[TwinKey]:
        """All twins, in order."""
        return iter(sorted(self._twins))

    def _joined(self) -> Commit:
        self._commits.start()
        return self._commits.open


def joined(twin: ResidentTwin, row: Row, batch: Batch) -> bool:
    """Join one row into the twin and the batch; whether that changed anything.

    A row of another uid is dropped, and so is a reported one that is not the edge's: only the device side reports.
    """
    if row.uid != twin.spec.uid:
        return False
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
