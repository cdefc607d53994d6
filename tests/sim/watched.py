"""The cloud's store as the simulation sees it: in memory or in SQLite, watched, slowed down, backed up and restored."""

import asyncio
import contextlib
import random

from cloudsync.store.sql_store import SqlStore
from cloudsync.store.sqlite import SqliteDatabase
from cloudsync.store.sqlite_periods import SqlitePeriods
from tests.cloudsync.sync.memory_store import MemoryStore
from tests.sim.virtual import Inline


class SqlCloudStore(SqlStore):
    """A SQLite file, without threads, that can be copied and put back."""

    def __init__(self, path):
        self.path = path
        super().__init__(SqliteDatabase(path, thread=Inline), SqlitePeriods(), str(path))

    async def image(self):
        async with self._database.writing() as lane:
            return lane._db.serialize()

    async def restore(self, image):
        await self.close()
        for path in self.path.parent.glob(self.path.name + "*"):
            path.unlink()
        if image is not None:
            self.path.write_bytes(image)
        await self.open()


class WatchedStore:
    """What must hold after each commit: ticks, cursors and versions only rise, for as long as the store is the same."""

    def __init__(self, world, *, sql):
        self._world = world
        self._rng = random.Random(world.rng.random())
        self._inner = SqlCloudStore(world.folder / "cloud.db") if sql else MemoryStore()
        self._seen = {}
        self.lives = 0
        self.fuse = ""

    def __getattr__(self, name):
        return getattr(self._inner, name)

    @contextlib.asynccontextmanager
    async def transaction(self, gateway):
        async with self._inner.transaction(gateway) as tx:
            if self._rng.random() < 0.3:
                await asyncio.sleep(self._rng.choice((0, 0, 0.002, 0.05)))
            yield tx
            self._fall("before")
            document = await tx.document(self._world.key(gateway)) if self._rng.random() < 0.2 else None
        self._fall("after")
        tick, cursor, version = self._seen.get(gateway, (0, 0, 0))
        now = (tx.state.tick, tx.state.cursor, document.version if document is not None else version)
        for what, was, is_ in zip(("tick", "cursor", "version"), (tick, cursor, version), now, strict=True):
            if is_ < was:
                self._world.broken.append(f"{gateway}: its {what} went back from {was} to {is_}")
        self._seen[gateway] = now

    def _fall(self, when):
        """Kill the worker whose transaction this is, just before or after its commit, if that is due."""
        if self.fuse == when and (worker := self._world.cloud.worker_of(asyncio.current_task())) is not None:
            self.fuse = ""
            worker.kill()
            if when == "before":
                raise asyncio.CancelledError

    async def restore(self, image):
        self.lives += 1
        self._seen.clear()
        await self._inner.restore(image)

    async def state(self, gateway):
        found = await self._inner.gateways([gateway])
        return found[0] if found else None

    async def document_states(self, gateway):
        async with self._inner.transaction(gateway) as tx:
            return [row.state for row in (await tx.documents()).values()]

    async def uid(self, gateway, key):
        async with self._inner.transaction(gateway) as tx:
            document = await tx.document(key)
        return document.spec.uid if document is not None else ""

    async def slots(self, gateway, place):
        async with self._inner.transaction(gateway) as tx:
            rows = await tx.rows([place])
        return {(row.section, row.property, row.site): row.slot for row in rows}
