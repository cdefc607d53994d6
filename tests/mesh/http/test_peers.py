"""Programs that share no code with ours, on both sides: httpx, curl, websockets, HAProxy."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import httpx
import pytest
import websockets

from mesh.planes.http import Times
from tests.mesh.http.origins import Asked, Says, origin
from tests.mesh.http.site import free_port, http_site, patient, until

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
CURL = shutil.which("curl")


async def echo(asked: Asked) -> Says:
    return Says(body=asked.body or asked.target.encode(), chunked=len(asked.body) % 2 == 1)


async def test_httpx_uses_its_pool_through_us():
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{site.port}", timeout=20) as client:

            async def body():
                for number in range(100):
                    yield b"%d," % number

            answers = await asyncio.gather(*(client.get(f"/{number}") for number in range(30)))
            assert [one.text for one in answers] == [f"/{number}" for number in range(30)]
            assert (await client.post("/", content=body())).text == "".join(f"{number}," for number in range(100))
            assert (await client.head("/")).headers["content-length"] == "1"


@pytest.mark.skipif(CURL is None, reason="there is no curl here")
async def test_curl_gets_what_it_asks_for(tmp_path: Path):
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(range(256)) * 4000)
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        url = f"http://127.0.0.1:{site.port}/"
        for options in (
            ["-T", str(upload)],
            ["--http1.0", "-T", str(upload)],
            ["-H", "Expect: 100-continue", "-T", str(upload)],
        ):
            curl = await asyncio.create_subprocess_exec(
                CURL or "", "-sS", "-m", "20", *options, url, stdout=asyncio.subprocess.PIPE
            )
            came, _ = await curl.communicate()
            assert (curl.returncode, came) == (0, upload.read_bytes())


async def test_a_web_socket_goes_through():
    async def talk(socket) -> None:
        async for message in socket:
            await socket.send(message[::-1])

    async with websockets.serve(talk, "127.0.0.1", 0) as server, http_site() as site:
        await site.serve(server.sockets[0].getsockname()[1], policy=patient())
        async with websockets.connect(f"ws://127.0.0.1:{site.port}/chat", proxy=None) as socket:
            for message in ("abc", b"\x00\x01\x02", "x" * 300_000):
                await socket.send(message)
                assert await socket.recv() == message[::-1]
        await until(lambda: not site.carrier.clients)


@pytest.mark.skipif(HAPROXY is None, reason="there is no HAProxy here")
async def test_haproxy_answers_through_us(tmp_path: Path):
    port = free_port()
    file = tmp_path / "haproxy.cfg"
    file.write_text(
        "defaults\n  mode http\n  timeout client 9s\n  timeout server 9s\n  timeout connect 9s\n"
        f"frontend a\n  bind 127.0.0.1:{port}\n"
        "  http-request return status 200 content-type text/plain"
        ' hdr X-For "%[req.hdr(x-forwarded-for)]" string "hello"\n'
    )
    child = await asyncio.create_subprocess_exec(HAPROXY or "", "-db", "-q", "-f", str(file))
    try:
        async with http_site(Times()) as site:
            await site.serve(port, policy=patient())
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{site.port}") as client:
                async with asyncio.timeout(10):
                    while (await client.get("/")).status_code == 503:  # noqa: ASYNC110 - until HAProxy listens
                        await asyncio.sleep(0.05)
                for _ in range(20):
                    got = await client.get("/")
                    assert (got.text, got.headers["x-for"]) == ("hello", "127.0.0.1")
                assert (await client.post("/", content=b"x" * 100)).text == "hello"
    finally:
        child.terminate()
        await child.wait()
