"""A TCP proxy that breaks connections on demand, and one way to build either link with a cable that can be cut."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from twin.link import Link, LinkState, Will
from twin.link.memory import MemoryBroker
from twin.link.mqtt import MqttLink, MqttOptions


class Proxy:
    """Forwards bytes to a port; can refuse, cut, swallow."""

    def __init__(self, host: str, port: int):
        self.target = (host, port)
        self.refusing = False
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc):
        self._server.close()
        self.cut()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self):
        """Break every connection with a RST and refuse new ones."""
        self.refusing = True
        for writer in tuple(self._writers):
            writer.transport.abort()

    def restore(self):
        self.refusing = False
        self.flowing.set()

    def swallow(self):
        """Keep connections open but let no byte through, as a half-open line does."""
        self.flowing.clear()

    async def _accept(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        try:
            if self.refusing:
                return
            far_reader, far_writer = await asyncio.open_connection(*self.target)
            self._writers.add(far_writer)
            pumps = [asyncio.create_task(self._pump(*ends)) for ends in ((reader, far_writer), (far_reader, writer))]
            self._tasks.update(pumps)
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            far_writer.transport.abort()
            self._writers.discard(far_writer)
        except OSError:
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(asyncio.current_task())

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                await self.flowing.wait()
                writer.write(chunk)
                await writer.drain()


class MemoryWorld:
    def __init__(self):
        self.broker = MemoryBroker()

    async def link(self, will: Will | None = None) -> Link:
        return self.broker.link(will)

    def cut(self, link):
        self.broker.cut(link)

    def restore(self, link):
        self.broker.restore(link)


class MqttWorld:
    """Each link has a proxy of its own, so that one cable is cut at a time."""

    def __init__(self, broker, stack: contextlib.AsyncExitStack):
        self._broker = broker
        self._stack = stack
        self._numbers = itertools.count(1)
        self._proxies: dict[int, Proxy] = {}

    async def link(self, will: Will | None = None, **options) -> MqttLink:
        proxy = await self._stack.enter_async_context(Proxy(self._broker.host, self._broker.port))
        made = MqttOptions(
            host="127.0.0.1",
            port=proxy.port,
            client_id=f"link-{next(self._numbers)}",
            username=self._broker.hub.name,
            password=self._broker.hub.password,
            will=will,
            retry_base_s=0.02,
            retry_cap_s=0.2,
        )
        link = MqttLink(replace(made, **options), rng=random.Random(1))
        self._proxies[id(link)] = proxy
        return link

    def proxy(self, link) -> Proxy:
        return self._proxies[id(link)]

    def cut(self, link):
        self.proxy(link).cut()

    def restore(self, link):
        self.proxy(link).restore()


@pytest.fixture
async def mqtt_world(broker) -> AsyncIterator[MqttWorld]:
    async with contextlib.AsyncExitStack() as stack:
        yield MqttWorld(broker, stack)


@pytest.fixture
async def memory_world() -> MemoryWorld:
    return MemoryWorld()


@pytest.fixture(params=["memory_world", "mqtt_world"])
def world(request):
    """Makes links, and cuts and restores their cables."""
    return request.getfixturevalue(request.param)


class Inbox(list):
    """A handler that keeps what it gets and lets a test wait for a number of messages."""

    def __init__(self):
        super().__init__()
        self._more = asyncio.Event()

    # Two boxes are two handlers, whatever they hold.
    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other

    def __call__(self, message):
        self.append(message)
        self._more.set()

    async def holds(self, count: int) -> "Inbox":
        async with asyncio.timeout(10):
            while len(self) < count:
                self._more.clear()
                await self._more.wait()
        return self

    @property
    def texts(self) -> list[str]:
        return [message.payload.decode() for message in self]


@pytest.fixture
def inbox() -> Callable[[], Inbox]:
    return Inbox


@pytest.fixture
def reaches():
    """Wait until a link is in a state."""

    async def wait(link, state: LinkState):
        reached = asyncio.Event()
        stop = link.on_state(lambda now: reached.set() if now is state else None)
        if link.state is not state:
            await asyncio.wait_for(reached.wait(), 10)
        stop()

    return wait
