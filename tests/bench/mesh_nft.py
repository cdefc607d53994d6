"""Services carried by the kernel against the bare path, and one among a thousand against one alone.

    client ──veth──> router: nothing but forwarding, or the nftables plane ──veth──> one backend with two ports

The bare path goes to one of the ports, the service to both in turn: the same backend does the same work. (One stream
goes to one port, for its two connections belong together.) Connections that ended leave nothing behind on either side:
a port in TIME_WAIT that is taken again costs its client a second, and which way meets it is a matter of luck.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random
from typing import Final

from mesh.model.programme import BackendGroup, BoundRule, Frontend, ProgrammeDelta
from mesh.model.routes import Backend, Rule
from mesh.model.services import Endpoint, Origin, Plane, PortKey, ServiceKey
from mesh.planes.nft import Nftables
from mesh.upstream import Upstreams
from tests.bench.figure import Figure, Scale
from tests.bench.mesh_ways import IPERF, fixed_answers, gbytes_per_s, iperf_server, ratio, requests_per_s, rounds
from tests.mesh.netns import Network, Node

MANY: Final = 1000
_ROUNDS: Final = 6
_BULK_ROUNDS: Final = 5
_MANY_ROUNDS: Final = 7
_SETTLE_S: Final = 1.0
"""Until the kernel has cleared away what was replaced; a thousand services are one change here."""
_HTTP: Final = (8000, 8001)
_DIRECT: Final = "direct"
_OURS: Final = "ours"
_ONE: Final = "one"
_AMONG_MANY: Final = "among many"


async def figures(scale: Scale) -> list[Figure]:
    """Requests and connections a second, and bulk."""
    with _network(scale.folder) as net:
        client, server = net.nodes
        async with carrier() as program:
            await program([_fixed(server), service(1, [(server.address, IPERF)])])
            ways = {_DIRECT: (server.address, _HTTP[0]), _OURS: (address(0), 80)}
            streams = {_DIRECT: (server.address, IPERF), _OURS: (address(1), 80)}
            requests = ratio(rounds(client, ways, requests_per_s, _ROUNDS), _OURS, _DIRECT)
            connections = ratio(rounds(client, ways, _connections_per_s, _ROUNDS), _OURS, _DIRECT)
            bulk = ratio(rounds(client, streams, gbytes_per_s, _BULK_ROUNDS), _OURS, _DIRECT)
    lowest = min(requests, connections, bulk)
    return [
        Figure("mesh.nft.requests", requests, "x", "keep-alive requests/s of a service against direct", 0.97),
        Figure("mesh.nft.connections", connections, "x", "connections/s against direct", 0.97),
        Figure("mesh.nft.bulk", bulk, "x", "GB/s of one stream against direct", 0.97),
        Figure("mesh.nft", lowest, "x", "nftables against direct, the lowest of the three", 0.97),
    ]


async def among_many(scale: Scale) -> list[Figure]:
    """Requests and connections of one service, with and without the others; the lower ratio."""
    with _network(scale.folder) as net:
        client, server = net.nodes
        others = [service(number, [("10.77.2.1", port) for port in _HTTP]) for number in range(1, MANY)]
        elsewhere = [(_moved(front), group) for front, group in others]
        measures = {"requests": requests_per_s, "connections": _connections_per_s}
        got: dict[str, dict[str, list[float]]] = {what: {_ONE: [], _AMONG_MANY: []} for what in measures}
        async with carrier() as program:
            await program([_fixed(server)])
            for number in range(_MANY_ROUNDS):
                for way in (_ONE, _AMONG_MANY) if number % 2 else (_AMONG_MANY, _ONE):
                    await program(others if way is _AMONG_MANY else elsewhere)
                    await asyncio.sleep(_SETTLE_S)
                    for what, measure in measures.items():
                        got[what][way].append(measure(client, address(0), 80))
    lower = min(ratio(seen, _AMONG_MANY, _ONE) for seen in got.values())
    return [Figure("mesh.nft.many", lower, "x", f"the lower of both with {MANY} services against one", 0.95)]


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


def _moved(front: Frontend) -> Frontend:
    return Frontend(front.key, front.addresses, front.rules, plane=Plane.USERSPACE)


def _fixed(server: Node) -> tuple[Frontend, BackendGroup]:
    return service(0, [(server.address, port) for port in _HTTP])


def _connections_per_s(client: Node, host: str, port: int) -> float:
    return requests_per_s(client, host, port, "-H", "Connection: close")


@contextmanager
def _network(folder: Path) -> Iterator[Network]:
    """With the backend, and this thread in the router."""
    with Network(2, routed=True) as net, net.router.inside():
        client, server = net.nodes
        for node in (client, server):
            node.sysctl("net.ipv4.tcp_max_tw_buckets", "0")
            node.sysctl("net.ipv4.ip_local_port_range", "1024 65535")
        fixed_answers(server, folder / "backend.cfg", *_HTTP)
        iperf_server(server)
        for port in (*_HTTP, IPERF):
            client.answers(server.address, port)
        yield net
