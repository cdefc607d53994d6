"""An endpoint that becomes a black hole while requests are under way costs each of them one delay, and none fails."""

import asyncio
import sys

from mesh.model.policies import OutlierDetection, Policy, RetryBudget
from mesh.model.services import Endpoint
from mesh.planes.http import Times
from tests.mesh.http.site import http_site, key
from tests.mesh.netns import Network, needs_netns

REQUESTS = 12
PORT = 8080


@needs_netns
async def test_all_that_is_under_way_goes_elsewhere_whatever_the_budget():
    with Network(3) as net:
        gateway, good, dark = net.nodes
        for node in (good, dark):
            node.start(sys.executable, "-m", "tests.bench.mesh_backend", str(PORT))
            gateway.answers(node.address, PORT)
        with gateway.inside():
            async with http_site(times=Times()) as site:
                policy = Policy(retry_budget=RetryBudget(0.0, 0), outlier=OutlierDetection(base_ejection_ms=60_000))
                await site.serve(*(Endpoint(node.address, PORT) for node in (good, dark)), policy=policy)
                clients = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(REQUESTS)]

                async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
                    writer.write(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
                    async with asyncio.timeout(10):
                        head = await reader.readuntil(b"\r\n\r\n")
                        await reader.readexactly(2)
                    return head.split(b" ")[1]

                async def all_ask() -> set[bytes]:
                    return set(await asyncio.gather(*(ask(*client) for client in clients)))

                assert await all_ask() == {b"200"}  # connections to both stand from now on
                net.blackhole(dark.address)
                assert await all_ask() == {b"200"}
                upstream = site.upstreams.get(key())
                assert upstream is not None
                assert upstream.targets[f"{dark.address}:{PORT}"].ejected
                hits = upstream.targets[f"{dark.address}:{PORT}"].ejections
                assert await all_ask() == {b"200"}
                assert upstream.targets[f"{dark.address}:{PORT}"].ejections == hits
                for _, writer in clients:
                    writer.close()
