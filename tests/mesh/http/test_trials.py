"""An endpoint on trial that answers is back in use, even if its answer has no end."""

import asyncio

import pytest

from mesh.target import Trial
from tests.mesh.http.origins import scripted
from tests.mesh.http.site import http_site, key, until

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
BROKEN = b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
UPGRADE = b"Connection: upgrade\r\nUpgrade: websocket\r\n"


@pytest.mark.parametrize(
    ("answer", "more", "passed"), [(STREAM, b"", True), (SWITCH, UPGRADE, True), (BROKEN, b"", False)]
)
async def test_an_answer_without_end_passes_the_trial(answer, more, passed):
    release = asyncio.Event()

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await release.wait()

    async with scripted(script) as played, http_site() as site:
        await site.serve(played.port)
        upstream = site.upstreams.get(key())
        (target,) = upstream.targets.values()
        target.trial = Trial.WAITING
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: shop\r\n%b\r\n" % more)
        async with asyncio.timeout(10):
            await reader.readuntil(b"\r\n\r\n")
        await until(lambda: target.trial is (Trial.NONE if passed else Trial.RUNNING))
        assert target.active == 1
        release.set()
        writer.close()
