"""What clients and endpoints say to each other through the HTTP plane."""

from __future__ import annotations

import asyncio

import pytest

from mesh.model.routes import Backend, HeaderModifier, Rule
from tests.mesh.http.origins import Asked, Says, head_of, origin, scripted
from tests.mesh.http.site import http_site, key, patient, until
from tests.mesh.http.wire import get, wire_to


async def echo(asked: Asked) -> Says:
    return Says(body=asked.body, headers=[("x-method", asked.method), ("x-target", asked.target)])


async def test_a_connection_serves_one_request_after_the_other():
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for number in range(5):
                wire.say(get(f"/things/{number}?a=b"))
                got = await wire.answer()
                assert (got.status, got.headers["x-target"]) == (200, f"/things/{number}?a=b")
        assert there.connections == 1


async def test_a_client_that_says_close_gets_its_answer_and_the_end():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Connection: close"))
            got = await wire.answer()
            assert (got.body, got.headers["connection"]) == (b"hello", "close")
            assert await wire.ended() == b""


async def test_an_old_client_gets_the_end_unless_it_asks_for_more():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Connection: keep-alive", http="1.0"))
            assert (await wire.answer()).headers["connection"] == "keep-alive"
            wire.say(get("/", http="1.0"))
            assert (await wire.answer()).headers["connection"] == "close"
            assert await wire.ended() == b""


async def test_an_old_client_without_a_host_is_served():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(b"GET / HTTP/1.0\r\n\r\n")
            assert (await wire.answer()).body == b"hello"


async def test_an_old_client_gets_chunks_unwrapped_and_the_end():
    async with origin(Says(body=b"long" * 1000, chunked=True)) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Connection: keep-alive", http="1.0"))
            got = await wire.answer()
            assert got.body == b"long" * 1000
            assert "transfer-encoding" not in got.headers
            assert got.headers["connection"] == "close"


async def test_head_has_no_body_and_keeps_the_connection():
    async with origin(Says(body=b"not sent")) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for _ in range(3):
                wire.say(get("/", method="HEAD"))
                got = await wire.answer("HEAD")
                assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "8")
            wire.say(get("/"))
            assert (await wire.answer()).body == b"not sent"
        assert there.connections == 1


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_end_with_their_head(status: int):
    async def script(reader, writer):
        while True:
            await head_of(reader)
            writer.write(b"HTTP/1.1 %d Fine\r\nETag: x\r\n\r\n" % status)

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for _ in range(2):
                wire.say(get("/"))
                got = await wire.answer()
                assert (got.status, got.body, got.headers["etag"]) == (status, b"", "x")


async def test_bodies_with_a_length_and_in_chunks_arrive_as_they_were():
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Content-Length: 5", method="POST") + b"first")
            assert (await wire.answer("POST")).body == b"first"
            wire.say(get("/", "Transfer-Encoding: chunked", method="POST") + b"3;x=y\r\nsec\r\n3\r\nond\r\n0\r\n\r\n")
            assert (await wire.answer("POST")).body == b"second"
            wire.say(get("/", "Content-Length: 0", method="PUT"))
            assert (await wire.answer("PUT")).body == b""
        assert [one.header("content-length") for one in there.asked] == ["5", None, "0"]
        assert there.asked[1].header("transfer-encoding") == "chunked"


async def test_trailers_travel_both_ways():
    answer = Says(body=b"sum", chunked=True, trailers=[("x-sum", "42")])
    async with origin(answer) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            body = b"2\r\nhi\r\n0\r\nX-Check: 7\r\nContent-Length: 99\r\n\r\n"
            wire.say(get("/", "Transfer-Encoding: chunked", method="POST") + body)
            got = await wire.answer("POST")
        assert (got.body, got.trailers) == (b"sum", {"x-sum": "42"})
        assert there.asked[0].trailers == [("x-check", "7")]


async def test_every_byte_may_come_alone():
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        requests = (
            get("/a?b", "X-One: 1")
            + get("/b", "Content-Length: 4", method="POST")
            + b"body"
            + get("/c", "Transfer-Encoding: chunked", method="POST")
            + b"a;e=1\r\n0123456789\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
        )
        async with wire_to(site.port) as wire:
            for byte in requests:
                wire.say(bytes((byte,)))
                await asyncio.sleep(0)
            got = await wire.answers("GET", "POST", "POST")
        assert [one.body for one in got] == [b"", b"body", b"0123456789abc"]


async def test_a_head_may_come_in_two_pieces_cut_anywhere():
    head = get("/a")
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            await until(lambda: site.carrier.clients)
            [client] = site.carrier.clients
            for cut in range(1, len(head)):
                client.data_received(head[:cut])
                client.data_received(head[cut:])
                assert (await wire.answer()).headers["x-target"] == "/a"


async def test_a_line_end_before_a_request_is_passed_over():
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(b"\r\n" + get("/a"))
            assert (await wire.answer()).headers["x-target"] == "/a"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_an_answer_may_come_in_any_pieces(size: int):
    whole = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x\r\n!\r\n0\r\nX-T: 1\r\n\r\n"
    )

    async def script(reader, writer):
        for _ in range(2):
            await head_of(reader)
            for at in range(0, len(whole), size):
                writer.write(whole[at : at + size])
                await writer.drain()
                await asyncio.sleep(0)

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for _ in range(2):
                wire.say(get("/"))
                got = await wire.answer()
                assert (got.body, got.trailers, got.interim) == (b"hello!", {"x-t": "1"}, [(103, {"link": "</a>"})])
        assert there.connections == 1


async def test_an_answer_that_ends_with_its_connection_goes_on_in_chunks():
    async def script(reader, writer):
        await head_of(reader)
        writer.write(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nuntil the end")

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for _ in range(2):
                wire.say(get("/"))
                got = await wire.answer()
                assert (got.body, got.headers["transfer-encoding"]) == (b"until the end", "chunked")
        assert there.connections == 2


async def test_continue_is_said_by_the_endpoint_and_passed_on():
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Expect: 100-continue", "Content-Length: 4", method="PUT"))
            assert await head_of(wire.reader) == b"HTTP/1.1 100 \r\n\r\n"
            wire.say(b"body")
            assert (await wire.answer("PUT")).body == b"body"


async def test_a_refusal_before_the_body_is_passed_on_and_the_connection_ends():
    async def script(reader, writer):
        await head_of(reader)
        writer.write(b"HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Content-Length: 1000000", method="POST") + b"x" * 1000)
            got = await wire.answer("POST")
            assert (got.status, got.body, got.headers["connection"]) == (413, b"no", "close")
            assert await wire.ended() == b""


async def test_pipelined_requests_are_answered_in_their_order():
    async def slow_first(asked: Asked) -> Says:
        if asked.target == "/0":
            await asyncio.sleep(0.05)
        return Says(body=asked.target.encode())

    async with origin(slow_first) as one, origin(slow_first) as two, http_site() as site:
        await site.serve(one.port, two.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(b"".join(get(f"/{number}") for number in range(50)))
            got = await wire.answers(*["GET"] * 50)
        assert [answer.body for answer in got] == [b"/%d" % number for number in range(50)]


async def test_thousands_of_pipelined_requests_that_no_rule_is_for_are_answered_too():
    async with http_site() as site:
        await site.rules()
        async with wire_to(site.port) as wire:
            wire.say(get("/") * 3000)
            wire.say_no_more()
            assert (await wire.ended()).count(b"HTTP/1.1 404 ") == 3000


async def test_a_client_that_ends_its_side_still_gets_what_it_asked_for():
    async with origin(echo) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/1") + get("/2"))
            wire.say_no_more()
            assert len(await wire.answers("GET", "GET")) == 2
            assert await wire.ended() == b""


async def test_the_endpoint_learns_who_asked_and_gets_no_headers_of_the_hop():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        hop = (
            "Connection: keep-alive, X-Secret",
            "X-Secret: 1",
            "Keep-Alive: 5",
            "TE: trailers",
            "Proxy-Connection: x",
        )
        async with wire_to(site.port) as wire:
            wire.say(get("/", *hop, "X-Kept: 2", host="shop.default:99"))
            await wire.answer()
            wire.say(get("/", "X-Forwarded-For: 10.0.0.9", "X-Forwarded-Proto: https", "X-Request-Id: mine"))
            await wire.answer()
        first, second = there.asked
        names = {name for name, _ in first.headers}
        assert not names & {"connection", "x-secret", "keep-alive", "te", "proxy-connection"}
        assert (first.header("host"), first.header("x-kept")) == ("shop.default:99", "2")
        assert first.header("x-forwarded-for") == "127.0.0.1"
        assert first.header("x-forwarded-proto") == "http"
        assert first.header("x-forwarded-host") == "shop.default:99"
        assert len(first.header("x-request-id") or "") >= 16
        assert second.header("x-forwarded-for") == "10.0.0.9, 127.0.0.1"
        assert second.header("x-forwarded-proto") == "https"
        assert second.header("x-request-id") == "mine"


async def test_headers_of_the_endpoints_hop_do_not_reach_the_client():
    async def script(reader, writer):
        while True:
            await head_of(reader)
            writer.write(
                b"HTTP/1.1 200 OK\r\nConnection: X-Inner\r\nX-Inner: 1\r\nKeep-Alive: 3\r\nContent-Length: 0\r\n\r\n"
            )

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/"))
            assert (await wire.answer()).headers == {"content-length": "0"}


async def test_headers_of_answers_are_changed_as_the_rule_says():
    modifier = HeaderModifier(response=True, set=(("X-A", "1"),), add=(("X-B", "2"),), remove=("Server",))
    async with origin(Says(headers=[("server", "s"), ("x-a", "0"), ("x-b", "0")])) as there, http_site() as site:
        await site.serve(there.port, policy=patient(), rule=Rule((Backend(key()),), filters=(modifier,)))
        async with wire_to(site.port) as wire:
            wire.say(get("/"))
            got = await wire.answer()
        assert (got.headers["x-a"], got.body, "server" in got.headers) == ("1", b"hello", False)


async def test_an_upgrade_becomes_a_tunnel_both_ways():
    async def script(reader, writer):
        head = await head_of(reader)
        assert b"\r\nConnection: upgrade\r\nUpgrade: chat\r\n" in head
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello ")
        while said := await reader.read(100):
            writer.write(said.upper())
        writer.write(b" bye")

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Connection: Upgrade", "Upgrade: chat"))
            head = await head_of(wire.reader)
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"Upgrade: chat" in head
            wire.say(b"abc")
            assert await wire.reader.readexactly(9) == b"hello ABC"
            wire.say_no_more()
            assert await wire.ended() == b" bye"


async def test_an_upgrade_that_the_endpoint_does_not_want_is_a_plain_request():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for _ in range(2):
                wire.say(get("/", "Connection: Upgrade", "Upgrade: chat"))
                assert (await wire.answer()).body == b"hello"


async def test_http_2_is_not_offered_to_the_endpoint():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            wire.say(get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"))
            assert (await wire.answer()).body == b"hello"
        names = {name for name, _ in there.asked[0].headers}
        assert not names & {"upgrade", "http2-settings", "connection"}
