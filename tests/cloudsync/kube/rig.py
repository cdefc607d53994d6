"""The bridge over a real store and hub, with gateways that do what a gateway does with documents, and no more."""

import asyncio
import contextlib
import itertools
import random
import uuid

from cloudsync.api.following import Follower
from cloudsync.documents import take_documents
from cloudsync.hints import Hints
from cloudsync.hub import Hub
from cloudsync.kube.bridge import Bridge
from cloudsync.pacing import Pacing
from cloudsync.placing import Placing
from cloudsync.settings import KubeSettings
from twin.document import Slot
from twin.envelope import Reader
from twin.exchange import DocumentRow, Documents, Row
from twin.link.memory import MemoryBroker
from twin.manifest.agreement import Take, joined, summary, unknown
from twin.model import Kind, Section, Site, TwinKey

SAID = {"cpu": 2, "memory": 2**30, "arch": "amd64", "system": {"addresses": ["192.0.2.7"]}, "version": "0.1.0"}
CONDITIONS = {"PodScheduled": True, "Initialized": True, "ContainersReady": True, "Ready": True}


class Rig:
    """``bridge()`` runs one; a gateway is made by ``edge(name)``."""

    def __init__(self, folder, store, clock, seed=1):
        self.folder = folder
        self.store = store
        self.clock = clock
        self.rng = random.Random(seed)
        self.broker = MemoryBroker()
        self.known = set()
        self._ticks = itertools.count(1)

    @contextlib.asynccontextmanager
    async def opened(self):
        await self.store.open()
        await self.store.begin_run("run-1")
        async with self.broker.link() as link:
            await link.connected(5)
            self.link = link
            self.hub = Hub(
                self.store, send=lambda gateway, message: None, hint=Hints(link).changed, known=self._known,
                clock=self.clock, nonce=lambda: "n", pacing=Pacing(rate_hz=1, burst=1, max_wait_s=1),
            )  # fmt: skip
            try:
                yield self
            finally:
                await self.hub.close()
                await self.store.close()

    async def _known(self, gateway):
        return gateway in self.known

    @contextlib.asynccontextmanager
    async def bridge(self, client, **settings):
        """One run of the child process."""
        follower = Follower(self.store, self.link)
        await follower.open()
        placing = Placing(self.hub, self.store, new_uid=lambda: str(uuid.UUID(int=self.rng.getrandbits(128))))
        made = Bridge(
            client, self.store, placing, follower, KubeSettings(kubeconfig="x", **settings),
            known=self._known, clock=self.clock, rng=self.rng,
        )  # fmt: skip
        self.running = made
        task = asyncio.create_task(made.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await follower.close()

    def edge(self, name):
        self.known.add(name)
        return Edge(self, name)

    def tick(self):
        return self.clock.now_us() + next(self._ticks)


class Edge:
    """A gateway: it takes documents when there is a line, runs all its pods at once, and says so."""

    def __init__(self, rig, name):
        self.rig = rig
        self.name = name
        self.rows = {}
        self.ran = {}
        """Every life that it ever ran, with what it was started from."""
        self.restarts = 0
        self.reader = Reader(rig.folder / f"{name}.key")

    def pods(self):
        """The uid of each pod that runs, by name."""
        return {ref.name: row.state.uid for ref, row in self.rows.items() if ref.kind == "Pod" and row.state.uid}

    async def sync(self):
        """The line is there: documents and values are exchanged."""
        async with self.rig.hub.change(self.name) as turn:
            turn.state.session, turn.state.online, turn.state.heard_at = "s-1", True, turn.now_ms
            turn.state.session_run = turn.state.runs[-1].id
            theirs = await turn.tx.documents()
            for ref in {*self.rows, *theirs}:
                mine = self.rows.get(ref, DocumentRow(unknown(ref), None))
                told = theirs.get(ref, DocumentRow(unknown(ref), None))
                agreed = joined(mine.state, told.state, site=Site.EDGE)
                raw = {Take.OWN: mine.raw, Take.THEIRS: told.raw, Take.NONE: None}[agreed.take]
                self.rows[ref] = DocumentRow(agreed.state, raw)
                if ref.kind == "Pod" and agreed.state.uid:
                    assert self.ran.setdefault(agreed.state.uid, raw) == raw, "a pod was made of two texts"
            await take_documents(turn, Documents("s-1", tuple(self.rows.values())))
            rows = list(self._reported())
            await turn.define_undocumented(rows, newest=True)
            await turn.merge(rows)

    async def leave(self):
        """The line is cut."""
        async with self.rig.hub.change(self.name) as turn:
            turn.state.online = False

    async def report(self, key, values, uid=None):
        """Values of a twin, as its mapper would report them."""
        async with self.rig.hub.change(self.name) as turn:
            document = await turn.tx.document(key)
            await turn.merge(self._rows(key, uid or document.spec.uid, values))

    async def report_all(self, keys, values):
        """The same values of many twins, those that there are, in one go."""
        async with self.rig.hub.change(self.name) as turn:
            found = [document for key in keys if (document := await turn.tx.document(key)) is not None]
            await turn.merge([row for one in found for row in self._rows(one.spec.key, one.spec.uid, values)])

    def _reported(self):
        pods = {ref: row for ref, row in self.rows.items() if ref.kind == "Pod"}
        there = {f"{ref.namespace}/{ref.name}": row.state.uid for ref, row in pods.items() if row.state.uid}
        said = {"seen": summary(row.state for row in pods.values()), "there": there}
        own = {**SAID, "secrets_key": self.reader.public(), "pods": said}
        yield from self._rows(TwinKey(Kind.GATEWAY, "default", self.name), "", own)
        for ref, row in pods.items():
            if row.state.uid:
                container = {"state": "running", "ready": True, "restarts": self.restarts}
                values = {"phase": "Running", "conditions": CONDITIONS, "containers": {"app": container}}
                yield from self._rows(TwinKey(Kind.POD, ref.namespace, ref.name), row.state.uid, values)

    def _rows(self, key, uid, values):
        for name, value in values.items():
            slot = Slot(value, self.rig.tick(), at=self.rig.clock.now_us() // 1000, by="hub")
            yield Row(key, uid, Section.REPORTED, name, Site.EDGE, slot)


async def until(holds, within_s=15.0):
    """Wait until this is so; what it was."""
    async with asyncio.timeout(within_s):
        while True:
            if found := holds():
                return found
            await asyncio.sleep(0.02)
