"""The cloud of the simulation: real hubs over one store; each may be killed between any two steps."""

import asyncio
import contextlib
import random
from pathlib import Path

from cloudsync.applying import Applying
from cloudsync.hub import Hub
from cloudsync.leases import Leases
from cloudsync.mailbox import Seen
from cloudsync.pacing import Pacing
from cloudsync.writing import set_desired
from tests.sim.virtual import SimClock
from twin.errors import InvalidDocuments, Refused, StoreError
from twin.sealing import Sealer

FRAME_ROWS = 3


class Killed(Exception):
    """The worker is gone."""


class Worker:
    """One process: dead means that nothing of it is heard any more, whatever it was about to say."""

    def __init__(self, cloud, name):
        self.cloud = cloud
        self.name = name
        self.dead = False
        self.clock = SimClock(cloud.world.loop)
        self.hub = Hub(
            cloud.store,
            send=self._send,
            hint=lambda gateway: None,
            known=cloud.known,
            clock=self.clock,
            nonce=cloud.world.nonce,
            pacing=Pacing(rate_hz=50, burst=20, max_wait_s=10),
            frame_rows=FRAME_ROWS,
        )
        self.leases = Leases(self.hub, cloud.store, name, run=cloud.run, clock=self.clock, send=self._send)
        leases = cloud.world.loop.create_task(self.leases.run(), name=f"leases {name}")
        leases.add_done_callback(self._ended)
        self.tasks = {leases: None}  # in their order, which a set has not

    def _ended(self, task):
        if not task.cancelled():
            self.cloud.world.broken.append(f"the leases of {self.name} ended: {task.exception()!r}")

    def _send(self, gateway, message):
        if not self.dead:
            self.cloud.world.down(gateway, message)

    async def edit(self, gateway, key, values, unset, by):
        """The life of the twin that was written, if that was acknowledged."""
        return await self._alone(self._edit(gateway, key, values, unset, by))

    async def apply(self, request):
        """Put documents into sets."""
        sealer = Sealer(Path("nowhere"))  # nobody applies a Secret here
        applying = Applying(
            self.hub, self.cloud.store, known=self.cloud.known, new_uid=self.cloud.world.nonce, sealer=sealer
        )
        await self._alone(applying.apply(request, by="sim"))

    async def _alone(self, work):
        """Let a task of the worker's own do it, which dies with it; None if nothing was acknowledged."""
        task = self.cloud.world.loop.create_task(work)
        self.tasks[task] = None
        task.add_done_callback(self.tasks.pop)
        if self.dead:
            task.cancel()
        await asyncio.wait({task})
        if task.cancelled() or self.dead:
            return None
        error = task.exception()
        if error is not None and not isinstance(error, Refused | StoreError | InvalidDocuments):
            raise error
        return task.result() if error is None else None

    async def _edit(self, gateway, key, values, unset, by):
        async with self.hub.change(gateway) as turn:
            await set_desired(turn, key, values, unset=unset, by=by)
            document = await turn.tx.document(key)
        return document.spec.uid

    def kill(self):
        self.dead = True
        for task in self._all():
            task.cancel()

    async def gone(self):
        self.kill()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._all(), return_exceptions=True)

    def _all(self):
        return [*self.tasks, *self.hub._tasks]


class Cloud:
    """All workers, and the store that they share."""

    def __init__(self, world, store, workers):
        self.world = world
        self.store = store
        self.count = workers
        self.rng = random.Random(world.rng.random())
        self.workers = []

    async def known(self, gateway):
        return True

    async def start(self):
        self.run = self.world.nonce()
        await self.store.begin_run(self.run)
        self.workers = [Worker(self, f"w{self.world.nonce()}") for _ in range(self.count)]

    def any_worker(self):
        alive = [one for one in self.workers if not one.dead]
        return self.rng.choice(alive) if alive else None

    def worker_of(self, task):
        return next((one for one in self.workers if not one.dead and task in one._all()), None)

    async def bury(self):
        """Others take the place of workers that died at a commit."""
        for number, worker in enumerate(self.workers):
            if worker.dead:
                await self.replace(number)

    def receive(self, gateway, message):
        worker = self.any_worker()
        if worker is not None:
            worker.hub.receive(gateway, message)

    def tell(self, gateway, *, online):
        worker = self.any_worker()
        if worker is not None:
            worker.hub.receive(gateway, Seen(online))

    async def replace(self, number):
        """One worker dies, another takes its place."""
        await self.workers[number].gone()
        self.workers[number] = Worker(self, f"w{self.world.nonce()}")

    async def stop(self):
        for worker in self.workers:
            await worker.gone()
        self.workers = []
