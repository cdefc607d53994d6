"""Clients that send what they should not, or too slowly: each is told, cut off, and harms nobody else."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.mesh.http.origins import Says, origin
from tests.mesh.http.site import http_site, patient, until
from tests.mesh.http.smuggling import REFUSED, UNFINISHED
from tests.mesh.http.wire import get, wire_to

SECOND = b"GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n"


async def test_each_known_way_to_smuggle_a_request_is_refused_and_the_connection_ends():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        for name, status, head in REFUSED + UNFINISHED:
            async with wire_to(site.port) as wire:
                wire.say(get("/first"))
                assert (await wire.answer()).status == 200
                wire.say(head + b"0\r\n\r\n" + SECOND)
                came = await wire.ended()
                assert came.startswith(b"HTTP/1.1 %d " % status), (name, came)
                assert len(re.findall(rb"HTTP/1.1 \d", came)) == 1, name
                assert b"\r\nConnection: close\r\n" in came, name
        assert {asked.target for asked in there.asked} == {"/first"}


@pytest.mark.parametrize(
    "body",
    [b"5\nhello\r\n0\r\n\r\n", b"xyz\r\n", b"5\r\nhelloo\r\n", b"0\r\nX : y\r\n\r\n", b"-1\r\n", b"5;\0\r\nhello\r\n"],
)
async def test_a_body_that_is_no_chunks_is_refused_and_what_follows_is_no_request(body: bytes):
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Transfer-Encoding: chunked", method="POST") + body + SECOND)
            came = await wire.ended()
        assert came.startswith(b"HTTP/1.1 400 ")
        assert len(re.findall(rb"HTTP/1.1 \d", came)) == 1
        assert not there.asked


async def test_a_body_is_not_taken_for_a_request():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", f"Content-Length: {len(SECOND)}", method="GET") + SECOND)
            assert (await wire.answer()).status == 200
        assert [(one.target, one.body) for one in there.asked] == [("/", SECOND)]


async def test_empty_lines_before_a_request_are_passed_over():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(b"\r\n\r\n" + get("/"))
            assert (await wire.answer()).status == 200


async def test_a_head_that_comes_too_slowly_is_given_up():
    async with http_site() as site:
        await site.rules()
        async with wire_to(site.port) as wire:
            wire.say(b"GET / HTTP/1.1\r\n")
            ended = asyncio.create_task(wire.ended())
            while not ended.done():
                wire.say(b"X: y\r\n")
                await asyncio.wait([ended], timeout=0.05)
            assert ended.result().startswith(b"HTTP/1.1 408 ")
        await until(lambda: not site.carrier.clients)


async def test_a_body_that_stops_coming_is_given_up():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Content-Length: 10", method="POST") + b"half")
            assert (await wire.ended()).startswith(b"HTTP/1.1 408 ")
        await until(lambda: not there.open)
        assert not there.asked


async def test_a_head_in_many_pieces_is_refused_once_it_is_too_long():
    async with http_site() as site:
        await site.rules()
        async with wire_to(site.port) as wire:
            wire.say(b"GET / HTTP/1.1\r\n")
            for _ in range(200):
                wire.say(b"X-Long: " + b"y" * 100 + b"\r\n")
                await asyncio.sleep(0)
            assert (await wire.ended()).startswith(b"HTTP/1.1 431 ")


async def test_a_client_that_sends_ahead_without_end_is_not_taken_from():
    async def slow(asked):
        await asyncio.sleep(0.3)
        return Says()

    async with origin(slow) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/") * 400_000)
            await until(lambda: there.asked)
            await asyncio.sleep(0.1)
            assert wire.writer.transport.get_write_buffer_size() > 0
            wire.abort()


async def test_a_client_that_asks_on_and_on_and_reads_nothing_gets_no_more():
    async with origin(Says(body=b"x" * 20_000)) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port, slow=True) as wire:
            wire.say(get("/") * 2000)
            before = -1
            while before != len(there.asked):
                before = len(there.asked)
                await asyncio.sleep(0.1)
            client = next(iter(site.carrier.clients))
            assert client.transport.get_write_buffer_size() < 1_000_000
            assert len(there.asked) < 1000
            assert len(await wire.answers(*["GET"] * 2000)) == 2000


async def test_nonsense_on_one_connection_disturbs_no_other():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as good:
            for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0" * 100, b"SSH-2.0-x\r\n", b"\n\n"):
                async with wire_to(site.port) as bad:
                    bad.say(nonsense)
                    assert (await bad.ended()).startswith(b"HTTP/1.1 400 ")
                good.say(get("/"))
                assert (await good.answer()).status == 200
