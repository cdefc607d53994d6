"""The simulation's gateways over a real broker, and workers as real processes."""

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import sys
from pathlib import Path
from random import Random

from cloudsync.serving import WorkerOptions, serving
from cloudsync.store.opening import open_store
from edgehub.sync.states import SyncState
from tests.cloudsync.sync.worker_process import known
from tests.sim.gateway import Gateway
from tests.sim.plant import device, model, request
from twin.clock import SystemClock
from twin.link.mqtt import MqttLink, MqttOptions
from twin.model import Kind, TwinKey

ROOT = Path(__file__).parents[3]


class RealWorld:
    """What a simulated gateway asks of its world, with a broker and the time of the machine."""

    def __init__(self, host, port, username, password, folder):
        self.login = (host, port, username, password)
        self.folder = folder
        self.loop = asyncio.get_running_loop()
        self.run_id = secrets.token_hex(8)
        self.rng = Random(1)
        self.frame_rows, self.page_twins, self.digests = 2000, 500, True
        self.gateways = {}
        self._stack = contextlib.AsyncExitStack()
        self._numbers = itertools.count(1)
        self.workers = []
        self.store = self.hub = None

    @property
    def store_url(self):
        return f"sqlite:///{self.folder / 'cloud.db'}"

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_exc):
        for process in self.workers:
            await self.end(process)
        for gateway in self.gateways.values():
            await gateway.stop()
        await self._stack.aclose()

    def options(self, client_id, **more):
        host, port, username, password = self.login
        made = {"retry_base_s": 0.05, "retry_cap_s": 0.5, **more}
        return MqttOptions(host, port, client_id, username, password, **made)

    def nonce(self):
        return secrets.token_hex(8)

    def key(self, gateway):
        return TwinKey(Kind.DEVICE, gateway, "tank")

    def link_of(self, gateway):
        return MqttLink(self.options(gateway.name), rng=self.rng)

    async def serve(self):
        """A worker of this process, through which the test writes in the cloud."""
        self.store = open_store(self.store_url, SystemClock())
        link = await self._stack.enter_async_context(MqttLink(self.options(f"in-{secrets.token_hex(4)}")))
        options = WorkerOptions(f"in-{secrets.token_hex(4)}", self.run_id)
        self.hub = await self._stack.enter_async_context(
            serving(link, self.store, options, known=known, clock=SystemClock(), nonce=self.nonce, rng=Random())
        )
        await link.connected(10)

    async def start_worker(self):
        host, port, username, password = self.login
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.cloudsync.sync.worker_process"),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        said = {"host": host, "port": port, "username": username, "password": password}
        said |= {"store": self.store_url, "run": self.run_id, "parent_pid": os.getpid()}
        process.stdin.write(json.dumps(said).encode() + b"\n")
        self.workers.append(process)
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"ready\n"
        return process

    async def end(self, process, *, kill=False):
        """The exit code."""
        if process.returncode is None:
            process.kill() if kill else process.terminate()
        async with asyncio.timeout(10):
            code = await process.wait()
        if process in self.workers:
            self.workers.remove(process)
        return code

    async def add_gateway(self, name, *, apply=True):
        """A gateway with one device, and its session."""
        gateway = self.gateways[name] = Gateway(self, name, self.folder)
        await gateway.start()
        if apply:
            await gateway.apply(request(model(name), device(name, 0)))
        return gateway

    async def agree(self, within_s=30.0):
        """Wait until both sides of every gateway hold the same."""
        async with asyncio.timeout(within_s):
            for name, gateway in self.gateways.items():
                # What another process has done sets no event of ours.
                while not (gateway.session.state is SyncState.LIVE and await self._agrees(name, gateway)):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)

    async def _agrees(self, name, gateway):
        uid = gateway.uid(self.key(name))
        return gateway.feed.caught_up and gateway.slots(self.key(name), uid) == await self.slots(name)

    async def slots(self, name):
        """What the cloud has."""
        async with self.store.transaction(name) as tx:
            rows = await tx.rows([(self.key(name), self.gateways[name].uid(self.key(name)))])
        return {(row.section, row.property, row.site): row.slot for row in rows}
