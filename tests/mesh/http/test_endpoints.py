"""Endpoints that fail, and what clients see of it."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from mesh.model.policies import ConnectionPool, Policy
from mesh.model.routes import Backend, Retry, Rule
from mesh.model.services import Endpoint
from mesh.planes.http import Times
from tests.mesh.http.origins import Asked, Says, head_of, origin, scripted
from tests.mesh.http.site import free_port, http_site, key, patient, until
from tests.mesh.http.wire import get, wire_to

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def ask(site, *headers: str, path: str = "/", method: str = "GET", body: bytes = b""):
    async with wire_to(site.port) as wire:
        wire.say(get(path, *headers, method=method) + body)
        return await wire.answer(method)


async def test_a_connection_that_the_endpoint_closed_while_idle_is_noticed_by_nobody():
    async def script(reader, writer):
        await head_of(reader)
        writer.write(OK)

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for method in ("GET", "POST", "GET", "POST"):
                wire.say(get("/", "Content-Length: 0", method=method))
                assert (await wire.answer(method)).status == 200
        assert there.connections == 4


async def test_a_reused_connection_that_ends_in_place_of_an_answer_is_made_anew():
    async def script(reader, writer):
        await head_of(reader)
        writer.write(OK)
        await head_of(reader)  # and the end, as if the request had met the endpoint's time-out

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for _ in range(4):
                wire.say(get("/", "Content-Length: 4", method="PUT") + b"body")
                assert (await wire.answer("PUT")).status == 200
        assert there.connections == 4
        target = next(iter(site.upstreams.get(key()).targets.values()))
        assert (target.active, target.local_failures) == (0, 0)


async def test_what_must_not_be_done_twice_is_never_sent_twice():
    seen = 0

    async def script(reader, writer):
        nonlocal seen
        while True:
            head = await head_of(reader)
            if head.startswith(b"POST"):
                seen += 1
                return
            writer.write(OK)

    async with scripted(script) as one, scripted(script) as two, http_site() as site:
        rule = Rule((Backend(key()),), retry=Retry(3, frozenset((502, 503))))
        await site.serve(one.port, two.port, policy=patient(), rule=rule)
        await ask(site)
        assert (await ask(site, "Content-Length: 0", method="POST")).status == 502
        assert seen == 1


async def test_a_dead_endpoint_costs_no_request():
    async with origin() as there, http_site() as site:
        await site.serve(free_port(), there.port)
        for number in range(10):
            got = await ask(site, "Content-Length: 1", method=("GET", "POST")[number % 2], body=b"x")
            assert got.status == 200
        assert len(there.asked) == 10


async def test_with_every_endpoint_dead_the_answer_is_503():
    async with http_site() as site:
        await site.serve(free_port(), free_port())
        assert (await ask(site)).status == 503


async def test_an_endpoint_that_resets_is_passed_over_for_what_may_be_repeated():
    async def script(reader, writer):
        await head_of(reader)
        writer.transport.abort()

    async with scripted(script) as bad, origin() as good, http_site() as site:
        await site.serve(bad.port, good.port, policy=patient())
        assert [(await ask(site)).status for _ in range(6)] == [200] * 6
        assert bad.connections > 0
        posts = {(await ask(site, "Content-Length: 0", method="POST")).status for _ in range(6)}
        assert posts == {200, 502}


async def test_answers_with_chosen_codes_are_asked_for_again_elsewhere():
    async with origin(Says(503, b"busy")) as bad, origin() as good, http_site() as site:
        rule = Rule((Backend(key()),), retry=Retry(2, frozenset((503,)), backoff_ms=1))
        await site.serve(bad.port, good.port, policy=patient(), rule=rule)
        assert [(await ask(site)).status for _ in range(6)] == [200] * 6
        assert len(bad.asked) > 0
        found = {(await ask(site, "Content-Length: 0", method="POST")).status for _ in range(4)}
        assert found == {200, 503}


async def test_attempts_are_counted_and_the_last_answer_is_given():
    async with origin(Says(503, b"busy")) as bad, http_site() as site:
        rule = Rule((Backend(key()),), retry=Retry(2, frozenset((503,)), backoff_ms=1))
        await site.serve(bad.port, policy=patient(), rule=rule)
        got = await ask(site)
        assert (got.status, got.body, len(bad.asked)) == (503, b"busy", 3)
        assert site.upstreams.get(key()).retries.active == 0


async def test_a_body_is_sent_again_with_the_next_try():
    async def script(reader, writer):
        await head_of(reader)
        await reader.readexactly(1000)
        writer.transport.abort()

    async def echo(asked: Asked) -> Says:
        return Says(body=asked.body)

    async with scripted(script) as bad, origin(echo) as good, http_site() as site:
        await site.serve(bad.port, good.port, policy=patient())
        for _ in range(4):
            got = await ask(site, "Content-Length: 3000", method="PUT", body=b"abc" * 1000)
            assert (got.status, got.body) == (200, b"abc" * 1000)
        assert bad.connections > 0


async def test_a_body_too_long_to_keep_is_not_repeated():
    async def script(reader, writer):
        await head_of(reader)
        await reader.readexactly(200_000)
        writer.transport.abort()

    async with scripted(script) as one, scripted(script) as two, http_site() as site:
        await site.serve(one.port, two.port, policy=patient())
        got = await ask(site, "Content-Length: 200000", method="PUT", body=b"x" * 200_000)
        assert got.status == 502
        assert one.connections + two.connections == 1


async def test_a_try_that_takes_too_long_goes_elsewhere():
    async def script(reader, writer):
        await reader.read()

    async with scripted(script) as hung, origin() as good, http_site() as site:
        rule = Rule((Backend(key()),), backend_request_ms=50)
        await site.serve(hung.port, good.port, policy=patient(), rule=rule)
        assert [(await ask(site)).status for _ in range(4)] == [200] * 4
        assert hung.connections > 0
        posts = {(await ask(site, "Content-Length: 0", method="POST")).status for _ in range(4)}
        assert posts == {200, 504}


async def test_the_whole_time_of_a_request_is_kept():
    async def script(reader, writer):
        await reader.read()

    async with scripted(script) as one, scripted(script) as two, http_site() as site:
        rule = Rule((Backend(key()),), request_ms=100, backend_request_ms=80, retry=Retry(5))
        await site.serve(one.port, two.port, policy=patient(), rule=rule)
        began = asyncio.get_running_loop().time()
        assert (await ask(site)).status == 504
        assert asyncio.get_running_loop().time() - began < 1.0


async def test_an_endpoint_that_says_nothing_is_waited_for_only_so_long():
    async def script(reader, writer):
        await reader.read()

    async with scripted(script) as there, http_site(Times(answer_s=0.1, tick_s=0.01)) as site:
        await site.serve(there.port, policy=patient())
        assert (await ask(site)).status == 504


BROKEN = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    "inside_a_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n99\r\nonly this",
    "no_chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nnonsense\r\n",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_answer_that_breaks_off_never_looks_whole(name: str):
    async def script(reader, writer):
        await head_of(reader)
        writer.write(BROKEN[name])
        await writer.drain()
        if name == "no_chunk":
            await reader.read()

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get())
            came = await wire.ended()
        body = came.partition(b"\r\n\r\n")[2]
        assert len(body) < 50
        assert not body.endswith(b"0\r\n\r\n")


async def test_an_old_client_sees_by_a_reset_that_chunks_broke_off():
    async def script(reader, writer):
        await head_of(reader)
        writer.write(BROKEN["chunked"])
        await writer.drain()

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", http="1.0"))
            await head_of(wire.reader)
            with pytest.raises(ConnectionError):
                await wire.reader.read()


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 2000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20_000,
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
async def test_what_is_no_answer_becomes_502(answer: bytes):
    async def script(reader, writer):
        await head_of(reader)
        writer.write(answer)
        await reader.read()

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for _ in range(2):
                wire.say(get())
                assert (await wire.answer()).status == 502


async def test_a_client_that_leaves_ends_its_request_at_the_endpoint():
    left = asyncio.Event()

    async def script(reader, writer):
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read()
        left.set()

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get())
            await head_of(wire.reader)
            wire.abort()
            async with asyncio.timeout(10):
                await left.wait()
        target = next(iter(site.upstreams.get(key()).targets.values()))
        await until(lambda: target.active == 0)
        assert target.local_failures == 0


async def test_a_client_that_leaves_while_a_connection_is_made_leaves_it_to_the_next():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get())
            await until(lambda: len(site.carrier) == 1)
            wire.abort()
        await until(lambda: len(site.carrier) == 0)
        assert (await ask(site)).status == 200
        assert there.connections <= 2


async def test_a_slow_reader_slows_the_endpoint_down_and_nothing_piles_up():
    body = bytes(range(256)) * 40_000
    sent = 0

    async def script(reader, writer):
        nonlocal sent
        await head_of(reader)
        writer.transport.set_write_buffer_limits(high=1)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 10_000):
            writer.write(body[at : at + 10_000])
            await writer.drain()
            sent = at + 10_000

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port, slow=True) as wire:
            wire.say(get())
            await wire.reader.readuntil(b"\r\n\r\n")
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.05)
            client = next(iter(site.carrier.clients))
            assert client.transport.get_write_buffer_size() < 1_000_000
            assert sent < len(body)
            assert await wire.reader.readexactly(len(body)) == body


async def test_a_slow_endpoint_slows_the_client_down_and_nothing_piles_up():
    body = bytes(range(256)) * 120_000
    going = asyncio.Event()

    async def script(reader, writer):
        await head_of(reader)
        await going.wait()
        assert await reader.readexactly(len(body)) == body
        writer.write(OK)
        await reader.read()

    async with scripted(script, narrow=True) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", f"Content-Length: {len(body)}", method="POST") + body)
            left = -1
            while left != wire.writer.transport.get_write_buffer_size():
                left = wire.writer.transport.get_write_buffer_size()
                await asyncio.sleep(0.05)
            assert left > 0
            going.set()
            assert (await wire.answer("POST")).body == b"ok"


async def test_an_answer_is_waited_for_from_the_end_of_the_request_on():
    async def script(reader, writer):
        await head_of(reader)
        await reader.readexactly(6)
        writer.write(OK)
        await reader.read()

    async with scripted(script) as there, http_site(Times(answer_s=0.3, tick_s=0.01)) as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Content-Length: 6", method="POST"))
            for _ in range(6):
                await asyncio.sleep(0.1)
                wire.say(b"x")
            assert (await wire.answer("POST")).body == b"ok"


async def test_a_large_body_of_chunks_goes_both_ways():
    async def echo(asked: Asked) -> Says:
        return Says(body=asked.body, chunked=True)

    body = bytes(range(256)) * 40_000
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Transfer-Encoding: chunked", method="POST"))
            for at in range(0, len(body), 70_000):
                piece = body[at : at + 70_000]
                wire.say(b"%x\r\n%b\r\n" % (len(piece), piece))
                await wire.writer.drain()
            wire.say(b"0\r\n\r\n")
            assert (await wire.answer("POST")).body == body


async def test_an_endpoint_behind_a_gateway_is_reached_through_its_tunnel():
    class Tunnel:
        def __init__(self, port: int) -> None:
            self.port = port
            self.dialled: list[tuple[str, float]] = []

        async def dial(self, port, endpoint, timeout_s):
            self.dialled.append((endpoint.via, timeout_s))
            sock = socket.create_connection(("127.0.0.1", self.port))
            sock.setblocking(False)
            return sock

    async with origin() as there:
        tunnel = Tunnel(there.port)
        far = Endpoint("10.9.9.9", 80, via="gateway-b")
        async with http_site(dialer=tunnel) as site:
            await site.serve(far, policy=patient())
            assert [(await ask(site)).status for _ in range(2)] == [200, 200]
        assert tunnel.dialled == [("gateway-b", 5.0)]
        hasty = Policy(pool=ConnectionPool(connect_timeout_ms=100))
        async with http_site(dialer=tunnel) as site:
            await site.serve(far, policy=hasty)
            assert (await ask(site)).status == 200
        assert tunnel.dialled[-1] == ("gateway-b", 4.0)
    async with http_site() as site:
        await site.serve(far, policy=patient())
        assert (await ask(site)).status == 503


async def test_connections_to_endpoints_that_do_not_stand_in_time_are_given_up():
    """A listener whose queue is full lets nobody in, and says nothing, as a dead machine does."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        async with origin() as good, http_site() as site:
            policy = Policy(pool=ConnectionPool(connect_timeout_ms=100), outlier=None)
            await site.serve(port, good.port, policy=policy)
            assert [(await ask(site)).status for _ in range(4)] == [200] * 4
            await site.serve(port, policy=replace(policy))
            assert (await ask(site)).status == 503
        for filler in fillers:
            filler.close()
