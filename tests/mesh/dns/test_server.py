"""The server on real sockets of loopback, asked by dig and dnspython, on both event loops."""

import asyncio
import contextlib
import random
import socket
import struct
import time
from dataclasses import replace

import dns.asyncquery
import dns.flags
import dns.message
import dns.query
import pytest
import uvloop

from mesh.dns import DnsServer, DnsSettings, DnsUnavailable, tcp
from mesh.model.services import Endpoint
from mesh.model.table import Table
from tests.mesh.dns.asking import HERE, PLANT, code, dig, headless, key, serving, shown, values, virtual

SVC = "default.svc.cluster.local"
WEB = f"web.{SVC}"


async def udp(server, name, kind="A", **more):
    place = server.places[0]
    return await dns.asyncquery.udp(dns.message.make_query(name, kind, **more), place.address, 5, place.port)


async def over_tcp(server, name, kind="A", **more):
    place = server.places[0]
    return await dns.asyncquery.tcp(dns.message.make_query(name, kind, **more), place.address, 5, place.port)


async def eventually(condition, timeout_s=10.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.005)


async def test_dig_gets_its_answers():
    async with serving() as server:
        assert await dig(server, WEB, "+short") == "127.96.0.1\n"
        assert await dig(server, WEB, "+short", "+tcp") == "127.96.0.1\n"
        assert await dig(server, "-x", "127.96.0.1", "+short") == f"{WEB}.\n"
        assert await dig(server, f"_http._tcp.{WEB}", "SRV", "+short") == f"0 1 80 {WEB}.\n"
        assert "status: NXDOMAIN" in await dig(server, f"no.{SVC}")
        assert "status: BADVERS" in await dig(server, WEB, "+edns=1", "+noednsnegotiation")
        assert "Transfer failed" in await dig(server, "cluster.local", "AXFR")
        assert "127.96.0.1" in await dig(server, WEB, "+bufsize=512", "+cookie=0011223344556677")


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_both_event_loops_answer_over_udp_and_tcp(run):
    async def ask() -> None:
        async with serving() as server:
            place = server.places[0]
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            sock.connect((place.address, place.port))
            queries = [
                dns.message.make_query(WEB, "A", id=number) for number in range(150)
            ]  # as many as fit into a small socket buffer
            with sock:
                for query in queries:
                    sock.send(query.to_wire())
                loop = asyncio.get_running_loop()
                async with asyncio.timeout(10):
                    got = [dns.message.from_wire(await loop.sock_recv(sock, 4096)) for _ in queries]
            assert [one.id for one in got] == list(range(150))
            assert all(values(one) == ["127.96.0.1"] for one in got)
            assert values(await asyncio.to_thread(_ask_tcp, place)) == ["127.96.0.1"]

    run(ask())


def _ask_tcp(place):
    return dns.query.tcp(dns.message.make_query(WEB, "A"), place.address, 5, place.port)


async def test_a_truncated_answer_comes_whole_over_tcp():
    many = headless("many", *(Endpoint(f"10.1.{n // 250}.{n % 250}", 1) for n in range(400)))
    async with serving([many]) as server:
        short = await udp(server, f"many.{SVC}")
        assert short.flags & dns.flags.TC
        assert not short.answer
        assert len(values(await over_tcp(server, f"many.{SVC}"))) == 400
        assert len((await dig(server, f"many.{SVC}", "+short")).splitlines()) == 400


async def test_queries_on_one_connection_are_answered_without_waiting_for_each_other():
    async with serving() as server:
        reader, writer = await asyncio.open_connection(server.places[0].address, server.places[0].port)
        asked = [
            dns.message.make_query(WEB if number % 2 else f"no{number}.{SVC}", "A", id=number) for number in range(200)
        ]
        frames = b"".join(struct.pack("!H", len(one.to_wire())) + one.to_wire() for one in asked)
        for at in range(0, len(frames), 777):  # cut anywhere
            writer.write(frames[at : at + 777])
            await writer.drain()
        got = set()
        async with asyncio.timeout(10):
            while len(got) < 200:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                got.add(dns.message.from_wire(await reader.readexactly(length)).id)
        writer.close()


async def test_a_client_that_has_said_all_gets_its_answers_and_then_the_end():
    async with serving() as server:
        reader, writer = await asyncio.open_connection(server.places[0].address, server.places[0].port)
        wire = dns.message.make_query(WEB, "A").to_wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
        writer.write_eof()
        async with asyncio.timeout(10):
            everything = await reader.read()
        assert values(dns.message.from_wire(everything[2:])) == ["127.96.0.1"]
        writer.close()


async def test_a_client_that_says_nothing_or_nonsense_is_hung_up_on(monkeypatch):
    monkeypatch.setattr(tcp, "IDLE_S", 0.1)
    async with serving() as server:
        place = server.places[0]
        for said in (b"", b"\x00", b"\x00\x40half", b"\x00\x03abc", b"\x00\x00", b"GET / HTTP/1.1\r\n\r\n" * 200):
            reader, writer = await asyncio.open_connection(place.address, place.port)
            writer.write(said)
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b"" or said.startswith(b"GET")
            writer.close()
        assert values(await over_tcp(server, WEB)) == ["127.96.0.1"]
        await eventually(lambda: not server._connections.open)


async def test_connections_are_bounded_and_udp_goes_on():
    async with serving() as server:
        place = server.places[0]
        opened = [await asyncio.open_connection(place.address, place.port) for _ in range(tcp.MAX_CONNECTIONS)]
        await eventually(lambda: len(server._connections.open) == tcp.MAX_CONNECTIONS)
        reader, writer = await asyncio.open_connection(place.address, place.port)
        async with asyncio.timeout(10):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        assert values(await udp(server, WEB)) == ["127.96.0.1"]
        for _, one in (*opened, (reader, writer)):
            one.close()
        await eventually(lambda: not server._connections.open)
        assert values(await over_tcp(server, WEB)) == ["127.96.0.1"]


async def test_a_client_that_does_not_read_its_answers_is_not_read_either():
    many = headless("many", *(Endpoint(f"10.1.{n // 250}.{n % 250}", 1) for n in range(2000)))
    async with serving([many]) as server:
        place = server.places[0]
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        with sock:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (place.address, place.port))
            wire = dns.message.make_query(f"many.{SVC}", "A").to_wire()
            frame = struct.pack("!H", len(wire)) + wire
            sent = asyncio.create_task(loop.sock_sendall(sock, frame * 200_000))
            await eventually(lambda: any(one._full for one in server._connections.open))
            asked = server.counters.queries
            assert values(await udp(server, f"many.{SVC}")) == []
            assert server.counters.queries <= asked + 2
            assert not sent.done()
            sent.cancel()


async def test_an_address_that_is_not_there_yet_is_bound_ahead():
    async with serving(settings=replace(HERE, listen=("127.0.0.1:0", "192.0.2.77:0"))) as server:
        assert server.places[1].address == "192.0.2.77"
        assert values(await udp(server, WEB)) == ["127.96.0.1"]


async def test_an_address_that_is_taken_is_named_with_what_to_do():
    async with serving() as server:
        taken = str(server.places[0])
        other = DnsServer(DnsSettings(listen=(taken,)), rng=random.Random(1))
        with pytest.raises(DnsUnavailable, match=f"cannot listen at {taken}.*another address"):
            await other.open()
        assert values(await udp(server, WEB)) == ["127.96.0.1"]
    await other.open()
    await other.close()


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1:99999", "[::1", "", "1.2.3.4:x"])
def test_a_place_that_is_none_is_refused(text):
    with pytest.raises(DnsUnavailable, match="cannot listen at"):
        DnsServer(DnsSettings(listen=(text,)), rng=random.Random(1))


async def test_ipv6_is_served_too():
    async with serving(settings=replace(HERE, listen=("[::1]:0",))) as server:
        assert values(await udp(server, WEB)) == ["127.96.0.1"]
        assert values(await over_tcp(server, WEB)) == ["127.96.0.1"]


@pytest.mark.parametrize(
    ("listen", "asked"), [("0.0.0.0:0", "127.0.0.1"), ("0.0.0.0:0", "127.7.7.7"), ("[::]:0", "::1")]
)
async def test_on_all_addresses_each_answer_comes_from_the_one_that_was_asked(listen, asked):
    async with serving(settings=replace(HERE, listen=(listen,))) as server:
        for query in (dns.message.make_query(WEB, "A"), dns.message.make_query(WEB, "A")):
            answer = await dns.asyncquery.udp(query, asked, 5, server.places[0].port)
            assert values(answer) == ["127.96.0.1"]
        assert server.counters.queries == 2


async def test_several_servers_share_one_port_where_they_are_told_to():
    shared = replace(HERE, shared=True)
    async with (
        serving(settings=shared) as first,
        serving(settings=replace(shared, listen=(str(first.places[0]),))) as second,
    ):
        assert second.places == first.places
        for _ in range(20):
            assert values(await udp(first, WEB)) == ["127.96.0.1"]


async def test_garbage_and_floods_do_not_stop_it():
    rng = random.Random(3)
    async with serving() as server:
        place = server.places[0]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            for _ in range(2000):
                sock.sendto(rng.randbytes(rng.randrange(1, 200)), (place.address, place.port))
                if not _ % 100:
                    await asyncio.sleep(0)
        assert values(await udp(server, WEB)) == ["127.96.0.1"]


async def test_a_change_of_one_endpoint_among_a_thousand_services_is_seen_at_once():
    services = [
        headless(f"svc{n}", *(Endpoint(f"10.{n // 250}.{n % 250}.{m}", 8080) for m in range(4))) for n in range(1000)
    ]
    table = Table(services={one.key: one for one in services})
    async with serving(services) as server:
        for one in services:
            await udp(server, f"{one.key.name}.{SVC}") if one.key.name < "svc2" else None
        changed = headless("svc500", Endpoint("10.99.0.1", 8080))
        began_s = time.perf_counter()
        server.program(Table(services={**table.services, changed.key: changed}))
        answer = await udp(server, f"svc500.{SVC}")
        took_s = time.perf_counter() - began_s
        assert values(answer) == ["10.99.0.1"]
        assert took_s < 0.2  # the figure mesh.dns.visible says how fast it is


async def test_a_table_that_is_the_same_changes_nothing():
    async with serving() as server:
        await udp(server, WEB)
        ready = dict(server._answers.ready)
        server.program(Table(services={one.key: replace(one) for one in PLANT}))
        assert ready
        assert server._answers.ready == ready


async def test_changes_under_load_never_give_a_wrong_answer():
    addresses = {f"127.96.1.{n}" for n in range(250)}
    async with serving([virtual("web", "127.96.1.0")]) as server:
        stop = asyncio.Event()

        async def change() -> None:
            for number in range(1000):
                server.apply([virtual("web", f"127.96.1.{number % 250}")])
                await asyncio.sleep(0)
            stop.set()

        changing = asyncio.create_task(change())
        asked = 0
        while not stop.is_set():
            answer = await udp(server, WEB)
            assert set(values(answer)) <= addresses
            assert len(values(answer)) == 1
            asked += 1
        await changing
        assert asked > 10
        assert values(await udp(server, WEB)) == ["127.96.1.249"]


async def test_services_that_clients_ask_for_are_told():
    asked = []
    async with serving(asked=asked.append) as server:
        await udp(server, WEB)
        await udp(server, WEB)
        await udp(server, f"unknown.{SVC}")
    assert asked == [key("web"), key("unknown")]


async def test_counters_tell_what_happened():
    async with serving() as server:
        for name in (WEB, WEB, "www.example.com"):
            await udp(server, name)
        counters = server.counters
        assert (counters.queries, counters.own, counters.refused) == (3, 1, 1)


async def test_without_forwarding_a_cname_that_leads_away_is_all_there_is():
    async with serving() as server:
        answer = await udp(server, f"far.{SVC}")
        assert (code(answer), shown(answer)) == ("NOERROR", [f"far.{SVC}. 5 CNAME www.example.com."])
