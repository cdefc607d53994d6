"""How exactly weights hold: 10 000 connections through the userspace plane, and the keys that one change moves."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Final

from mesh.balance import key_hash
from mesh.model import (
    Backend,
    BackendGroup,
    Balance,
    BoundRule,
    Endpoint,
    Frontend,
    LoadBalancer,
    Policy,
    PortKey,
    Rule,
    ServiceKey,
)
from mesh.upstream import Upstream
from tests.bench.figure import Figure, Scale
from tests.mesh.raw_rig import Rig, free_port, named, port_key, rig

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
    says = (
        f"{REQUESTS} connections through a route of weights {', '.join(map(str, ROUTE.values()))} to endpoints"
        f" of weights {', '.join(map(str, ENDPOINTS))}: how far the worst share is off, of that share"
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
            in_turn,
            "%",
            says,
            2,
            at_most=True,
        ),
    ]


async def _error_percent(made: Rig, balance: Balance) -> float:
    backends, expected = [], {}
    for name, weight in ROUTE.items():
        key = PortKey(ServiceKey("bench", name), 80)
        listed = []
        for number, share in enumerate(ENDPOINTS):
            at = await made.server(named(f"{name} {number}".encode()))
            listed.append(Endpoint(at.address, at.port, weight=share))
            expected[f"{name} {number}"] = weight / sum(ROUTE.values()) * share / sum(ENDPOINTS)
        made.upstreams.apply([BackendGroup(key, tuple(listed), Policy(balancer=LoadBalancer(balance)))], [])
        backends.append(Backend(key, weight))
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
