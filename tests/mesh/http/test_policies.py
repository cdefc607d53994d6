"""What rules and policies do to requests: weights, limits, degradation, affinity, mirrors, bounds."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import replace

import pytest

from mesh.model.policies import (
    Balance,
    CachedResponse,
    CircuitBreaker,
    Degrade,
    DirectResponse,
    KeyKind,
    KeyOf,
    LoadBalancer,
    RateLimit,
    TokenBucket,
    When,
)
from mesh.model.programme import BoundRule
from mesh.model.routes import Backend, HeaderModifier, HttpMatch, MatchType, Mirror, Redirect, RouteKey, RouteKind, Rule
from tests.mesh.http.origins import WAIT_S, Asked, Says, head_of, origin, scripted
from tests.mesh.http.site import free_port, http_site, key, patient, until
from tests.mesh.http.wire import get, wire_to

ROUTE = RouteKey(RouteKind.HTTP, "default", "shop")


def named(name: str) -> Says:
    return Says(body=name.encode())


async def ask(site, *headers: str, path: str = "/", method: str = "GET", host: str = "shop"):
    async with wire_to(site.port) as wire:
        wire.say(get(path, *headers, method=method, host=host))
        return await wire.answer(method)


async def test_the_first_rule_that_matches_is_gone_by():
    async with origin(named("one")) as one, origin(named("two")) as two, http_site() as site:
        await site.backends(patient(), one=[one.port], two=[two.port])
        await site.rules(
            Rule((Backend(key("one")),), (HttpMatch("/a", method="PUT"),)),
            Rule((Backend(key("two")),), (HttpMatch("/a"),)),
        )
        assert (await ask(site, path="/a/b")).body == b"two"
        assert (await ask(site, "Content-Length: 0", path="/a/b", method="PUT")).body == b"one"
        assert (await ask(site, path="/b")).status == 404


async def test_weights_hold():
    async with origin(named("one")) as one, origin(named("two")) as two, origin(named("no")) as no, http_site() as site:
        await site.backends(patient(), one=[one.port], two=[two.port], no=[no.port])
        await site.rules(Rule((Backend(key("one"), 9), Backend(key("two"), 1), Backend(key("no"), 0))))
        async with wire_to(site.port) as wire:
            found: Counter[bytes] = Counter()
            for _ in range(200):
                wire.say(get())
                found[(await wire.answer()).body] += 1
        assert found == {b"one": 180, b"two": 20}


async def test_without_a_backend_the_answer_is_500_and_without_an_endpoint_503():
    async with http_site() as site:
        await site.backends(patient(), empty=[])
        await site.rules(
            Rule((), (HttpMatch("/none"),)),
            Rule((Backend(key("empty"), 0),), (HttpMatch("/zero"),)),
            Rule((Backend(key("unknown")),), (HttpMatch("/unknown"),)),
            Rule((Backend(key("empty")),), (HttpMatch("/empty"),)),
        )
        found = [(await ask(site, path=path)).status for path in ("/none", "/zero", "/unknown", "/empty")]
        assert found == [500, 500, 500, 503]


async def test_a_redirect_is_answered_here():
    async with http_site() as site:
        await site.rules(Rule(filters=(Redirect(scheme="https", status=301),)))
        got = await ask(site, path="/a?b", host="shop:80")
        assert (got.status, got.headers["location"]) == (301, "https://shop/a?b")


async def test_headers_of_requests_are_changed_by_rule_and_backend():
    async with origin() as there, http_site() as site:
        await site.backends(patient(), shop=[there.port])
        backend = Backend(key(), filters=(HeaderModifier(set=(("X-Backend", "1"),)),))
        await site.rules(Rule((backend,), filters=(HeaderModifier(set=(("X-Rule", "2"),)),)))
        await ask(site)
        assert (there.asked[0].header("x-backend"), there.asked[0].header("x-rule")) == ("1", "2")


async def test_what_is_over_the_limit_of_a_route_gets_429_and_is_told_when_to_come_back():
    limit = RateLimit(TokenBucket(2, 1, 60_000), KeyOf(KeyKind.HEADER, "X-User"))
    async with origin() as there, http_site() as site:
        await site.backends(patient(), shop=[there.port])
        await site.rules(BoundRule(Rule((Backend(key()),)), ROUTE, rate_limit=limit))
        found = [(await ask(site, "X-User: a")).status for _ in range(3)]
        got = await ask(site, "X-User: a")
        assert found == [200, 200, 429]
        assert 55 <= int(got.headers["retry-after"]) <= 60
        assert (got.headers["x-ratelimit-limit"], got.headers["x-ratelimit-remaining"]) == ("2", "0")
        assert (await ask(site, "X-User: b")).status == 200
        # Other rules of the route have the same bucket, and new rules do not fill it.
        await site.rules(BoundRule(Rule((Backend(key()),), (HttpMatch("/a"),)), ROUTE, rate_limit=limit))
        assert (await ask(site, "X-User: a", path="/a")).status == 429


async def test_the_limit_of_a_service_counts_for_all_its_routes():
    policy = replace(patient(), rate_limit=RateLimit(TokenBucket(2, 1, 60_000), KeyOf(KeyKind.SOURCE)))
    async with origin() as there, http_site() as site:
        await site.backends(policy, shop=[there.port])
        await site.rules(Rule((Backend(key()),), (HttpMatch("/a"),)), Rule((Backend(key()),), (HttpMatch("/b"),)))
        assert [(await ask(site, path=path)).status for path in ("/a", "/b", "/a")] == [200, 200, 429]


async def test_over_the_limit_another_backend_can_answer():
    limit = RateLimit(TokenBucket(1, 1, 60_000))
    async with origin(named("one")) as one, origin(named("spare")) as spare, http_site() as site:
        await site.backends(patient(), one=[one.port], spare=[spare.port])
        degrade = (Degrade(When.OVER_LIMIT, Backend(key("spare"))),)
        await site.rules(BoundRule(Rule((Backend(key("one")),)), ROUTE, rate_limit=limit, degrade=degrade))
        assert [(await ask(site)).body for _ in range(2)] == [b"one", b"spare"]


async def test_without_an_endpoint_a_direct_answer_can_be_given():
    then = DirectResponse(200, '{"stale": true}', "application/json")
    async with http_site() as site:
        await site.backends(replace(patient(), degrade=(Degrade(When.NO_ENDPOINT, then),)), shop=[])
        await site.rules(Rule((Backend(key()),)))
        got = await ask(site)
        assert (got.status, got.body, got.headers["content-type"]) == (200, b'{"stale": true}', "application/json")
        assert (await ask(site, method="HEAD")).headers["content-length"] == "15"


async def test_offline_has_an_answer_of_its_own():
    degrade = (
        Degrade(When.OFFLINE, DirectResponse(203, "off")),
        Degrade(When.NO_ENDPOINT, DirectResponse(503, "none")),
    )
    offline = False
    async with http_site(offline=lambda: offline) as site:
        await site.backends(replace(patient(), degrade=degrade), shop=[free_port()])
        await site.rules(Rule((Backend(key()),)))
        assert (await ask(site)).body == b"none"
        offline = True
        assert (await ask(site)).body == b"off"


async def test_the_last_good_answer_is_given_when_no_endpoint_is_left():
    policy = replace(patient(), degrade=(Degrade(When.NO_ENDPOINT, CachedResponse(max_bytes=100)),))
    kept = Says(body=b"menu", chunked=True, headers=[("etag", "1")])

    def answer(asked: Asked) -> Says:
        if asked.target == "/big":
            return Says(body=b"x" * 101)
        if asked.target == "/mine":
            return Says(body=b"m", headers=[("cache-control", "private")])
        return kept

    async with origin(answer) as there, http_site() as site:
        await site.serve(there.port, policy=policy)
        for path in ("/menu", "/big", "/mine"):
            assert (await ask(site, path=path)).status == 200
        await ask(site, "Authorization: me", path="/secret")
        await site.backends(policy, shop=[])
        got = await ask(site, path="/menu")
        assert (got.status, got.body, got.headers["etag"]) == (200, b"menu", "1")
        assert (got.headers["age"], got.headers["warning"][:3]) == ("0", "110")
        assert (await ask(site, path="/menu", method="HEAD")).headers["content-length"] == "4"
        assert (await ask(site, "Accept: other", path="/menu")).status == 503
        for path in ("/big", "/mine", "/secret", "/never"):
            assert (await ask(site, path=path)).status == 503
        assert (await ask(site, "Content-Length: 0", path="/menu", method="POST")).status == 503


async def test_an_open_breaker_spares_the_service():
    breaker = CircuitBreaker(min_requests=4, interval_ms=60_000, open_ms=60_000)
    policy = replace(patient(), breaker=breaker, degrade=(Degrade(When.BREAKER_OPEN, DirectResponse(503, "open")),))
    async with origin(Says(500)) as there, http_site() as site:
        await site.serve(there.port, policy=policy)
        found = [(await ask(site)) for _ in range(6)]
        assert [got.status for got in found] == [500, 500, 500, 500, 503, 503]
        assert found[5].body == b"open"
        assert len(there.asked) == 4


async def test_a_client_stays_with_its_endpoint():
    async with origin(named("one")) as one, origin(named("two")) as two, http_site() as site:
        await site.backends(patient(), shop=[one.port, two.port])
        await site.rules(Rule((Backend(key()),)), affinity_s=60)
        found = {(await ask(site)).body for _ in range(6)}
        assert len(found) == 1


@pytest.mark.parametrize(
    ("hash_key", "header", "path"),
    [
        (KeyOf(KeyKind.HEADER, "X-User"), "X-User: {}", "/"),
        (KeyOf(KeyKind.COOKIE, "user"), "Cookie: a=b; user={}", "/"),
        (KeyOf(KeyKind.QUERY, "user"), "X: y", "/?user={}"),
    ],
)
async def test_a_key_leads_to_the_same_endpoint(hash_key: KeyOf, header: str, path: str):
    policy = replace(patient(), balancer=LoadBalancer(Balance.CONSISTENT_HASH, hash_key))
    async with origin(named("one")) as one, origin(named("two")) as two, http_site() as site:
        await site.serve(one.port, two.port, policy=policy)
        found: dict[int, set[bytes]] = {}
        for turn in range(36):
            user = turn % 12
            got = await ask(site, header.format(user), path=path.format(user))
            found.setdefault(user, set()).add(got.body)
        assert all(len(bodies) == 1 for bodies in found.values())
        assert len({body for bodies in found.values() for body in bodies}) == 2


async def test_a_mirror_gets_a_copy_and_its_answer_is_thrown_away():
    async with origin(named("real")) as real, origin(Says(500, b"copy" * 99)) as copy, http_site() as site:
        await site.backends(patient(), shop=[real.port], copy=[copy.port])
        await site.rules(Rule((Backend(key()),), filters=(Mirror(key("copy")), Mirror(key("copy"), percent=0))))
        async with wire_to(site.port) as wire:
            wire.say(get("/a"))
            assert (await wire.answer()).body == b"real"
            wire.say(get("/b", "Content-Length: 4", method="POST") + b"body")
            assert (await wire.answer("POST")).body == b"real"
        await until(lambda: len(copy.asked) == 2)
        assert sorted((one.target, one.body) for one in copy.asked) == [("/a", b""), ("/b", b"body")]


async def test_a_dead_mirror_harms_nobody():
    async with origin(named("real")) as real, http_site() as site:
        await site.backends(patient(), shop=[real.port], copy=[free_port()])
        await site.rules(Rule((Backend(key()),), filters=(Mirror(key("copy")), Mirror(key("unknown")))))
        assert [(await ask(site)).status for _ in range(3)] == [200, 200, 200]


async def test_requests_over_the_connections_wait_their_turn_and_those_over_the_waiting_are_refused():
    going = asyncio.Event()

    async def answer(asked: Asked) -> Says:
        await going.wait()
        return Says()

    async with origin(answer) as there, http_site() as site:
        await site.serve(there.port, policy=patient(max_connections=2, max_pending=3))
        tasks = [asyncio.create_task(ask(site)) for _ in range(6)]
        async with asyncio.timeout(WAIT_S):
            done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert [task.result().status for task in done] == [503]
        assert there.connections == 2
        going.set()
        assert [(await task).status for task in waiting] == [200] * 5
        assert there.connections == 2


async def test_a_connection_carries_only_so_many_requests():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient(max_requests_per_connection=2))
        async with wire_to(site.port) as wire:
            for _ in range(6):
                wire.say(get())
                await wire.answer()
        assert [one.connection for one in there.asked] == [1, 1, 2, 2, 3, 3]


async def test_idle_connections_to_endpoints_are_closed_after_their_time():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient(idle_timeout_ms=50))
        await ask(site)
        assert there.open == 1
        await until(lambda: not there.open)


async def test_idle_connections_are_asked_for_by_the_kernel_if_the_policy_says_so():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient(tcp_keepalive_s=33))
        await ask(site)
        (idle,) = [one for pool in site.carrier.pools.all() for ones in pool.idle.values() for one in ones]
        sock = idle.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 33


async def test_an_endpoint_that_is_gone_keeps_no_idle_connection():
    async with origin() as one, origin() as two, http_site() as site:
        await site.serve(one.port, policy=patient())
        await ask(site)
        await site.backends(patient(), shop=[two.port])
        await ask(site)
        await until(lambda: not one.open)
        assert len(two.asked) == 1


async def test_a_bad_pattern_changes_nothing():
    async with origin() as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        bad = Rule((Backend(key()),), (HttpMatch("(", MatchType.REGEX),))
        with pytest.raises(AssertionError, match="regular expression"):
            await site.rules(bad)
        assert (await ask(site)).status == 200


async def test_unsolicited_bytes_of_an_endpoint_are_never_an_answer():
    async def script(reader, writer):
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await reader.read()

    async with scripted(script) as there, http_site() as site:
        await site.serve(there.port, policy=patient())
        async with wire_to(site.port) as wire:
            for _ in range(3):
                wire.say(get())
                assert (await wire.answer()).body == b"ok"
        assert there.connections == 3
