"""Under load nothing is lost: endpoints come and go, and a service moves between userspace and the kernel and back."""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesh.model.routes import HttpMatch
from mesh.model.services import AppProtocol, Plane
from mesh.settings import Settings
from tests.mesh.netns import Network, missing
from tests.mesh.owner import Backend, Owner, free_port
from tests.mesh.tables import pkey, route, rule, service, table, to

BACKEND = Path(__file__).with_name("backend.py")
ADDRESS = "127.96.77.7"


@dataclass
class Load:
    """Clients that ask all the time: half of them on one connection, half on a new one each time."""

    address: str
    port: int
    answers: int = 0
    failures: list = field(default_factory=list)
    opened: int = 0

    async def new_connections(self):
        while True:
            await self._one(lines=1)

    async def long_connections(self):
        while True:
            await self._one(lines=20)

    async def _one(self, lines):
        self.opened += 1
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(self.address, self.port)
                try:
                    for number in range(lines):
                        await self._ask(reader, writer, f"hello {number}\n".encode())
                finally:
                    writer.transport.abort()
        except (OSError, TimeoutError) as error:
            self.failures.append(repr(error))

    async def _ask(self, reader, writer, said):
        writer.write(said)
        answer = await reader.readline()
        if not answer.endswith(said):
            self.failures.append(f"{said!r}: {answer!r}")
        self.answers += 1

    async def more(self, answers):
        """Wait until there are so many more answers."""
        wanted = self.answers + answers
        while self.answers < wanted and not self.failures:  # noqa: ASYNC110 - what is waited for is traffic
            await asyncio.sleep(0.005)


async def under_load(load, work, clients=6):
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(load.new_connections() if n % 2 else load.long_connections()) for n in range(clients)
        ]
        await load.more(20)
        await work()
        await load.more(20)
        for one in running:
            one.cancel()


class Echo(Backend):
    """Says back what it hears."""

    async def _serve(self, reader, writer):
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def many_changes(tmp_path, changes, **about):
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(Echo(str(n))) for n in range(3)]
        owner = await stack.enter_async_context(Owner(tmp_path, Settings(plane=Plane.USERSPACE)))
        port = free_port(ADDRESS)

        def web(number):
            places = [one.place for at, one in enumerate(backends) if at != number % 3]
            return service("web", *places, address=ADDRESS, port=port, **about)

        await owner.ready()
        await owner.whole(table(web(0)))
        load = Load(ADDRESS, port)

        async def work():
            for number in range(changes):
                await owner.change(services=(web(number),))

        await under_load(load, work)
        assert load.failures == []
        assert load.opened > 10


async def test_a_thousand_changes_of_endpoints_under_load_lose_nothing(tmp_path):
    await many_changes(tmp_path, 1000)


async def test_a_service_turns_to_http_and_back_and_open_connections_stay(tmp_path):
    async with AsyncExitStack() as stack:
        echo = await stack.enter_async_context(Echo("echo"))
        owner = await stack.enter_async_context(Owner(tmp_path, Settings(plane=Plane.USERSPACE)))
        port = free_port(ADDRESS)
        raw = service("web", echo.place, address=ADDRESS, port=port)
        await owner.ready()
        await owner.whole(table(raw))
        reader, writer = await asyncio.open_connection(ADDRESS, port)
        http = rule(to("web", port=port), matches=[HttpMatch("/only")])
        done = await owner.change(routes=(route("web", http, parents=[pkey(port=port)]),))
        assert not done.problems
        other, other_writer = await asyncio.open_connection(ADDRESS, port)
        other_writer.write(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        assert (await other.readline()).startswith(b"HTTP/1.1 404 ")
        other_writer.close()
        writer.write(b"still raw\n")
        assert await reader.readline() == b"still raw\n"
        writer.close()
        assert AppProtocol.HTTP is not AppProtocol.RAW


@pytest.mark.skipif(bool(missing()), reason=missing() or "there")
async def test_a_service_moves_between_userspace_and_the_kernel_and_nothing_is_lost(tmp_path):
    async with AsyncExitStack() as stack:
        net = stack.enter_context(Network(2))
        mesh, there = net.nodes
        there.start(sys.executable, str(BACKEND), "one", "8001")
        there.start(sys.executable, str(BACKEND), "two", "8002")
        stack.enter_context(mesh.inside())
        for port in (8001, 8002):
            await _listens(there.address, port)
        settings = Settings(plane=Plane.USERSPACE, network="10.96.0.0/16")
        owner = await stack.enter_async_context(Owner(tmp_path, settings))
        await owner.ready()

        def web(plane):
            return service("web", f"{there.address}:8001", f"{there.address}:8002", address="10.96.0.7", plane=plane)

        await owner.whole(table(web(Plane.NFTABLES)))
        await owner.hear(type(await owner.whole(table(web(Plane.NFTABLES)))), lambda one: one.problems == {})
        load = Load("10.96.0.7", 80)
        kept = []

        async def work():
            for _ in range(4):
                for plane in (Plane.USERSPACE, Plane.NFTABLES):
                    kept.append(await asyncio.open_connection("10.96.0.7", 80))
                    await owner.change(services=(web(plane),))
                    await load.more(30)

        await under_load(load, work)
        assert load.failures == []
        for reader, writer in kept:
            writer.write(b"still there\n")
            assert (await reader.readline()).endswith(b"still there\n")
            writer.close()


async def _listens(address, port):
    for _ in range(500):
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise TimeoutError(f"{address}:{port}")
