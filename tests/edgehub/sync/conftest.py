"""A gateway's session over a line in memory and in virtual time; a feed of the other site stands for the cloud."""

import asyncio
import contextlib
import itertools
import random
import tempfile
from pathlib import Path

import pytest

from edgehub.agreeing import Agreement, Books
from edgehub.sync.history import HistoryStream
from edgehub.sync.session import CloudPlace, CloudSession
from edgehub.sync.states import SyncState, Timing
from edgehub.sync.up import DEATH
from tests.sim.virtual import Inline, SimClock, VirtualLoop
from twin import exchange as ex
from twin.engine import TwinEngine
from twin.feed import Feed
from twin.link import Will
from twin.link.memory import MemoryBroker
from twin.model import Access, HistoryPolicy, Keep, Kind, PropertySpec, Site, TwinKey, TwinSpec
from twin.sqlite_drain import SqliteDrain
from twin.sqlite_store import SqliteStore
from twin.wire import topics
from twin.wire.sync import decode, encode

TANK = TwinKey(Kind.DEVICE, "plant", "tank")
PROPERTIES = {
    "valve": PropertySpec("valve", access=Access.READ_WRITE),
    "level": PropertySpec("level", history=HistoryPolicy(Keep.ALL)),
}
SPEC = TwinSpec(TANK, "u1", gateway="gw-1", properties=PROPERTIES)


class NoDocuments:
    """Documents of a gateway that has none; what came and what changed is kept for a look."""

    def __init__(self):
        self.taken = []
        self.books = {}

    def states(self):
        return [row.state for row in self.books.values()]

    def rows(self, refs):
        return [self.books[ref] for ref in refs]

    def own_twins(self):
        return ()

    async def agree(self, rows):
        self.taken.extend(rows)
        return Agreement(Books(), frozenset(row.state.ref for row in rows), (), ())


class CloudStandIn:
    """The other end: a feed on an engine, and the short answers that a session waits for."""

    def __init__(self, rig):
        self.rig = rig
        self.engine = rig.engine(Site.CLOUD)
        self.link = rig.broker.link()
        self.heard = []
        self.mute = False
        self.refuse = None
        self.knows_documents = True
        self.feed = Feed(self.engine.replica, send=self.say, nonce=rig.nonce)
        self._inbox = asyncio.Queue()

    def say(self, message):
        if not self.mute:
            self.link.publish(topics.sync_down("gw-1"), encode(message), qos=1)

    async def run(self):
        await self.engine.define(SPEC).stored()
        await self.feed.open()
        await self.link.subscribe(topics.sync_up("gw-1"), self._inbox.put_nowait)
        async with self.link, asyncio.TaskGroup() as group:
            group.create_task(self._alive())
            while True:
                await self._take(decode((await self._inbox.get()).payload))

    async def _take(self, message):
        self.heard.append(message)
        if self.mute:
            return
        if isinstance(message, ex.Hello) and self.refuse is not None:
            self.say(self.refuse(message))
        elif isinstance(message, ex.DocumentDigests):
            if self.knows_documents:
                self.say(ex.Documents(message.session))
        elif isinstance(message, ex.HistoryFrame):
            self.say(ex.HistoryAck(message.session, message.log, message.upto))
        elif not isinstance(message, ex.Alive | ex.CommandDone | ex.Documents):
            await self.feed.receive(message)
            if isinstance(message, ex.Hello):
                self.say(ex.HistoryAck(self.feed.session, "", ""))

    async def _alive(self):
        while True:
            await asyncio.sleep(2.0)
            if self.feed.session:
                self.say(ex.Alive(self.feed.session))

    def heard_of(self, kind):
        return [one for one in self.heard if isinstance(one, kind)]

    async def set(self, **values):
        await self.engine.set_desired(TANK, values, by="ada").stored()
        await self.feed.changed()


class Rig:
    def __init__(self, folder, timing):
        self.folder = folder
        self.clock = SimClock(asyncio.get_running_loop())
        self.numbers = itertools.count(1)
        self.broker = MemoryBroker()
        self.stores = []
        self.states = []
        self.documents = NoDocuments()
        self.links = []
        self.place = CloudPlace("cloud:8883", 1, self._link)
        self.edge = self.engine(Site.EDGE)
        self.drain = SqliteDrain(folder / "edge.db")
        self.drain.open()
        self.session = CloudSession(
            self.edge,
            lambda: self.place,
            self.documents,
            HistoryStream(self.drain, Inline()),
            gateway="gw-1",
            clock=self.clock,
            rng=random.Random(7),
            nonce=self.nonce,
            timing=timing,
            on_state=lambda: self.states.append(self.session.state),
        )
        self.cloud = CloudStandIn(self)

    def _link(self):
        self.links.append(self.broker.link(Will(topics.sync_state("gw-1"), DEATH)))
        return self.links[-1]

    def engine(self, site):
        store = SqliteStore(self.folder / f"{site}.db")
        store.open()
        self.stores.append(store)
        engine = TwinEngine(store, clock=self.clock, executor=Inline(), site=site)
        engine.open()
        return engine

    def nonce(self):
        return f"n{next(self.numbers)}"

    async def until(self, holds, within_s=60.0):
        """Let time pass until something holds; how long that took."""
        step_s = within_s / 6000
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not holds():
            assert loop.time() - began_s < within_s, f"{self.session.state}: {self.session.stand.why}"
            await asyncio.sleep(step_s)
        return loop.time() - began_s

    async def live(self, within_s=60.0):
        return await self.until(lambda: self.session.state is SyncState.LIVE, within_s)

    @contextlib.asynccontextmanager
    async def running(self):
        await self.edge.define(SPEC).stored()
        tasks = [asyncio.ensure_future(self.cloud.run()), asyncio.ensure_future(self.session.run())]
        try:
            yield self
        finally:
            for task in reversed(tasks):
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            self.drain.close()
            for store in self.stores:
                store.close()
            assert [one for one in ended if not isinstance(one, asyncio.CancelledError)] == []

    def slots(self, site):
        engine = self.edge if site is Site.EDGE else self.cloud.engine
        return {row[2:5]: row.slot for row in engine.replica.rows(TANK, "u1")}

    def equal(self):
        return self.slots(Site.EDGE) == self.slots(Site.CLOUD)


@pytest.fixture
def play():
    """Run a coroutine function on a rig, in virtual time."""

    def run(scene, **timing):
        async def whole(folder):
            async with Rig(Path(folder), Timing(**timing)).running() as rig:
                await scene(rig)

        base = "/dev/shm" if Path("/dev/shm").is_dir() else None  # fsync is not what is tried here
        with (
            tempfile.TemporaryDirectory(prefix="sync-", dir=base) as folder,
            asyncio.Runner(loop_factory=VirtualLoop) as runner,
        ):
            runner.run(whole(folder))

    return run
