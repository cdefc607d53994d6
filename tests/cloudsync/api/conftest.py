"""A cloud without processes: the real hub, store and API over a broker in memory."""

import asyncio
import contextlib
import itertools

import pytest

from cloudsync.api.server import Api
from cloudsync.hints import Hints
from cloudsync.hub import Hub
from cloudsync.identity.roles import Role
from cloudsync.pacing import Pacing
from cloudsync.store.opening import open_store
from twin.client import TwinClient
from twin.clock import SystemClock
from twin.document import Slot
from twin.exchange import Row
from twin.link.memory import MemoryBroker
from twin.model import Access, Kind, PropertySpec, Section, Site, TwinKey, TwinSpec, ValueType
from twin.sealing import Sealer

ROLES = {"ann": Role.OPERATOR, "vic": Role.VIEWER, "root": Role.ADMIN}
PROPERTIES = {
    "level": PropertySpec("level", ValueType.FLOAT, unit="%"),
    "valve": PropertySpec("valve", ValueType.INT, Access.READ_WRITE, minimum=0, maximum=100),
}


def tank(name="tank", namespace="plant"):
    return TwinKey(Kind.DEVICE, namespace, name)


async def until(found):
    """Ask until the answer is something; it is what is returned."""
    async with asyncio.timeout(5):
        while not (answer := await found()):  # noqa: ASYNC110  # it is in the store, which tells nobody
            await asyncio.sleep(0.01)
    return answer


class Cloud:
    """Two workers on one store."""

    def __init__(self, store, broker, folder):
        self.folder = folder
        self.store = store
        self.broker = broker
        self.clock = SystemClock()
        self.sent = []
        self.hubs = []
        self.apis = []
        self._ticks = itertools.count(1_700_000_000_000_000)

    async def add_worker(self, stack):
        link = await stack.enter_async_context(self.broker.link())
        await link.connected(5)
        numbers = itertools.count(1)
        hub = Hub(
            self.store,
            send=lambda gateway, message: self.sent.append((gateway, message)),
            hint=Hints(link).changed,
            known=self._known,
            clock=self.clock,
            nonce=lambda: f"n{next(numbers)}",
            pacing=Pacing(rate_hz=1000, burst=1000, max_wait_s=1),
        )
        api = Api(
            self.store,
            hub,
            link,
            self.clock,
            ROLES.get,
            new_id=lambda: f"c{len(self.hubs)}-{next(numbers)}",
            version="0",
            known=self._known,
            worker=f"worker-{len(self.hubs)}",
            sealer=Sealer(self.folder / "secrets.key"),
        )
        stack.push_async_callback(hub.close)
        await stack.enter_async_context(api)
        self.hubs.append(hub)
        self.apis.append(api)

    async def _known(self, gateway):
        return True

    async def define(self, key, gateway="gw-1", labels=(), properties=PROPERTIES):
        async with self.hubs[0].change(gateway) as turn:
            await turn.define(TwinSpec(key, "u1", "tank", gateway, tuple(labels), properties))

    async def remove(self, key, gateway="gw-1"):
        async with self.hubs[0].change(gateway) as turn:
            await turn.remove(key)

    async def report(self, key, gateway="gw-1", **values):
        rows = [
            Row(key, "u1", Section.REPORTED, name, Site.EDGE, Slot(value, next(self._ticks), 0, "mapper", 1))
            for name, value in values.items()
        ]
        async with self.hubs[0].change(gateway) as turn:
            await turn.merge(rows)
            turn.state.cursor = max(turn.state.cursor, rows[-1].slot.tick)


@pytest.fixture
async def cloud(tmp_path):
    async with contextlib.AsyncExitStack() as stack:
        store = open_store(f"sqlite:///{tmp_path / 'cloud.db'}", SystemClock())
        await store.open()
        stack.push_async_callback(store.close)
        await store.begin_run("run-1")
        made = Cloud(store, MemoryBroker(), tmp_path)
        await made.add_worker(stack)
        await made.add_worker(stack)
        yield made


@pytest.fixture
async def client_of(cloud):
    async with contextlib.AsyncExitStack() as stack:

        async def make(account, client="1"):
            link = await stack.enter_async_context(cloud.broker.link())
            await link.connected(5)
            return await stack.enter_async_context(
                TwinClient(link, account=account, client=client, timeout_s=5, cloud=True)
            )

        yield make
