"""Services carried by the kernel against the bare path, and one among a thousand against one alone.

    client ──veth──> router: nothing but forwarding, or the nftables plane ──veth──> one backend with two ports

The bare path goes to one of the ports, the service to both in turn: the same backend does the same work. (One stream
goes to one port, for its two connections belong together.) Every round measures all ways one after the other, each
round in the other order than the one before.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

from mesh.model.programme import BackendGroup, BoundRule, Frontend, ProgrammeDelta
from mesh.model.routes import Backend, Rule
from mesh.model.services import Endpoint, Origin, Plane, PortKey, ServiceKey
from mesh.planes.nft import Nftables
from mesh.upstream import Upstreams
from tests.bench.figure import Figure, Scale
from tests.mesh.netns import Network, Node

MANY: Final = 1000
_ROUNDS: Final = 11
_BULK_ROUNDS: Final = 7
_MANY_ROUNDS: Final = 7
_SETTLE_S: Final = 1.0
"""Until the kernel has cleared away what was replaced; a thousand services are one change here."""
_HTTP: Final = (8000, 8001)
_IPERF: Final = 5201
_DIRECT: Final = "direct"
_OURS: Final = "ours"
_ONE: Final = "one"
_AMONG_MANY: Final = "among many"
_BACKEND: Final = """
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
frontend fixed
  bind {address}:8000
  bind {address}:8001
  http-request return status 200 content-type text/plain string "{body}"
"""


async def figures(scale: Scale) -> list[Figure]:
    """Requests and connections a second, and bulk."""
    with Network(2, routed=True) as net, net.router.inside():
        client, server = net.nodes
        _start(server, scale.folder)
        for port in (*_HTTP, _IPERF):
            client.answers(server.address, port)
        async with carrier() as program:
            await program([service(0, [(server.address, port) for port in _HTTP])])
            await program([service(1, [(server.address, _IPERF)])])
            direct = {
                "requests": (server.address, _HTTP[0]),
                "connections": (server.address, _HTTP[0]),
                "bytes": (server.address, _IPERF),
            }
            ours = {"requests": (address(0), 80), "connections": (address(0), 80), "bytes": (address(1), 80)}
            ratios = {}
            for what, measure in _MEASURES.items():
                rounds = _BULK_ROUNDS if what == "bytes" else _ROUNDS
                got = await _rounds(client, {_DIRECT: direct[what], _OURS: ours[what]}, measure, rounds)
                ratios[what] = _ratio(got, _OURS, _DIRECT)
            others = [service(number, [("10.77.2.1", port) for port in _HTTP]) for number in range(2, MANY)]
            many = await _one_among_many(client, program, others)
    return [
        Figure("mesh.nft.requests", ratios["requests"], "x", "keep-alive requests/s of a service against direct", 0.97),
        Figure("mesh.nft.connections", ratios["connections"], "x", "connections/s against direct", 0.97),
        Figure("mesh.nft.bulk", ratios["bytes"], "x", "GB/s of one stream against direct", 0.97),
        Figure("mesh.nft.many", many, "x", f"the lower of both with {MANY} services against one", 0.95),
        Figure("mesh.nft", min(ratios.values()), "x", "nftables against direct, the lowest of the three", 0.97),
    ]


Program = Callable[[list[tuple[Frontend, BackendGroup]]], Awaitable[None]]


@asynccontextmanager
async def carrier() -> AsyncIterator[Program]:
    """The plane in this thread's namespace; what it yields tells it of services, or takes them away again if none."""
    upstreams = Upstreams(Random(1))
    plane = Nftables(upstreams, time.monotonic)
    await plane.open()

    async def program(services: list[tuple[Frontend, BackendGroup]]) -> None:
        groups = tuple(group for _, group in services)
        upstreams.apply(groups, [])
        problems = await plane.program(ProgrammeDelta(tuple(front for front, _ in services), (), groups))
        assert not problems, problems

    try:
        yield program
    finally:
        await plane.close()


def address(number: int) -> str:
    """The address of a service."""
    return f"10.96.{number // 250}.{number % 250 + 1}"


def service(number: int, places: list[tuple[str, int]], plane: Plane = Plane.NFTABLES) -> tuple[Frontend, BackendGroup]:
    """One service with these endpoints, which are on this gateway as those of pods are."""
    key = PortKey(ServiceKey("bench", f"service-{number}"), 80)
    front = Frontend(key, (address(number),), (BoundRule(Rule((Backend(key),))),), plane=plane)
    return front, BackendGroup(key, tuple(Endpoint(host, port, origin=Origin.HERE) for host, port in places))


async def _one_among_many(client: Node, program: Program, others: list[tuple[Frontend, BackendGroup]]) -> float:
    """Requests and connections of one service, with and without the others; the lower ratio."""
    elsewhere = [(_moved(front), group) for front, group in others]
    got: dict[str, dict[str, list[float]]] = {"requests": {}, "connections": {}}
    for number in range(_MANY_ROUNDS):
        for way in (_ONE, _AMONG_MANY) if number % 2 else (_AMONG_MANY, _ONE):
            await program(others if way is _AMONG_MANY else elsewhere)
            await asyncio.sleep(_SETTLE_S)
            for what, seen in got.items():
                seen.setdefault(way, []).append(_MEASURES[what](client, address(0), 80))
    return min(_ratio(seen, _AMONG_MANY, _ONE) for seen in got.values())


def _moved(front: Frontend) -> Frontend:
    return Frontend(front.key, front.addresses, front.rules, plane=Plane.USERSPACE)


async def _rounds(
    client: Node, ways: Mapping[str, tuple[str, int]], measure: Callable[[Node, str, int], float], rounds: int
) -> dict[str, list[float]]:
    got: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in ways if number % 2 else reversed(ways):
            got[way].append(measure(client, *ways[way]))
    return got


def _requests_per_s(client: Node, host: str, port: int) -> float:
    return _wrk(client, host, port)


def _connections_per_s(client: Node, host: str, port: int) -> float:
    return _wrk(client, host, port, "-H", "Connection: close")


def _wrk(client: Node, host: str, port: int, *more: str) -> float:
    printed = client.run("wrk", "-t1", "-c16", "-d1", *more, f"http://{host}:{port}/")
    if "Socket errors" in printed or "Non-2xx" in printed:
        msg = f"requests failed at {host}:{port}: {printed}"
        raise RuntimeError(msg)
    found = re.search(r"Requests/sec:\s+([\d.]+)", printed)
    assert found is not None
    return float(found.group(1))


def _gbytes_per_s(client: Node, host: str, port: int) -> float:
    """Up and down, one after the other; the mean of both."""
    both = []
    for way in ((), ("-R",)):
        printed = client.run("iperf3", "-J", "-c", host, "-p", str(port), "-t", "1", *way)
        both.append(json.loads(printed)["end"]["sum_received"]["bits_per_second"] / 8e9)
    return sum(both) / len(both)


_MEASURES: Final = {"requests": _requests_per_s, "connections": _connections_per_s, "bytes": _gbytes_per_s}


def _start(server: Node, folder: Path) -> None:
    config = folder / "backend.cfg"
    config.write_text(_BACKEND.format(address=server.address, body="x" * 90))
    server.start("haproxy", "-f", str(config), "-db", stderr=subprocess.DEVNULL)
    server.start("iperf3", "-s", "-p", str(_IPERF), stderr=subprocess.DEVNULL)


def _ratio(got: Mapping[str, list[float]], ours: str, other: str) -> float:
    return median(one / two for one, two in zip(got[ours], got[other], strict=True))
