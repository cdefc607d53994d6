"""A gateway of the simulation: the real engine, stores, documents and session, on a disk of its own."""

import asyncio
import contextlib
import random

from edgehub.applying import Applying
from edgehub.documents import Documents
from edgehub.plugins import HubMappers
from edgehub.registry import Registry
from edgehub.sync.history import HistoryStream
from edgehub.sync.session import CloudPlace, CloudSession
from edgehub.sync.states import Timing
from mappers.sdk.registry import Registry as Mappers
from tests.sim.virtual import Inline, SimClock
from twin.api import Caller
from twin.engine import TwinEngine
from twin.errors import InvalidDocuments, Refused, StoreError
from twin.model import Site
from twin.sealing import Sealer
from twin.sqlite_drain import SqliteDrain
from twin.sqlite_store import SqliteStore
from twin.wire.api import ApplyRequest

TIMING = Timing(ack_s=3.0, ack_cap_s=10.0, hello_s=3.0, digests_every_s=60.0, retry_cap_s=5.0)
NOBODY = Caller("sim", "", b"")


class DyingStore(SqliteStore):
    """Fails when told to, as a disk does at the moment of a power cut: before the write, or just after."""

    fuse = ""

    def write(self, batch):
        fuse, self.fuse = self.fuse, ""
        if fuse == "before":
            raise StoreError("the power is gone")
        super().write(batch)
        if fuse == "after":
            raise StoreError("the power is gone")


class Gateway:
    def __init__(self, world, name, folder):
        self.world = world
        self.name = name
        self.folder = folder / name
        self.clock = SimClock(world.loop)
        self.line = True
        self.store = self.link = None
        self.started = 0

    async def start(self):
        """Start = recovery; what was not on disk is gone."""
        await self.stop()
        self.started += 1
        self.folder.mkdir(exist_ok=True)
        database = self.folder / "state.db"
        fresh = not database.exists()
        self.store = DyingStore(database)
        self.store.open()
        if fresh:  # the one name that is drawn outside of our sight
            self.store._db.execute("UPDATE history_sent SET log = ?", (self.world.nonce(),))
        self.engine = TwinEngine(self.store, clock=self.clock, executor=Inline(), site=Site.EDGE)
        self.engine.open()
        self.drain = SqliteDrain(database)
        self.drain.open()
        self.registry = Registry(self.folder / "registry.json", new_uid=self.world.nonce, clock=self.clock)
        self.registry.open()
        sealer = Sealer(self.folder / "secrets.key")
        self.documents = Documents(self.registry, HubMappers(Mappers(())), self.name, sealer)
        self.applying = Applying(self.documents, self.engine, self._follow)
        self.session = CloudSession(
            self.engine,
            self._find,
            self.applying,
            HistoryStream(self.drain, Inline()),
            gateway=self.name,
            clock=self.clock,
            rng=random.Random(self.world.rng.random()),
            nonce=self.world.nonce,
            timing=TIMING,
        )
        self.feed = self.session.dialogue.feed
        self.feed._frame_rows, self.feed._page_twins = self.world.frame_rows, self.world.page_twins
        if not self.world.digests:
            compare = self.feed.compare
            self.feed.compare = lambda: compare() if self.feed._forked else None
        self.applying.on_change = self.session.documents_changed
        with contextlib.suppress(StoreError):
            await self._follow()
        self.task = self.world.loop.create_task(self.session.run(), name=self.name)

    async def stop(self):
        if self.store is None:
            return
        self.started += 1
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await self.engine.close()
        self.registry.close()
        self.drain.close()
        self.store.close()
        self.store = self.link = None

    def _find(self):
        return CloudPlace("cloud", "cloud", lambda: self.world.link_of(self))

    async def _follow(self):
        """As the composition root does."""
        specs = {spec.key: spec for spec in self.documents.specs()}
        for key in [key for key in self.engine if key not in specs]:
            self.engine.remove(key)
        by_cloud = self.documents.by_cloud()
        for spec in specs.values():
            self.engine.define(spec, theirs=spec.key in by_cloud)
        await self.engine.settled()

    def set_line(self, up):
        self.line = up
        if self.link is not None:
            self.link.retry() if up else self.link.cut()

    async def apply(self, request: ApplyRequest):
        with contextlib.suppress(InvalidDocuments, StoreError):
            await self.applying.apply(request, NOBODY)

    async def edit(self, write):
        """Whether it was acknowledged."""
        start = self.started
        if self.store is None:
            return False
        try:
            await write(self.engine).stored()
        except (Refused, StoreError):
            return False
        return self.started == start

    def uid(self, key):
        return self.engine.spec(key).uid if key in self.engine else ""

    def slots(self, key, uid):
        return {(row.section, row.property, row.site): row.slot for row in self.engine.replica.rows(key, uid)}
