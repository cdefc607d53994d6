"""Two sites on real store files, a line between them that loses what it is told to, and what they must agree on."""

import asyncio
import contextlib
import itertools
import shutil
import tempfile
from concurrent.futures import Executor, Future
from pathlib import Path

from twin.document import DELETED, Leaf
from twin.engine import TwinEngine
from twin.errors import InvalidValue, StoreError
from twin.feed import Feed
from twin.merge import standing
from twin.model import Access, ConflictPolicy, Kind, PropertySpec, Section, Site, TwinKey, TwinSpec
from twin.sqlite_store import SqliteStore

TANK = TwinKey(Kind.DEVICE, "plant", "tank")
POLICIES = {"a": ConflictPolicy.LATEST, "b": ConflictPolicy.CLOUD, "c": ConflictPolicy.EDGE}
PROPERTIES = {
    **{name: PropertySpec(name, access=Access.READ_WRITE, conflict=policy) for name, policy in POLICIES.items()},
    "r": PropertySpec("r"),
}
NOW_US = 1_700_000_000_000_000
TEN_YEARS_US = 315_360_000_000_000


def spec(uid):
    return TwinSpec(TANK, uid, properties=PROPERTIES)


class Inline(Executor):
    """Runs at once, so that a run of the machine repeats exactly."""

    def submit(self, call, /, *args, **kwargs):
        done = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # as a thread would hand it over
            done.set_exception(error)
        return done


class FusedStore(SqliteStore):
    """Dies at a chosen write, before or after it is on disk."""

    def __init__(self, path, side):
        super().__init__(path)
        self._side = side
        self.fuse = None  # (writes to go, "before" or "after")

    def write(self, batch):
        blown = None
        if self.fuse is not None:
            left, when = self.fuse
            self.fuse = (left - 1, when)
            blown = when if left == 0 else None
        if self._side.dead or blown == "before":
            self._side.dead = True
            raise StoreError("the power is gone")
        super().write(batch)
        if blown == "after":
            self._side.dead = True
            raise StoreError("the power is gone")


class SideClock:
    def __init__(self):
        self.us = NOW_US

    def now_us(self):
        self.us += 1000
        return self.us

    def monotonic_s(self):
        return 0.0


class Side:
    """One site: its file, and the engine and feed of its present start."""

    def __init__(self, world, site, folder):
        self.world = world
        self.site = site
        self.path = folder / f"{site}.db"
        self.clock = SideClock()
        self.dead = False
        self.store = None
        self.uid = "u1"  # as the site's registry says, which no restore of the twins touches
        self.start()

    def start(self):
        """Start = recovery; what was not on disk is gone."""
        if self.store is not None:
            self.store.close()
        self.dead = False
        self.store = FusedStore(self.path, self)
        self.store.open()
        self.engine = TwinEngine(self.store, clock=self.clock, executor=Inline(), site=self.site)
        self.engine.open()
        mine = self  # a late call of an older start must not send
        store = self.store

        def send(message):
            if not mine.dead and mine.store is store:
                mine.world.post(mine.site, message)

        self.feed = Feed(self.engine.replica, send=send, nonce=self.world.nonce, frame_rows=2, page_twins=1)

        async def begin():
            self.engine.define(spec(self.uid))
            await self.feed.open()

        self.world.run(begin())

    def take_document(self, uid):
        """The registry has the device with this uid now."""
        self.uid = uid

        async def define():
            with contextlib.suppress(StoreError):  # then the next start does it
                await self.engine.define(spec(uid)).stored()

        self.world.run(define())
        self.world.revive()

    def backup(self):
        return self.store._db.serialize()

    def restore(self, image):
        """Put an older file in place of the present one; None for an empty disk."""
        self.store.close()
        for path in self.path.parent.glob(self.path.name + "*"):
            path.unlink()
        if image is not None:
            self.path.write_bytes(image)
        self.start()

    def slots(self):
        return {(row.section, row.property, row.site): row.slot for row in self.engine.replica.rows(TANK, self.uid)}

    def on_disk(self, uid=None):
        rows, _ = self.store.load()
        ids = [row.id for row in rows if row.spec.uid == (uid or self.uid)]
        return {(key.section, key.property, key.site): slot for key, slot, _ in self.store.leaves(ids)}


class World:
    """Both sides, the line, and the edits that were acknowledged."""

    def __init__(self, digests):
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None  # fsync is not what is tried here
        self.folder = Path(tempfile.mkdtemp(prefix="feed-", dir=base))
        self.digests = digests
        self.runner = asyncio.Runner()
        self.counter = itertools.count(1)
        self.up = True
        self.lines = {site: [] for site in Site}  # messages by their sender, oldest first
        self.uid = "u1"  # of the newest document; each site has it sooner or later
        self.acknowledged = {}  # edits of the twin with this uid
        self.sides = {site: Side(self, site, self.folder) for site in Site}

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def nonce(self):
        return f"n{next(self.counter)}"

    def post(self, site, message):
        if self.up:
            self.lines[site].append(message)

    def close(self):
        for side in self.sides.values():
            side.store.close()
        self.runner.close()
        shutil.rmtree(self.folder)

    # -- what happens --

    def edit(self, site, name, shape="scalar", wait=True):
        """Write a desired value, an object or a delete; its number is in ``by``. The number, or None if refused."""
        number = next(self.counter)
        side = self.sides[site]
        value = {"n": number} if shape == "object" else number

        async def write():
            unset = (name,) if shape == "delete" else ()
            commit = side.engine.set_desired(TANK, {} if unset else {name: value}, unset=unset, by=str(number))
            if wait:
                await commit.stored()
                await side.feed.changed()

        return self._acked(side, (Section.DESIRED, name, site), number, write(), wait)

    def report(self, wait=True):
        number = next(self.counter)
        side = self.sides[Site.EDGE]

        async def write():
            outcome = side.engine.report(TANK, {"r": number}, {}, at=number, by=str(number))
            if wait:
                await outcome.commit.stored()
                await side.feed.changed()

        return self._acked(side, (Section.REPORTED, "r", Site.EDGE), number, write(), wait)

    def recreate(self, site):
        """Delete the device and make it again, in the registry of one site; the other hears of it later."""
        self.uid = f"u{next(self.counter)}"
        self.acknowledged = {}
        self.sides[site].take_document(self.uid)

    def document_arrives(self, site):
        if self.sides[site].uid != self.uid:
            self.sides[site].take_document(self.uid)

    def unreport(self, wait=True):
        """Delete what was reported; as for the other deletes, the number is in ``by``."""
        number = next(self.counter)
        side = self.sides[Site.EDGE]

        async def write():
            commit = side.engine.update(TANK, reported={"r": DELETED}, by=str(number))
            if wait:
                await commit.stored()
                await side.feed.changed()

        return self._acked(side, (Section.REPORTED, "r", Site.EDGE), number, write(), wait)

    def _acked(self, side, place, number, write, wait):
        uid = side.uid
        try:
            self.run(write)
        except InvalidValue:
            return None
        except StoreError:
            wait = False
        if wait and not side.dead and uid == self.uid:
            self.acknowledged[place] = number
        self.revive()
        return number

    def connect(self):
        self.run(self.sides[Site.EDGE].feed.connect())

    def deliver(self, sender, index=0, keep=False):
        """Hand over one message; ``keep`` leaves it on the line to come again."""
        line = self.lines[sender]
        if line:
            message = line[index % len(line)] if keep else line.pop(index % len(line))
            self.run(self.sides[sender.peer].feed.receive(message))
            self.revive()

    def drop(self, sender, index=0):
        line = self.lines[sender]
        if line:
            line.pop(index % len(line))

    def revive(self):
        for side in self.sides.values():
            if side.dead:
                side.start()

    def restore(self, site, image):
        """After it, only what one of the two disks holds can still be asked for."""
        self.sides[site].restore(image)
        disks = [side.on_disk(self.uid) for side in self.sides.values()]
        for place in list(self.acknowledged):
            self.acknowledged[place] = max(int(disk[place].by) if place in disk else 0 for disk in disks)

    # -- what must hold --

    def resync(self):
        """With a line that works again, both sides must agree after a few rounds."""
        self.up = True
        edge, cloud = self.sides[Site.EDGE], self.sides[Site.CLOUD]
        for attempt in range(6):
            self.connect()
            if attempt == 0:
                self.quiesce()  # rows may come before their document
                for site in Site:
                    self.document_arrives(site)
            for _ in range(3):
                self.quiesce()
                if edge.feed.caught_up and cloud.feed.caught_up and edge.feed.session == cloud.feed.session:
                    if self.digests:
                        edge.feed.compare()
                        self.quiesce()
                    return self.check()
                self.run(edge.feed.retry())
                self.run(cloud.feed.retry())
        raise AssertionError("the sites do not come to an end")

    def quiesce(self):
        """Deliver all that is on the line, and what it gives rise to."""
        for _ in range(400):
            if not any(self.lines.values()):
                return
            for sender in Site:
                self.deliver(sender)
        raise AssertionError("the sites talk without end")

    def check(self):
        edge, cloud = (side.slots() for side in self.sides.values())
        assert edge == cloud
        for side in self.sides.values():
            assert side.slots() == side.on_disk()
        for place, number in self.acknowledged.items():
            assert number == 0 or (place in edge and int(edge[place].by) >= number), (place, number)

    def stands(self, name, site=Site.EDGE):
        """Number of the write that stands, None after a delete."""
        leaf = self.sides[site].engine.document(TANK).desired.get(name, Leaf())
        slot = standing(leaf, POLICIES[name])
        return int(slot.by) if slot is not None else None
