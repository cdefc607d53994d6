"""Other people's names: asked, kept, and answered from what was kept when nobody is there to ask."""

import asyncio
import struct
import time
from contextlib import asynccontextmanager
from itertools import pairwise

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from mesh.dns import forward
from mesh.dns import upstreams as upstream_rules
from tests.mesh.dns.asking import PLANT, code, dig, serving, shown, upstream_settings, values
from tests.mesh.dns.upstream import dnsmasq, failing, is_up, saying, silence, upstream

SVC = "default.svc.cluster.local"
WWW = "www.example.com"


class Later:
    """The monotonic clock, moved on by hand."""

    def __init__(self) -> None:
        self.by_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.by_s


@pytest.fixture(autouse=True)
def brisk(monkeypatch):
    """Time-outs as on a quick network."""
    monkeypatch.setattr(upstream_rules, "FIRST_TIMEOUT_S", 0.15)
    monkeypatch.setattr(upstream_rules, "MIN_TIMEOUT_S", 0.3)
    monkeypatch.setattr(forward, "MAX_TIMEOUT_S", 0.6)


@asynccontextmanager
async def behind(replies, clock=time.monotonic):
    """A server that forwards, and the one that it asks."""
    async with upstream(replies) as other, serving(PLANT, upstream_settings(other.place), clock) as server:
        yield server, other


async def ask(server, name=WWW, kind="A", *, tcp=False, **more):
    place = server.places[0]
    query = dns.message.make_query(name, kind, **more)
    how = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await how(query, place.address, 8, place.port)


@pytest.fixture
def closed_port(free_port):
    return f"127.0.0.1:{free_port()}"


async def test_a_real_server_upstream_is_asked_for_what_is_not_ours(free_port):
    texts = "txt-record=long.example.com," + ",".join(f"{n:03}" + "x" * 200 for n in range(10))
    records = ("host-record=www.example.com,192.0.2.1,2001:db8::1", "cname=w.example.com,www.example.com", texts)
    with dnsmasq(free_port(), *records) as place:
        await is_up(place)
        async with serving(settings=upstream_settings(place)) as server:
            assert values(await ask(server)) == ["192.0.2.1"]
            assert values(await ask(server, kind="AAAA")) == ["2001:db8::1"]
            assert values(await ask(server, "w.example.com")) == ["www.example.com.", "192.0.2.1"]
            assert code(await ask(server, "no.example.com")) == "NXDOMAIN"
            assert code(await ask(server, kind="MX")) == "NOERROR"
            assert values(await ask(server, f"web.{SVC}")) == ["127.96.0.1"]
            assert values(await ask(server, f"far.{SVC}")) == [f"{WWW}.", "192.0.2.1"]
            assert (await ask(server, "long.example.com", "TXT")).flags & dns.flags.TC
            assert len(values(await ask(server, "long.example.com", "TXT", tcp=True))) == 1
            assert "192.0.2.1" in await dig(server, WWW, "+dnssec", "+cookie=0011223344556677")
            assert (await ask(server)).flags & dns.flags.RA


async def test_a_name_of_a_search_list_is_denied_as_quickly_as_the_server_upstream_does(free_port):
    with dnsmasq(free_port()) as place:
        await is_up(place)
        async with serving(settings=upstream_settings(place)) as server:
            began_s = time.monotonic()
            assert code(await ask(server, f"web.{SVC}.example.com")) == "NXDOMAIN"
            assert time.monotonic() - began_s < 2


async def test_what_was_said_is_kept_for_as_long_as_it_holds():
    clock = Later()
    async with behind(saying("192.0.2.1", ttl=100), clock=clock) as (server, other):
        assert shown(await ask(server)) == [f"{WWW}. 100 A 192.0.2.1"]
        clock.by_s = 60
        assert shown(await ask(server, "WWW.example.com")) == ["WWW.example.com. 40 A 192.0.2.1"]
        assert len(other.queries) == 1
        clock.by_s = 101
        assert shown(await ask(server)) == [f"{WWW}. 100 A 192.0.2.1"]
        assert len(other.queries) == 2


async def test_equal_questions_at_one_time_are_asked_once():
    release = []

    def later(query):
        release.append(query)

    async with behind(later) as (server, other):
        asking = [asyncio.create_task(ask(server)) for _ in range(50)]
        async with asyncio.timeout(5):
            while not release:  # noqa: ASYNC110 what is waited for has no event
                await asyncio.sleep(0.005)
        while server.counters.queries < 50:  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.005)
        other.transport.sendto(saying("192.0.2.1")(release[0]), other.clients[0])
        for one in await asyncio.gather(*asking):
            assert values(one) == ["192.0.2.1"]
        assert len(other.queries) == 1


async def test_when_the_line_is_down_what_was_kept_is_answered_for_a_day_with_30_seconds():
    clock = Later()
    async with behind(saying("192.0.2.1", ttl=60), clock=clock) as (server, other):
        await ask(server)
        other.replies = silence
        clock.by_s = 100
        for _ in range(3):
            answer = await ask(server)
            assert (code(answer), shown(answer)) == ("NOERROR", [f"{WWW}. 30 A 192.0.2.1"])
        clock.by_s = 60 + 24 * 3600 - 60
        assert shown(await ask(server)) == [f"{WWW}. 30 A 192.0.2.1"]
        clock.by_s = 60 + 24 * 3600 + 60
        assert code(await ask(server)) == "SERVFAIL"
        assert server.counters.stale >= 4


async def test_a_stale_answer_comes_within_half_a_second_and_the_fresh_one_when_it_is_there():
    clock = Later()
    async with behind(saying("192.0.2.1", ttl=60), clock=clock) as (server, other):
        await ask(server)
        held = []
        other.replies = held.append
        clock.by_s = 100
        assert shown(await ask(server)) == [f"{WWW}. 30 A 192.0.2.1"]
        other.transport.sendto(saying("192.0.2.2", ttl=60)(held[-1]), other.clients[-1])
        async with asyncio.timeout(5):
            while values(await ask(server)) != ["192.0.2.2"]:  # noqa: ASYNC110 what is waited for has no event
                await asyncio.sleep(0.01)


async def test_after_a_failure_nobody_is_asked_again_for_half_a_minute_where_there_is_a_stale_answer():
    clock = Later()
    async with behind(saying("192.0.2.1", ttl=60), clock=clock) as (server, other):
        await ask(server)
        other.replies = failing(dns.rcode.SERVFAIL)
        clock.by_s = 100
        assert values(await ask(server)) == ["192.0.2.1"]
        asked = len(other.queries)
        clock.by_s = 125
        assert values(await ask(server)) == ["192.0.2.1"]
        assert len(other.queries) == asked
        other.replies = saying("192.0.2.9", ttl=60)
        clock.by_s = 131
        assert values(await ask(server)) == ["192.0.2.9"]


async def test_without_anything_kept_a_dead_network_is_a_failure_at_once(closed_port):
    async with serving(settings=upstream_settings(closed_port)) as server:
        for _ in range(3):
            began_s = time.monotonic()
            assert code(await ask(server)) == "SERVFAIL"
            assert time.monotonic() - began_s < 1
        assert values(await ask(server, f"web.{SVC}")) == ["127.96.0.1"]
        assert code(await ask(server, f"far.{SVC}")) == "SERVFAIL"
        assert values(await ask(server, f"far.{SVC}")) == [f"{WWW}."]


async def test_a_black_hole_costs_the_first_question_a_moment_and_the_others_nothing():
    async with behind(silence) as (server, _):
        began_s = time.monotonic()
        assert code(await ask(server)) == "SERVFAIL"
        assert time.monotonic() - began_s < forward.DEADLINE_S + 0.5
        began_s = time.monotonic()
        answers = await asyncio.gather(*(ask(server, f"n{number}.example.com") for number in range(20)))
        assert {code(one) for one in answers} == {"SERVFAIL"}
        assert time.monotonic() - began_s < 1


async def test_a_network_that_comes_back_is_used_within_a_second_or_so(free_port):
    """EdgeMesh 427: SERVFAIL for five to ten minutes after a switch of networks."""
    port = free_port()
    async with serving(settings=upstream_settings(f"127.0.0.1:{port}")) as server:
        assert code(await ask(server)) == "SERVFAIL"
        async with upstream(saying("192.0.2.1"), port):
            began_s = time.monotonic()
            async with asyncio.timeout(10):
                while code(await ask(server)) != "NOERROR":
                    assert values(await ask(server, f"web.{SVC}")) == ["127.96.0.1"]
                    await asyncio.sleep(0.02)
            assert time.monotonic() - began_s < 2.5


async def test_the_next_server_is_asked_where_the_first_is_dead_silent_or_broken(closed_port):
    async with upstream(saying("192.0.2.1")) as good, upstream(silence) as deaf:
        for bad in (closed_port, deaf.place):
            async with serving(settings=upstream_settings(bad, good.place)) as server:
                assert values(await ask(server)) == ["192.0.2.1"]
        for rcode in (dns.rcode.SERVFAIL, dns.rcode.REFUSED):
            async with (
                upstream(failing(rcode)) as broken,
                serving(settings=upstream_settings(broken.place, good.place)) as server,
            ):
                assert values(await ask(server)) == ["192.0.2.1"]


async def test_a_server_that_is_silent_is_passed_over_after_three_time_outs():
    async with (
        upstream(saying("192.0.2.1")) as good,
        upstream(silence) as deaf,
        serving(settings=upstream_settings(deaf.place, good.place)) as server,
    ):
        for number in range(upstream_rules.FAILURES):
            assert code(await ask(server, f"n{number}.example.com")) == "NOERROR"
        heard = len(deaf.queries)
        began_s = time.monotonic()
        for number in range(10):
            assert code(await ask(server, f"m{number}.example.com")) == "NOERROR"
        assert time.monotonic() - began_s < 0.5
        assert len(deaf.queries) == heard


async def test_a_failure_of_all_is_passed_on_but_never_replaces_what_was_known():
    async with behind(failing(dns.rcode.REFUSED)) as (server, _):
        assert code(await ask(server)) == "REFUSED"


async def test_forged_answers_are_not_believed():
    good = saying("192.0.2.1")

    def forged(query):
        evil = saying("203.0.113.66")
        wrong_id = bytearray(evil(query))
        wrong_id[0] ^= 0xFF
        other_question = evil(dns.message.make_query("other.example.com", "A", id=query.id))
        no_response = bytearray(evil(query))
        no_response[2] &= 0x7F
        return [b"", b"\0" * 11, bytes(wrong_id), other_question, bytes(no_response), good(query)]

    async with behind(forged) as (server, _):
        assert values(await ask(server)) == ["192.0.2.1"]


async def test_answers_from_elsewhere_do_not_even_arrive():
    async with upstream(silence) as evil, upstream(silence) as other:

        def forged(query):
            evil.transport.sendto(saying("203.0.113.66")(query), other.clients[-1])
            return saying("192.0.2.1")(query)

        other.replies = forged
        async with serving(settings=upstream_settings(other.place)) as server:
            assert values(await ask(server)) == ["192.0.2.1"]


async def test_ids_and_ports_of_our_questions_cannot_be_guessed():
    async with behind(saying("192.0.2.1")) as (server, other):
        for number in range(40):
            await ask(server, f"n{number}.example.com", id=7)
    ids, ports = [one.id for one in other.queries], [port for _, port in other.clients]
    assert len(set(ids)) > 30
    assert len(set(ports)) > 20
    assert len({abs(a - b) for a, b in pairwise(ids)}) > 20


async def test_a_server_without_edns_is_asked_without():
    def old(query):
        if query.edns >= 0:
            return struct.pack("!HHHHHH", query.id, 0x8181, 0, 0, 0, 0)
        return saying("192.0.2.1")(query)

    async with behind(old) as (server, _):
        assert values(await ask(server, use_edns=0)) == ["192.0.2.1"]


async def test_an_opt_record_in_an_odd_place_is_taken_out():
    def odd(query):
        response = dns.message.make_response(query, our_payload=4096)
        response.answer.append(dns.rrset.from_text(f"{WWW}.", 60, "IN", "CNAME", "a.example.com."))
        response.answer.append(dns.rrset.from_text("a.example.com.", 60, "IN", "A", "192.0.2.1"))
        response.additional.append(dns.rrset.from_text("a.example.com.", 60, "IN", "A", "192.0.2.2"))
        plain = bytearray(dns.message.from_wire(response.to_wire()).to_wire())
        opt = plain[-11:]
        assert opt[:3] == b"\0\0\x29"
        glue = plain[-11 - 16 : -11]
        return bytes(plain[: -11 - 16] + opt + glue)

    async with behind(odd) as (server, _):
        answer = await ask(server)
        assert values(answer) == ["a.example.com.", "192.0.2.1"]
        assert answer.edns == -1


@pytest.mark.parametrize("cut", [20, 50])
async def test_broken_answers_are_a_failure_and_nothing_else(cut):
    async with behind(lambda query: saying("192.0.2.1")(query)[:cut]) as (server, _):
        assert code(await ask(server)) == "SERVFAIL"
        assert values(await ask(server, f"web.{SVC}")) == ["127.96.0.1"]


async def test_servers_of_resolv_conf_are_followed_and_the_file_is_never_written(tmp_path, closed_port):
    clock = Later()
    resolv = tmp_path / "resolv.conf"
    async with upstream(saying("192.0.2.1", ttl=1)) as other:
        resolv.write_text("# mine\nsearch example.com\nnameserver 127.0.0.1\nnameserver junk\noptions ndots:5\n")
        resolv.chmod(0o444)
        settings = upstream_settings(resolv_conf=resolv)
        async with serving(settings=settings, clock=clock) as server:
            assert [one.place.address for one in _upstreams(server)] == []
            await ask(server)
            assert [str(one.place) for one in _upstreams(server)] == ["127.0.0.1:53"]
            new = tmp_path / "new"
            new.write_text("nameserver 127.0.0.9\n")
            new.replace(resolv)
            clock.by_s = 2
            await ask(server, "other.example.com")
            assert [str(one.place) for one in _upstreams(server)] == ["127.0.0.9:53"]
            written = resolv.stat().st_mtime_ns
            resolv.unlink()
            clock.by_s = 4
            assert code(await ask(server, "third.example.com")) == "SERVFAIL"
            assert written
            assert other.place


async def test_ourselves_in_resolv_conf_are_passed_over(tmp_path, free_port):
    port = free_port()
    async with upstream(saying("192.0.2.1")) as other:
        settings = upstream_settings(f"127.0.0.1:{port}", other.place)
        settings = type(settings)(**{**_fields(settings), "listen": (f"127.0.0.1:{port}",)})
        async with serving(settings=settings) as server:
            assert values(await ask(server)) == ["192.0.2.1"]
            assert [one.place for one in _upstreams(server)] == [other.place]


async def test_a_server_that_asks_us_back_is_found_out_and_left_alone(free_port, caplog):
    port = free_port()
    other_port = free_port()
    with dnsmasq(other_port, f"server=127.0.0.1#{port}") as looping:
        settings = upstream_settings(looping)
        settings = type(settings)(**{**_fields(settings), "listen": (f"127.0.0.1:{port}",)})
        async with serving(settings=settings) as server:
            await is_up(looping)
            async with asyncio.timeout(20):
                while not all(one.loops for one in _upstreams(server)) or not list(_upstreams(server)):
                    await ask(server, f"n{time.monotonic_ns()}.example.com")
            began_s = time.monotonic()
            assert code(await ask(server, "last.example.com")) == "SERVFAIL"
            assert time.monotonic() - began_s < 1
            assert "back to us" in caplog.text


async def test_questions_on_their_way_are_bounded(monkeypatch):
    monkeypatch.setattr(forward, "MAX_FLIGHTS", 10)
    async with behind(silence) as (server, _):
        asking = [asyncio.create_task(ask(server, f"n{number}.example.com")) for number in range(30)]
        done, waiting = await asyncio.wait(asking, timeout=0.4)
        assert len(waiting) <= 10
        assert {code(one.result()) for one in done} == {"SERVFAIL"}
        for one in waiting:
            one.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


async def test_closing_leaves_nothing_behind():
    async with behind(silence) as (server, other):
        asking = asyncio.create_task(ask(server))
        while not other.queries:  # noqa: ASYNC110 what is waited for has no event
            await asyncio.sleep(0.005)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_dnssec_and_checking_disabled_are_passed_on_and_kept_apart():
    async with behind(saying("192.0.2.1")) as (server, other):
        await ask(server)
        await ask(server, want_dnssec=True)
        await ask(server, flags=dns.flags.RD | dns.flags.CD)
    assert [bool(one.ednsflags & dns.flags.DO) for one in other.queries] == [False, True, False]
    assert [bool(one.flags & dns.flags.CD) for one in other.queries] == [False, False, True]


async def test_services_are_answered_whatever_the_servers_upstream_do():
    async with behind(silence) as (server, _):
        waiting = [asyncio.create_task(ask(server, f"n{number}.example.com")) for number in range(100)]
        began_s = time.monotonic()
        for _ in range(50):
            assert values(await ask(server, f"web.{SVC}")) == ["127.96.0.1"]
        assert time.monotonic() - began_s < 1
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def _upstreams(server):
    return server._forwarder._upstreams


def _fields(settings):
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}
