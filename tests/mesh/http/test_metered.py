"""What the monitor knows of requests."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from random import Random

import pytest

from mesh.access_log import AccessLog
from mesh.model.policies import Degrade, DirectResponse, RateLimit, TokenBucket, When
from mesh.model.programme import BoundRule
from mesh.model.routes import Backend, HttpMatch, Redirect, RouteKey, RouteKind, Rule
from mesh.monitor import Monitor
from mesh.planes.http.metered import HttpMetered
from mesh.snapshot import Own
from mesh.upstream import Upstreams
from tests.mesh.http.origins import Says, origin, scripted
from tests.mesh.http.site import Site, free_port, http_site, key, patient, until
from tests.mesh.http.wire import get, wire_to

ROUTE = RouteKey(RouteKind.HTTP, "default", "shop")


@asynccontextmanager
async def watched(lines: list[str]):
    monitors: list[Monitor] = []

    def watcher(upstreams: Upstreams) -> HttpMetered:
        monitors.append(Monitor(upstreams, AccessLog(lines.append, time.time, Random(1), sample=1.0)))
        return HttpMetered(monitors[0])

    async with http_site(watcher=watcher) as site:
        yield site, monitors[0]


async def ask(site: Site, path: str = "/", *headers: str) -> int:
    async with wire_to(site.port) as wire:
        wire.say(get(path, *headers))
        return (await wire.answer()).status


async def test_requests_are_counted_by_route_endpoint_and_caller_with_their_bytes_and_times():
    lines: list[str] = []
    async with (
        origin(lambda asked: Says(500 if asked.target == "/bad" else 200)) as there,
        watched(lines) as (site, monitor),
    ):
        await site.backends(patient(), shop=[there.port])
        await site.rules(BoundRule(Rule((Backend(key()),)), ROUTE))
        assert [await ask(site, path) for path in ("/a?secret", "/b", "/bad")] == [200, 200, 500]
        await until(lambda: len(lines) == 3)
        snapshot = monitor.snapshot(0.0)
        (share,) = snapshot.shares
        assert (share.key.frontend, share.key.route, share.key.backend) == (site.frontend_key, str(ROUTE), key())
        ((place, counts),) = share.places
        assert place == f"127.0.0.1:{there.port}"
        assert (counts.by_class[2], counts.by_class[5], counts.failed) == (2, 1, 0)
        assert counts.bytes_in > 300
        assert counts.bytes_out > 100
        assert 0 < counts.quantile_s(0.5) < 5
        (edge,) = snapshot.edges
        assert (edge.key.caller, edge.key.called, edge.counts.requests) == ("gateway", site.frontend_key.service, 3)
        first = json.loads(lines[0])
        assert (first["path"], first["method"], first["status"], first["endpoint"]) == ("/a", "GET", 200, place)
        assert "secret" not in "".join(lines)
        assert json.loads(lines[2])["failed"] is True


async def test_answers_of_our_own_are_counted_by_their_reason():
    limit = RateLimit(TokenBucket(1, 1, 60_000))
    lines: list[str] = []
    async with watched(lines) as (site, monitor):
        degrade = (Degrade(When.NO_ENDPOINT, DirectResponse(200, "instead")),)
        await site.backends(patient(), dead=[free_port()], empty=[])
        await site.rules(
            Rule((Backend(key("dead")),), (HttpMatch("/dead"),)),
            Rule(matches=(HttpMatch("/moved"),), filters=(Redirect(),)),
            BoundRule(Rule((Backend(key("empty")),), (HttpMatch("/empty"),)), degrade=degrade),
            BoundRule(Rule((Backend(key("dead")),), (HttpMatch("/limited"),)), ROUTE, rate_limit=limit),
        )
        for path in ("/dead", "/moved", "/empty", "/limited", "/limited", "/nowhere"):
            await ask(site, path)
        async with wire_to(site.port) as wire:
            wire.say(b"nonsense\r\n\r\n")
            await wire.ended()
        await until(lambda: len(lines) == 6)
        shares = monitor.snapshot(0.0).shares
        own: dict[str, int] = {}
        for share in shares:
            for why, number in share.own:
                own[why] = own.get(why, 0) + number
        assert own == {
            Own.UNREACHED: 2, Own.REDIRECTED: 1, Own.RATE_LIMITED: 1, Own.NO_ROUTE: 1, Own.BAD_REQUEST: 1,
        }  # fmt: skip
        assert sum(share.degraded for share in shares) == 1
        failed = [counts.failed for share in shares for _, counts in share.places]
        assert sum(failed) == 2


async def test_a_client_that_leaves_is_counted_as_a_failure_of_its_own():
    lines: list[str] = []

    async def never(asked):
        raise ConnectionError

    async with origin(never) as there, watched(lines) as (site, monitor):
        await site.serve(there.port, policy=patient())
        assert await ask(site) == 502
        await until(lambda: lines)
        (share,) = monitor.snapshot(0.0).shares
        assert dict(share.own) == {Own.UNREACHED: 1}


@pytest.mark.parametrize("answered", [True, False])
async def test_a_client_that_leaves_is_no_failure(answered):
    lines: list[str] = []
    release = asyncio.Event()

    async def script(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        if answered:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await release.wait()

    async with scripted(script) as there, watched(lines) as (site, monitor):
        await site.backends(patient(), shop=[there.port])
        await site.rules(Rule((Backend(key()),)))
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(b"GET /events HTTP/1.1\r\nHost: shop\r\n\r\n")
        if answered:
            async with asyncio.timeout(10):
                await reader.readuntil(b"hello\r\n")
        else:
            await until(lambda: there.connections)
        writer.transport.abort()
        await until(lambda: lines)
        release.set()
    snapshot = monitor.snapshot(1.0, whole=True)
    counts = [one for share in snapshot.shares for _, one in share.places] + [one.counts for one in snapshot.edges]
    assert [one.failed for one in counts] == [0] * len(counts)
    assert {one.by_class[2] for one in counts} == {int(answered)}
    assert json.loads(lines[0])["failed"] is False
