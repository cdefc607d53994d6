"""Hubs over one SQLite store on a virtual clock, and what they have sent."""

import asyncio
import contextlib
import itertools

from cloudsync.hub import Hub
from cloudsync.leases import Leases
from cloudsync.pacing import Pacing
from tests.sim.virtual import SimClock, VirtualLoop
from tests.sim.watched import SqlCloudStore
from twin.document import Slot
from twin.exchange import Frame, Hello, Row, Run, Standing, Welcome
from twin.model import Access, Kind, PropertySpec, Section, Site, TwinKey, TwinSpec

TANK = TwinKey(Kind.DEVICE, "plant", "tank")
PROPERTIES = {
    "valve": PropertySpec("valve", access=Access.READ_WRITE),
    "level": PropertySpec("level"),
}
SPEC = TwinSpec(TANK, "u1", gateway="gw", properties=PROPERTIES)


class Cloud:
    """``worker()`` makes one more hub; ``sent`` holds what all of them have sent, as (gateway, message)."""

    def __init__(self, folder):
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.loop = self.runner.get_loop()
        self.clock = SimClock(self.loop)
        self.store = SqlCloudStore(folder / "cloud.db")
        self.names = itertools.count(1)
        self.sent = []
        self.hints = []
        self.unknown = set()
        self.run_id = "c1"
        self.hubs = []
        self.run(self._open())
        self.hub = self.worker()

    def run(self, coroutine):
        return self.runner.run(coroutine)

    async def _open(self):
        await self.store.open()
        await self.store.begin_run(self.run_id)
        async with self.store.transaction("gw") as tx:
            await tx.define(SPEC)

    def worker(self, *, store=None, pacing=None):
        hub = Hub(
            store or self.store,
            send=lambda gateway, message: self.sent.append((gateway, message)),
            hint=self.hints.append,
            known=self._known,
            clock=self.clock,
            nonce=lambda: f"s{next(self.names)}",
            pacing=pacing or Pacing(rate_hz=100, burst=100, max_wait_s=10),
            frame_rows=2,
        )
        self.hubs.append(hub)
        return hub

    def leases(self, hub, name):
        send = lambda gateway, message: self.sent.append((gateway, message))  # noqa: E731
        return Leases(hub, self.store, name, run=self.run_id, clock=self.clock, send=send)

    async def _known(self, gateway):
        return gateway not in self.unknown

    def close(self):
        async def close():
            for hub in self.hubs:
                await hub.close()
            await self.store.close()

        self.run(close())
        self.runner.close()

    # -- what a test does ----------------------------------------------------------------------------------------

    async def settled(self):
        for hub in self.hubs:
            await hub.drained()

    def say(self, *messages, hub=None, gateway="gw"):
        """Let the cloud take messages; what it has sent since."""
        began = len(self.sent)

        async def say():
            for message in messages:
                (hub or self.hub).receive(gateway, message)
            await self.settled()

        self.run(say())
        return [message for _, message in self.sent[began:]]

    def wait(self, seconds):
        self.run(asyncio.sleep(seconds))

    def session(self, gateway="gw", runs=("e1",), **standing):
        """Begin one; its id."""
        answer = self.say(hello(f"n{next(self.names)}", runs, **standing), gateway=gateway)
        return next(one.session for one in answer if isinstance(one, Welcome))

    def state(self, gateway="gw"):
        return self.run(self.store.gateways([gateway]))[0]

    def slots(self, gateway="gw", place=(TANK, "u1")):
        async def read():
            async with self.store.transaction(gateway) as tx:
                return await tx.rows([place])

        return {(row.section, row.property, row.site): row.slot for row in self.run(read())}

    def document(self, key=TANK):
        return self.run(self.store.twin(key))

    def change(self, write, gateway="gw", hub=None):
        """Run ``write(turn)`` as others in the cloud do; what was sent after it."""
        began = len(self.sent)

        async def change():
            async with (hub or self.hub).change(gateway) as turn:
                return await write(turn)

        result = self.run(change())
        return result, [message for _, message in self.sent[began:]]


def hello(nonce="n", runs=("e1",), *, met=(), cursor=0, top=0):
    return Hello(nonce, Standing(tuple(Run(run, 1) for run in runs), frozenset(met), cursor, top))


def report(tick, value=1, name="level", uid="u1", key=TANK):
    return Row(key, uid, Section.REPORTED, name, Site.EDGE, Slot(value, tick, 0, "modbus", tick // 1000))


def desired(tick, value=1, name="valve", site=Site.EDGE, seen=0):
    return Row(TANK, "u1", Section.DESIRED, name, site, Slot(value, tick, seen, "ann", tick // 1000))


def frame(session, from_, *rows):
    return Frame(session, from_, rows[-1].slot.tick if rows else from_, rows)


@contextlib.contextmanager
def open_cloud(folder):
    cloud = Cloud(folder)
    try:
        yield cloud
    finally:
        cloud.close()
