"""How exactly weights hold for connections and requests through the userspace plane; keys that one change moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Final

from mesh.balance import key_hash
from mesh.model.policies import Balance, LoadBalancer, Policy
from mesh.model.programme import BackendGroup, BoundRule, Frontend
from mesh.model.routes import Backend, Rule
from mesh.model.services import Endpoint, PortKey, ServiceKey
from mesh.upstream import Upstream
from tests.bench.figure import Figure, Scale
from tests.mesh.http.site import Site, http_site
from tests.mesh.raw_rig import Rig, Serve, free_port, named, port_key, rig

REQUESTS: Final = 10_000
CLIENTS: Final = 16
ROUTE: Final = {"old": 80, "new": 15, "trial": 5}
ENDPOINTS: Final = (1, 3, 6)
KEYS: Final = 50_000
COUNTS: Final = (3, 10, 50)


async def figures(scale: Scale) -> list[Figure]:
    """Weights of backends and of endpoints, then hashing."""
    del scale
    async with rig() as made:
        in_turn = await _error_percent(made, Balance.ROUND_ROBIN)
    async with rig() as made:
        least = await _error_percent(made, Balance.LEAST_REQUEST)
    async with rig() as made, http_site() as site:
        requests = await _error_of_requests(made, site)
    route, endpoints = ", ".join(map(str, ROUTE.values())), ", ".join(map(str, ENDPOINTS))
    says = (
        f"{REQUESTS} connections, and as many requests, through a route of weights {route} to endpoints of weights"
        f" {endpoints}: how far the worst share is off, of that share"
    )
    return [
        Figure("mesh.weights.least_request", least, "%", f"the same by least requests, {CLIENTS} at once"),
        Figure(
            "mesh.weights.moved",
            max(_moved(count) for count in COUNTS),
            "x",
            f"keys that move when one of {', '.join(map(str, COUNTS))} endpoints goes, against the share of one: the"
            f" worst of all; {KEYS} keys",
            1.3,
            at_most=True,
        ),
        Figure(
            "mesh.weights",
            max(in_turn, requests),
            "%",
            says,
            2,
            at_most=True,
        ),
    ]


async def _error_percent(made: Rig, balance: Balance) -> float:
    """Of connections, each to whoever says its name and hangs up."""
    groups, backends, expected = await _behind(made, balance, named)
    made.upstreams.apply(groups, [])
    port = free_port()
    frontend = Frontend(port_key("front", port), ("127.0.0.1",), (BoundRule(Rule(tuple(backends))),))
    problems = await made.program(frontend)
    assert not problems, problems
    counts: Counter[str] = Counter()
    turns = iter(range(REQUESTS))

    async def client() -> None:
        for _ in turns:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            counts[(await reader.read()).decode()] += 1
            writer.close()

    return await _off_percent(client, counts, expected)


async def _error_of_requests(made: Rig, site: Site) -> float:
    """Of requests, many on a connection."""
    groups, backends, expected = await _behind(made, Balance.ROUND_ROBIN, _answering)
    site.upstreams.apply(groups, [])
    await site.rules(Rule(tuple(backends)))
    counts: Counter[str] = Counter()
    turns = iter(range(REQUESTS))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        for _ in turns:
            writer.write(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            counts[(await reader.readexactly(length)).decode()] += 1
        writer.close()

    return await _off_percent(client, counts, expected)


def _answering(name: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.CancelledError):  # the run is over
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))

    return serve


async def _behind(
    made: Rig, balance: Balance, serving: Callable[[bytes], Serve]
) -> tuple[list[BackendGroup], list[Backend], dict[str, float]]:
    """The services of the route, and the share that each endpoint should have."""
    groups, backends, expected = [], [], {}
    for name, weight in ROUTE.items():
        key = PortKey(ServiceKey("bench", name), 80)
        listed = []
        for number, share in enumerate(ENDPOINTS):
            at = await made.server(serving(f"{name} {number}".encode()))
            listed.append(Endpoint(at.address, at.port, weight=share))
            expected[f"{name} {number}"] = weight / sum(ROUTE.values()) * share / sum(ENDPOINTS)
        groups.append(BackendGroup(key, tuple(listed), Policy(balancer=LoadBalancer(balance))))
        backends.append(Backend(key, weight))
    return groups, backends, expected


async def _off_percent(
    client: Callable[[], Coroutine[None, None, None]], counts: Counter[str], expected: dict[str, float]
) -> float:
    async with asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client())
    assert counts.total() == REQUESTS
    return max(abs(counts[name] / REQUESTS / share - 1) * 100 for name, share in expected.items())


def _moved(count: int) -> float:
    """The share of keys that move when one endpoint of so many goes, times how many there are; of all the worst."""
    keys = [key_hash(f"10.1.{number // 250}.{number % 250}") for number in range(KEYS)]
    listed = [Endpoint(f"10.0.0.{number}", 80) for number in range(1, count + 1)]
    policy = Policy(balancer=LoadBalancer(Balance.CONSISTENT_HASH))
    key = port_key("hashed")

    def owners(endpoints: list[Endpoint]) -> list[str]:
        upstream = Upstream(BackendGroup(key, tuple(endpoints), policy), Random(1))
        picked = (upstream.pick(0.0, one) for one in keys)
        return [target.endpoint.address for target in picked if target is not None]

    before = owners(listed)
    worst = 0
    for gone in listed[:10]:
        after = owners([one for one in listed if one is not gone])
        worst = max(worst, sum(one != other for one, other in zip(before, after, strict=True)))
    return worst / KEYS * count
