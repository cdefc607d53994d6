"""Two gateways' mesh processes, each with half of a service: raw and HTTP through the tunnel, kill -9, workers."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.frames import Tunnels
from mesh.model.services import AppProtocol, Plane
from mesh.settings import Settings, TunnelFiles
from tests.mesh.gateways import TestCa
from tests.mesh.owner import Backend, Owner, free_port, greeting, until
from tests.mesh.tables import at, service, table

HERE, THERE = "127.96.77.11", "127.96.77.12"


class Two:
    """Gateway a, whose clients we are, and gateway b, which has the endpoint."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.ca = TestCa.make(folder / "ca")
        self.folder, self.stack = folder, stack
        self.port, self.tunnel_port = free_port(HERE), free_port()

    async def owner(self, name: str, *, workers: int = 1, listens: bool = False) -> Owner:
        files = self.ca.gateway(name)
        listen = f"127.0.0.1:{self.tunnel_port}" if listens else ""
        tunnel = TunnelFiles(listen, str(files.certificate), str(files.key), str(files.authority))
        folder = self.folder / name
        folder.mkdir()
        settings = Settings(node=name, plane=Plane.USERSPACE, workers=workers, tunnel=tunnel)
        owner = await self.stack.enter_async_context(Owner(folder, settings))
        assert (await owner.ready()).problems == ()
        return owner

    async def both(self, place: str, *, app: AppProtocol = AppProtocol.RAW, workers: int = 1) -> tuple[Owner, Owner]:
        there = await self.owner("gw-b", listens=True)
        here = await self.owner("gw-a", workers=workers)
        here.say(Tunnels(places={"gw-b": f"127.0.0.1:{self.tunnel_port}"}))
        endpoint = at(place, node="gw-b")
        await there.whole(table(service("web", endpoint, address=THERE, port=self.port, app=app)))
        await here.whole(table(service("web", replace(endpoint, via="gw-b"), address=HERE, port=self.port, app=app)))
        return here, there


@pytest.fixture
async def two(tmp_path):
    async with AsyncExitStack() as stack:
        yield Two(tmp_path, stack)


async def test_a_service_of_another_gateway_is_reached_and_again_after_its_process_was_killed(two):
    backend = await two.stack.enter_async_context(Backend("there"))
    _, there = await two.both(backend.place)
    assert await greeting(HERE, two.port) == "there"
    there.process.kill()
    await there.process.wait()
    assert await greeting(HERE, two.port) == ""
    await there.start()
    endpoint = at(backend.place, node="gw-b")
    await there.whole(table(service("web", endpoint, address=THERE, port=two.port)))

    async def answers():
        return await greeting(HERE, two.port) == "there"

    await until(answers)


async def test_a_worker_has_the_way_to_other_gateways_too(two):
    backend = await two.stack.enter_async_context(Backend("there"))
    await two.both(backend.place, workers=2)

    async def has_two_doors():
        lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()
        return sum(f":{two.port:04X} 00000000:0000 0A" in line and "0B4D607F" in line for line in lines) == 2

    await until(has_two_doors)
    assert {await greeting(HERE, two.port) for _ in range(12)} == {"there"}


async def test_http_goes_through_the_tunnel(two):
    async def serve(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            path = head.split()[1]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
            await writer.drain()

    async def quietly(reader, writer):
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    two.stack.callback(server.close)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await two.both(place, app=AppProtocol.HTTP)
    reader, writer = await asyncio.open_connection(HERE, two.port)
    async with asyncio.timeout(20):
        for number in range(5):
            writer.write(b"GET /%d HTTP/1.1\r\nHost: web\r\n\r\n" % number)
            assert b"200" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"/%d" % number
    writer.close()
