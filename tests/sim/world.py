"""Gateways, workers and a network on one virtual clock, all of it drawn from one seed."""

import asyncio
import hashlib
import itertools
import random
import shutil
import tempfile
from pathlib import Path

from edgehub.sync.states import SyncState
from tests.sim.cloud import Cloud
from tests.sim.gateway import Gateway
from tests.sim.link import SimLink
from tests.sim.plant import device, model, request
from tests.sim.virtual import VirtualLoop
from tests.sim.watched import WatchedStore
from twin.document import DELETED
from twin.model import Kind, Section, Site, TwinKey
from twin.wire import topics
from twin.wire.api import ApplyMode
from twin.wire.sync import decode, encode

STEPS_US = (0, -3_600_000_000, 1_000_000, 600_000_000, 315_360_000_000_000, -1_700_000_000_000_000)


class Weather:
    """How bad the line of one gateway is."""

    def __init__(self, loss=0.0, twice=0.0, delay_s=0.02, far=0.0):
        self.loss, self.twice, self.delay_s, self.far = loss, twice, delay_s, far


FAIR = Weather()
WEATHERS = (FAIR, Weather(0.05, 0.05, 0.05, 0.05), Weather(0.3, 0.2, 0.2, 0.2))


class World:
    def __init__(self, seed, *, gateways=4, workers=3, sql=False):
        self.seed = seed
        self.rng = random.Random(seed)
        self.weather_rng = random.Random(self.rng.random())
        base = "/dev/shm" if Path("/dev/shm").is_dir() else None  # fsync is not what is tried here
        self.folder = Path(tempfile.mkdtemp(prefix="sim-", dir=base))
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.loop = self.runner.get_loop()
        self.numbers = itertools.count(1)
        self.names = itertools.count(1)
        self.steps = 0
        self.trace = hashlib.blake2b(digest_size=16)
        self.keep_all = False
        self.told = []
        """The last lines of the trace, for whoever reads a failure."""
        self.store = WatchedStore(self, sql=sql)
        self.cloud = Cloud(self, self.store, workers)
        self.gateways = {name: Gateway(self, name, self.folder) for name in (f"g{n}" for n in range(gateways))}
        self.weather = dict.fromkeys(self.gateways, FAIR)
        self.acknowledged = {}  # (gateway, uid, place in the twin) -> number of the greatest acknowledged edit
        self.frame_rows, self.page_twins = 3, 2
        self.digests = seed % 3 == 0
        """Digests heal, and so hide, faults of the feed: most runs go without, but for stores that mend themselves."""
        self.image = None
        self.broken = []
        """Rules that were broken on the way; a worker would only log an assertion."""

    # -- what the parts ask of it --------------------------------------------------------------------------------

    def nonce(self):
        return f"n{next(self.names)}"

    def key(self, gateway):
        return TwinKey(Kind.DEVICE, gateway, "tank")

    def link_of(self, gateway):
        return SimLink(gateway)

    def note(self, *what):
        self.steps += 1
        line = f"{self.loop.time():.6f} {' '.join(map(str, what))}"
        self.trace.update(line.encode())
        self.told.append(line)
        if not self.keep_all:
            del self.told[:-200]

    def up(self, gateway, topic, payload):
        self._post(gateway.name, lambda: self._arrive_up(gateway, topic, payload))

    def down(self, name, message):
        gateway = self.gateways[name]
        if gateway.line:
            payload = encode(message)
            self._post(name, lambda: self._arrive_down(gateway, payload))

    def died(self, gateway):
        """The broker tells the will of a gateway whose line was cut."""
        self.cloud.tell(gateway.name, online=False)

    def _post(self, name, arrive):
        weather, rng = self.weather[name], self.weather_rng
        for _ in range(1 + (rng.random() < weather.twice)):
            if rng.random() >= weather.loss:
                far = rng.random() < weather.far
                self.loop.call_later(rng.uniform(0, 3.0 if far else weather.delay_s), arrive)

    def _arrive_up(self, gateway, topic, payload):
        if gateway.line:
            self.note("up", gateway.name, payload)
            if topic == topics.sync_state(gateway.name):
                self.cloud.tell(gateway.name, online=b"true" in payload)
            else:
                self.cloud.receive(gateway.name, decode(payload, what="up"))

    def _arrive_down(self, gateway, payload):
        if gateway.line and gateway.link is not None:
            self.note("down", gateway.name, payload)
            gateway.link.incoming(topics.sync_down(gateway.name), payload)

    # -- what happens --------------------------------------------------------------------------------------------

    async def open(self):
        await self.store.open()
        await self.cloud.start()
        for name, gateway in self.gateways.items():
            await gateway.start()
            await gateway.apply(request(model(name), device(name, 0)))

    async def live(self, steps):
        """Let things happen, then heal and compare, again and again."""
        episode = 0
        while self.steps < steps:
            episode += 1
            goal = min(steps, self.steps + 600)
            while self.steps < goal:
                await asyncio.sleep(self.rng.expovariate(20.0))
                await self._something()
            await self.heal()

    async def _something(self):
        await self.cloud.bury()
        name = self.rng.choice(sorted(self.gateways))
        what = self.rng.choices(list(ACTIONS), weights=list(ACTIONS.values()))[0]
        self.note("do", what, name)
        await getattr(self, f"_do_{what}")(name, self.gateways[name])

    async def _do_edit_edge(self, name, gateway):
        number, prop, shape = next(self.numbers), self.rng.choice("abc"), self.rng.choice(SHAPES)
        values, unset = _written(prop, shape, number)
        await self._at_the_edge(
            (Section.DESIRED, prop, Site.EDGE),
            number,
            gateway,
            lambda engine: engine.set_desired(self.key(name), values, unset=unset, by=str(number)),
        )

    async def _do_report(self, name, gateway):
        number = next(self.numbers)
        await self._at_the_edge(
            (Section.REPORTED, "r", Site.EDGE),
            number,
            gateway,
            lambda engine: engine.report(self.key(name), {"r": number}, {}, at=number, by=str(number)).commit,
        )

    async def _do_unreport(self, name, gateway):
        number = next(self.numbers)
        await self._at_the_edge(
            (Section.REPORTED, "r", Site.EDGE),
            number,
            gateway,
            lambda engine: engine.update(self.key(name), reported={"r": DELETED}, by=str(number)),
        )

    async def _at_the_edge(self, place, number, gateway, write):
        uid = gateway.uid(self.key(gateway.name))
        if await gateway.edit(write):
            self._acknowledge(gateway.name, uid, place, number)

    async def _do_edit_cloud(self, name, gateway):
        worker = self.cloud.any_worker()
        number, prop, shape = next(self.numbers), self.rng.choice("abc"), self.rng.choice(SHAPES)
        values, unset = _written(prop, shape, number)
        lives = self.store.lives
        uid = await worker.edit(name, self.key(name), values, unset, str(number))
        if uid is not None and self.store.lives == lives:
            self._acknowledge(name, uid, (Section.DESIRED, prop, Site.CLOUD), number)

    def _acknowledge(self, name, uid, place, number):
        self.acknowledged[name, uid, place] = max(number, self.acknowledged.get((name, uid, place), 0))

    async def _do_apply_edge(self, name, gateway):
        await gateway.apply(request(model(name), device(name, next(self.numbers))))

    async def _do_apply_cloud(self, name, gateway):
        await self.cloud.any_worker().apply(request(model(name), device(name, next(self.numbers))))

    async def _do_recreate_edge(self, name, gateway):
        await gateway.apply(request(device(name, 0), mode=ApplyMode.DELETE))
        await gateway.apply(request(model(name), device(name, next(self.numbers))))

    async def _do_recreate_cloud(self, name, gateway):
        await self.cloud.any_worker().apply(request(device(name, 0), mode=ApplyMode.DELETE))
        if (worker := self.cloud.any_worker()) is not None:  # the only one may have been killed in between
            await worker.apply(request(model(name), device(name, next(self.numbers))))

    async def _do_cut(self, name, gateway):
        gateway.set_line(False)

    async def _do_restore_line(self, name, gateway):
        gateway.set_line(True)

    async def _do_weather(self, name, gateway):
        self.weather[name] = self.rng.choice(WEATHERS)

    async def _do_crash_gateway(self, name, gateway):
        gateway.store.fuse = self.rng.choice(("", "before", "after"))
        await gateway.start()

    async def _do_power_cut(self, name, gateway):
        gateway.store.fuse = self.rng.choice(("before", "after"))

    async def _do_clock(self, name, gateway):
        gateway.clock.offset_us = self.rng.choice(STEPS_US)

    async def _do_worker_clock(self, name, gateway):
        worker = self.rng.choice(self.cloud.workers)
        worker.clock.offset_us = self.rng.choice(STEPS_US[:4])

    async def _do_kill_worker(self, name, gateway):
        await self.cloud.replace(self.rng.randrange(self.cloud.count))

    async def _do_kill_at_a_commit(self, name, gateway):
        self.store.fuse = self.rng.choice(("before", "after"))

    async def _do_wipe_gateway(self, name, gateway):
        mended = await self._is_mended(name)
        await gateway.stop()
        shutil.rmtree(gateway.folder)
        await gateway.start()
        await self._forget(name, mended)

    async def _do_back_up_cloud(self, name, gateway):
        self.image = await self.store.image()

    async def _do_restore_cloud(self, name, gateway):
        image, self.image = self.image, None
        mended = {each: await self._is_mended(each) for each in sorted(self.gateways)}
        await self.cloud.stop()
        await self.store.restore(image)
        for each in mended:
            await self._forget(each, mended[each])
        await self.cloud.start()

    async def _is_mended(self, name):
        """Whether both have met each other's runs. A disk lost before that, while the other was being mended, may take
        edits of the other with it: neither can tell which of two rows with one tick was the later.
        """
        feed = self.gateways[name].store.feed()
        state = await self.store.state(name)
        if state is None:
            return False
        met = {run.id for run in (*state.met, *feed.runs[Site.CLOUD])}
        return met >= {run.id for run in (*state.runs, *feed.runs[Site.EDGE])} and not state.forked

    async def _forget(self, name, mended):
        """After a disk was lost, only what one of the two still holds can be asked for."""
        key = self.key(name)
        for whose, uid, place in list(self.acknowledged):
            if whose == name:
                held = [self.gateways[name].slots(key, uid), await self.store.slots(name, (key, uid))]
                number = max(int(slots[place].by) if place in slots else 0 for slots in held)
                had = self.acknowledged[name, uid, place]
                self.acknowledged[name, uid, place] = min(number, had) if mended else 0

    # -- what must hold ------------------------------------------------------------------------------------------

    async def heal(self):
        """With fair weather, all replicas agree after a while."""
        self.note("heal")
        self.store.fuse = ""
        await self.cloud.bury()
        for name, gateway in self.gateways.items():
            gateway.set_line(True)
            self.weather[name] = FAIR
            gateway.store.fuse = ""
        for worker in self.cloud.workers:
            worker.clock.offset_us = 0
        deadline_s = self.loop.time() + 300
        while found := [text for name in self.gateways if (text := await self.differences(name))]:
            if self.loop.time() > deadline_s:
                raise AssertionError("no agreement after 300 s:\n" + "\n".join(found))
            await asyncio.sleep(1.0)
        assert not self.broken, "\n".join(self.broken[:5])
        for (name, uid, place), number in sorted(self.acknowledged.items()):
            if uid != self.gateways[name].uid(self.key(name)):
                continue  # that life has ended
            slots = self.gateways[name].slots(self.key(name), uid)
            held = int(slots[place].by) if place in slots else 0
            assert held >= number, f"{name}: acknowledged edit {number} of {place} is lost, {held} is there"

    async def differences(self, name):
        """What the two sides of a gateway do not agree on; empty if they do."""
        gateway, key = self.gateways[name], self.key(name)
        if gateway.session.state is not SyncState.LIVE or not gateway.feed.caught_up:
            return f"{name}: the edge has not caught up: {gateway.session.state} {gateway.session.stand.why}"
        state = await self.store.state(name)
        if state.session != gateway.feed.session or state.forked or state.sent:
            return f"{name}: the cloud has not caught up: {state}"
        here = {one.ref: one for one in gateway.documents.states() if one.uid or one.gone}
        there = {one.ref: one for one in await self.store.document_states(name) if one.uid or one.gone}
        if here != there:
            return f"{name}: documents: edge {here}, cloud {there}"
        uid, uid_there = gateway.uid(key), await self.store.uid(name, key)
        if uid != uid_there:
            return f"{name}: the edge has the life {uid}, the cloud {uid_there}"
        edge, cloud = gateway.slots(key, uid), await self.store.slots(name, (key, uid))
        if edge == cloud:
            return ""
        places = sorted(place for place in {*edge, *cloud} if edge.get(place) != cloud.get(place))
        return "\n".join(f"{name} {place}: edge {edge.get(place)}, cloud {cloud.get(place)}" for place in places)

    def run(self, steps):
        """The hash of all that happened."""
        try:
            self.runner.run(self._run(steps))
        except BaseException as error:
            lines = "\n".join(self.told if self.keep_all else self.told[-40:])
            error.add_note(f"seed {self.seed}; again: python -m tests.sim.run {self.seed} --steps {steps}\n{lines}")
            raise
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)
        return self.trace.hexdigest()

    async def _run(self, steps):
        await self.open()
        try:
            await self.live(steps)
        finally:
            await self.cloud.stop()
            for gateway in self.gateways.values():
                await gateway.stop()
            await self.store.close()


SHAPES = ("scalar", "scalar", "object", "delete")
ACTIONS = {
    "edit_edge": 20,
    "report": 20,
    "unreport": 2,
    "edit_cloud": 25,
    "cut": 3,
    "restore_line": 6,
    "weather": 3,
    "crash_gateway": 2,
    "power_cut": 2,
    "clock": 2,
    "worker_clock": 1,
    "kill_worker": 2,
    "kill_at_a_commit": 4,
    "apply_edge": 1.5,
    "apply_cloud": 1.5,
    "recreate_edge": 0.5,
    "recreate_cloud": 0.5,
    "wipe_gateway": 0.3,
    "back_up_cloud": 0.5,
    "restore_cloud": 0.3,
}


def _written(prop, shape, number):
    if shape == "delete":
        return {}, (prop,)
    return {prop: {"n": number} if shape == "object" else number}, ()
