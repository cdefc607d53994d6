"""Our HTTP plane and Envoy, side by side before backends with the same script: what differs is ours on purpose.

Opt-in: skipped where Envoy is not installed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from mesh.model.policies import (
    Balance,
    ConnectionPool,
    KeyKind,
    KeyOf,
    LoadBalancer,
    OutlierDetection,
    Policy,
    RateLimit,
    RetryBudget,
    TokenBucket,
)
from mesh.model.programme import BoundRule
from mesh.model.routes import Backend, Retry, Rule
from mesh.model.services import Endpoint
from mesh.planes.http import Times
from tests.mesh.http.site import http_site, key
from tests.peers.envoy import envoy, missing

pytestmark = pytest.mark.skipif(missing != "", reason=missing or "-")

NO_OUTLIERS = OutlierDetection(consecutive_5xx=0, consecutive_local_failures=0)
PATIENT = Times(answer_s=30.0)


@dataclass
class Server:
    """A backend: ``answer`` of the number of the request; what it saw."""

    name: str
    answer: Callable[[int], int] = lambda number: 200
    wait: asyncio.Event | None = None
    gone: bool = False
    """Nobody listens at its port."""
    hits: int = 0
    at_s: list[float] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                number = self.hits
                self.hits += 1
                self.at_s.append(time.monotonic())
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    if self.wait is not None:
                        await self.wait.wait()
                finally:
                    self.at_once -= 1
                status, body = self.answer(number), self.name.encode()
                writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@dataclass
class Side:
    """One of the two proxies, and the backends behind it."""

    name: str
    port: int
    servers: list[Server]
    ejections: Callable[[], Awaitable[int]]

    async def get(self, shop_key: str = "") -> tuple[int, str]:
        """The status, and who answered."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            async with asyncio.timeout(30):
                writer.write(f"GET / HTTP/1.1\r\nHost: shop\r\nX-Key: {shop_key}\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
                return int(head.split(b" ")[1]), body.decode()
        finally:
            writer.close()

    async def statuses(self, count: int) -> list[int]:
        """One after the other, with time for Envoy's threads to tell each other of an ejection."""
        found = []
        for _ in range(count):
            found.append((await self.get())[0])
            await asyncio.sleep(0.01)
        return found

    async def at_once(self, count: int) -> list[asyncio.Task]:
        return [asyncio.create_task(self.get()) for _ in range(count)]

    @property
    def hits(self) -> list[int]:
        return [server.hits for server in self.servers]


@asynccontextmanager
async def sides(
    tmp_path,
    make: Callable[[], list[Server]],
    *,
    policy: Policy = Policy(outlier=NO_OUTLIERS),  # noqa: B008 - a frozen value
    retry: Retry | None = None,
    rate_limit: RateLimit | None = None,
    cluster: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None,
    filters=(),
    weights=(),
) -> AsyncIterator[tuple[Side, Side]]:
    """Both proxies, each with backends of its own: (ours, Envoy's)."""
    async with AsyncExitStack() as stack:

        async def started() -> list[Server]:
            servers = make()
            for server in servers:
                tasks: set[asyncio.Task] = set()

                async def watched(reader, writer, server=server, tasks=tasks):
                    tasks.add(asyncio.current_task())
                    with suppress(asyncio.CancelledError):
                        await server.serve(reader, writer)

                listener = await asyncio.start_server(watched, "127.0.0.1", 0)
                server.port = listener.sockets[0].getsockname()[1]

                async def ended(listener=listener, tasks=tasks):
                    listener.close()
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

                if server.gone:
                    await ended()
                else:
                    stack.push_async_callback(ended)
            return servers

        mine, theirs = await started(), await started()
        site = await stack.enter_async_context(http_site(times=PATIENT))
        listed = [
            Endpoint("127.0.0.1", server.port, weight=weight)
            for server, weight in zip(mine, weights or [1] * len(mine), strict=True)
        ]
        await site.backends(policy, shop=listed)
        await site.rules(BoundRule(Rule((Backend(key()),), retry=retry), rate_limit=rate_limit))
        proxy = await stack.enter_async_context(
            envoy(
                tmp_path,
                [server.port for server in theirs],
                cluster=cluster,
                route=route,
                filters=filters,
                weights=weights,
            )
        )

        async def ejections() -> int:
            upstream = site.upstreams.get(key())
            assert upstream is not None
            return upstream.ejections

        async def ejections_there() -> int:
            return await proxy.stat("cluster.shop.outlier_detection.ejections_enforced_total")

        yield Side("ours", site.port, mine, ejections), Side("envoy", proxy.port, theirs, ejections_there)


def bad(status: int = 500, times: int = 10**9) -> Callable[[int], int]:
    return lambda number: status if number < times else 200


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 what is waited for is in another process
            await asyncio.sleep(0.01)


# -- outlier detection -------------------------------------------------------------------------------------------------

OUTLIERS = {"interval": "0.1s", "base_ejection_time": "60s", "max_ejection_percent": 100}


@pytest.mark.parametrize(
    ("ours", "theirs", "status", "expected"),
    [
        (OutlierDetection(consecutive_5xx=5), {"consecutive_5xx": 5}, 500, 5),
        (OutlierDetection(consecutive_5xx=3), {"consecutive_5xx": 3}, 503, 3),
        (
            OutlierDetection(consecutive_5xx=0, consecutive_gateway_errors=4),
            {
                "enforcing_consecutive_5xx": 0,
                "consecutive_gateway_failure": 4,
                "enforcing_consecutive_gateway_failure": 100,
            },
            502,
            4,
        ),
        (
            OutlierDetection(consecutive_5xx=0, consecutive_gateway_errors=4),
            {
                "enforcing_consecutive_5xx": 0,
                "consecutive_gateway_failure": 4,
                "enforcing_consecutive_gateway_failure": 100,
            },
            500,
            15,
        ),
    ],
)
async def test_so_many_bad_answers_eject(tmp_path, ours, theirs, status, expected):
    def make():
        return [Server("bad", bad(status)), Server("good")]

    cluster = {"outlier_detection": {**OUTLIERS, **theirs}}
    async with sides(tmp_path, make, policy=Policy(outlier=ours), cluster=cluster) as both:
        for side in both:
            await side.statuses(30)
            assert side.hits == [expected, 30 - expected], side.name


async def test_a_good_answer_in_between_begins_the_count_anew(tmp_path):
    def make():
        return [Server("mixed", lambda number: 200 if number % 3 == 2 else 500), Server("good")]

    policy = Policy(outlier=OutlierDetection(consecutive_5xx=3))
    cluster = {"outlier_detection": {**OUTLIERS, "consecutive_5xx": 3}}
    async with sides(tmp_path, make, policy=policy, cluster=cluster) as both:
        for side in both:
            await side.statuses(40)
            assert side.hits == [20, 20], side.name


@pytest.mark.parametrize(("percent", "ejected"), [(100, 4), (50, 2), (25, 1), (10, 0)])
async def test_no_more_than_max_ejection_percent_are_out(tmp_path, percent, ejected):
    def make():
        return [Server(f"bad-{number}", bad()) for number in range(4)]

    rule = OutlierDetection(consecutive_5xx=2, max_ejection_percent=percent)
    cluster = {
        "outlier_detection": {**OUTLIERS, "consecutive_5xx": 2, "max_ejection_percent": percent},
        # Ours falls back to all only when all are out; Envoy by default when half are.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }
    async with sides(tmp_path, make, policy=Policy(outlier=rule), cluster=cluster) as (mine, theirs):
        await mine.statuses(40)
        await theirs.statuses(40)
        if percent < 100:
            for side in (mine, theirs):
                assert sum(hits <= 3 for hits in side.hits) == ejected, (side.name, side.hits)
        else:
            # On purpose: ours goes on with all of them, Envoy without panic answers 503 itself.
            assert min(mine.hits) == 10
            assert sum(theirs.hits) < 20


async def test_if_all_are_out_both_use_all(tmp_path):
    def make():
        return [Server(f"bad-{number}", bad()) for number in range(3)]

    policy = Policy(outlier=OutlierDetection(consecutive_5xx=2))
    cluster = {"outlier_detection": {**OUTLIERS, "consecutive_5xx": 2}}
    async with sides(tmp_path, make, policy=policy, cluster=cluster) as both:
        for side in both:
            await side.statuses(60)
            assert sum(side.hits) == 60, side.name
            assert min(side.hits) >= 10, (side.name, side.hits)


async def test_after_its_time_an_endpoint_is_back_and_out_for_longer_the_next_time(tmp_path):
    """Ours risks one request and ejects again at once; Envoy counts from nothing: a difference on purpose."""

    def make():
        return [Server("bad", bad()), Server("good")]

    policy = Policy(outlier=OutlierDetection(consecutive_5xx=3, base_ejection_ms=600, interval_ms=60_000))
    cluster = {
        "outlier_detection": {
            "interval": "0.3s",
            "base_ejection_time": "0.6s",
            "max_ejection_percent": 100,
            "consecutive_5xx": 3,
        }
    }
    async with sides(tmp_path, make, policy=policy, cluster=cluster) as both:

        async def spells(side: Side) -> list[tuple[int, float]]:
            """How many bad answers before each ejection, and how long it was out after it."""
            began = time.monotonic()
            while time.monotonic() - began < 4.5:
                await side.get()
                await asyncio.sleep(0.01)
            found, count, at_s = [], 1, side.servers[0].at_s
            for before, after in pairwise(at_s):
                if after - before > 0.4:
                    found.append((count, after - before))
                    count = 0
                count += 1
            return found

        mine, theirs = await asyncio.gather(*(spells(side) for side in both))
        assert [count for count, _ in mine] == [3] + [1] * (len(mine) - 1)
        assert {count for count, _ in theirs} == {3}
        for found in (mine, theirs):
            for number, (_, out_s) in enumerate(found, 1):
                # Machines that are busy are late, never early; Envoy looks once an interval.
                assert 0.6 * number - 0.02 <= out_s <= 0.6 * number + 0.3 + 0.4, found
        assert len(mine) >= 2
        assert len(theirs) >= 2


async def test_connections_that_are_refused_eject(tmp_path):
    def make():
        return [Server("gone", gone=True), Server("good")]

    policy = Policy(outlier=OutlierDetection(consecutive_5xx=0, consecutive_local_failures=3))
    cluster = {
        "outlier_detection": {
            **OUTLIERS,
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "enforcing_consecutive_local_origin_failure": 100,
        }
    }
    retry = {"retry_policy": {"retry_on": "connect-failure", "num_retries": 1}}
    async with sides(tmp_path, make, policy=policy, cluster=cluster, route=retry) as (mine, theirs):
        for side in (mine, theirs):
            assert await side.statuses(20) == [200] * 20, side.name
            assert await side.ejections() == 1, side.name


# -- circuit breaking: bounds of what is under way ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "thresholds", "served"),
    [
        (ConnectionPool(max_requests=3), {"max_requests": 3}, 3),
        (ConnectionPool(max_connections=2, max_pending=1), {"max_connections": 2, "max_pending_requests": 1}, 3),
        (ConnectionPool(max_connections=2, max_pending=4), {"max_connections": 2, "max_pending_requests": 4}, 6),
    ],
)
async def test_what_is_over_the_bounds_is_refused(tmp_path, pool, thresholds, served):
    release = asyncio.Event()

    def make():
        return [Server("slow", wait=release)]

    cluster = {"circuit_breakers": {"thresholds": [thresholds]}}
    async with sides(tmp_path, make, policy=Policy(outlier=NO_OUTLIERS, pool=pool), cluster=cluster) as both:
        for side in both:
            release.clear()
            tasks = []
            for number in range(pool.max_requests or pool.max_connections):
                # One after the other: with Envoy those whose connection is being made count as waiting.
                tasks += await side.at_once(1)
                await until(lambda side=side, number=number: side.hits == [number + 1])
            tasks += await side.at_once(8 - len(tasks))
            await until(lambda tasks=tasks: sum(task.done() for task in tasks) >= 8 - served)
            release.set()
            statuses = Counter([(await task)[0] for task in tasks])
            assert statuses == {200: served, 503: 8 - served}, side.name


# -- retries -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "fails", "status", "tries"), [(2, 99, 503, 3), (2, 1, 200, 2), (1, 1, 200, 2), (3, 0, 200, 1)]
)
async def test_tries_for_a_code(tmp_path, attempts, fails, status, tries):
    def make():
        return [Server("one", bad(503, fails))]

    retry = Retry(attempts, frozenset({503}), backoff_ms=1)
    route = {
        "retry_policy": {
            "retry_on": "retriable-status-codes",
            "retriable_status_codes": [503],
            "num_retries": attempts,
            "retry_back_off": {"base_interval": "0.001s"},
        }
    }
    async with sides(tmp_path, make, retry=retry, route=route) as both:
        for side in both:
            assert await side.statuses(1) == [status], side.name
            assert side.hits == [tries], side.name


async def test_codes_that_are_not_listed_are_not_tried_again(tmp_path):
    def make():
        return [Server("one", bad(500))]

    retry = Retry(3, frozenset({503}), backoff_ms=1)
    route = {"retry_policy": {"retry_on": "retriable-status-codes", "retriable_status_codes": [503], "num_retries": 3}}
    async with sides(tmp_path, make, retry=retry, route=route) as both:
        for side in both:
            assert await side.statuses(1) == [500], side.name
            assert side.hits == [1], side.name


@pytest.mark.parametrize(("percent", "least", "repeated"), [(20.0, 3, 3), (50.0, 1, 5), (20.0, 6, 6), (0.0, 0, 0)])
async def test_repetitions_at_one_time_are_bounded(tmp_path, percent, least, repeated):
    """Ten requests fail one after the other; those that are sent again stay under way."""

    class Held(Server):
        async def serve(self, reader, writer):
            try:
                await reader.readuntil(b"\r\n\r\n")
                self.hits += 1
                self.held.append(asyncio.Event())
                await self.held[-1].wait()
                writer.write(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

    def make():
        server = Held("held")
        server.held = []
        return [server]

    policy = Policy(outlier=NO_OUTLIERS, retry_budget=RetryBudget(percent, least), pool=ConnectionPool(max_retries=0))
    retry = Retry(1, frozenset({503}), backoff_ms=1)
    route = {"retry_policy": {"retry_on": "5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.001s"}}}
    budget = {"budget_percent": {"value": percent}, "min_retry_concurrency": least}
    cluster = {"circuit_breakers": {"thresholds": [{"retry_budget": budget}]}}
    async with sides(tmp_path, make, policy=policy, retry=retry, cluster=cluster, route=route) as both:
        for side in both:
            (server,) = side.servers
            tasks = await side.at_once(10)
            await until(lambda side=side: side.hits == [10])
            for number in range(10):
                server.held[number].set()
                await until(
                    lambda tasks=tasks, side=side, number=number: (
                        sum(task.done() for task in tasks) + side.hits[0] - 10 == number + 1
                    )
                )
            assert side.hits == [10 + repeated], side.name
            for held in server.held:
                held.set()
            assert Counter([(await task)[0] for task in tasks]) == {503: 10}


# -- balance -----------------------------------------------------------------------------------------------------------


async def test_weights_hold(tmp_path):
    def make():
        return [Server(name) for name in ("a", "b", "c")]

    async with sides(tmp_path, make, weights=(1, 3, 6)) as both:
        for side in both:
            await side.statuses(200)
            assert [hits / 200 for hits in side.hits] == pytest.approx([0.1, 0.3, 0.6], abs=0.02), side.name


async def test_of_a_hash_ring_only_the_keys_of_the_one_that_is_out_move(tmp_path):
    def make():
        return [Server(name, (lambda number: 500) if name == "d" else (lambda number: 200)) for name in "abcd"]

    by_header = LoadBalancer(Balance.CONSISTENT_HASH, KeyOf(KeyKind.HEADER, "x-key"))
    policy = Policy(balancer=by_header, outlier=OutlierDetection(consecutive_5xx=1_000))
    cluster = {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 1024}}
    route = {"hash_policy": [{"header": {"header_name": "x-key"}}]}
    keys = [f"client-{number}" for number in range(250)]
    owners: dict[str, dict[str, str]] = {}
    async with sides(tmp_path, make, policy=policy, cluster=cluster, route=route) as both:
        for side in both:
            owners[side.name] = {name: (await side.get(name))[1] for name in keys}
            assert {name: (await side.get(name))[1] for name in keys[:50]} == dict(list(owners[side.name].items())[:50])
    policy = Policy(balancer=by_header, outlier=OutlierDetection(consecutive_5xx=1, base_ejection_ms=300_000))
    cluster["outlier_detection"] = {**OUTLIERS, "consecutive_5xx": 1}
    async with sides(tmp_path, make, policy=policy, cluster=cluster, route=route) as both:
        for side in both:
            for name in keys:
                await side.get(name)  # the first key of d ejects it
            after = {name: (await side.get(name))[1] for name in keys}
            assert "d" not in after.values(), side.name
            shares = Counter(after.values())
            assert min(shares.values()) >= len(keys) / 3 * 0.6, (side.name, shares)


# -- rate limit --------------------------------------------------------------------------------------------------------


async def test_a_bucket_lets_its_tokens_through(tmp_path):
    def make():
        return [Server("one")]

    bucket = {"max_tokens": 5, "tokens_per_fill": 1, "fill_interval": "60s"}
    full = {"numerator": 100, "denominator": "HUNDRED"}
    local = {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "limited",
            "token_bucket": bucket,
            "filter_enabled": {"default_value": full},
            "filter_enforced": {"default_value": full},
        },
    }
    limit = RateLimit(TokenBucket(5, 1, 60_000))
    async with sides(tmp_path, make, rate_limit=limit, filters=[local]) as both:
        for side in both:
            assert await side.statuses(20) == [200] * 5 + [429] * 15, side.name
