"""From a change of one service's endpoints, among a thousand services, to the first connection at the new ones.

    client ──veth──> router: table ──compile──> upstreams ──> plane ──veth──> endpoint "a", endpoint "b"

The service is given the one endpoint or the other. A client of its own process opens connection after connection, and
says when the first stood that the new endpoint answered; both processes read one clock.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Final

from mesh.anyip import add_route
from mesh.compile import Compiled, change, compile_table
from mesh.model.programme import ProgrammeDelta
from mesh.model.services import AppProtocol, Endpoint, Origin, Plane, Service, ServiceKey, ServicePort
from mesh.model.table import Table, TableChange
from mesh.monitor import Monitor
from mesh.planes import DataPlane
from mesh.planes.l4.carrier import RawCarrier
from mesh.planes.l4.datagrams import Datagrams
from mesh.planes.l4.metered import Metered
from mesh.planes.listeners import Listeners
from mesh.planes.nft import Nftables
from mesh.planes.userspace import Userspace
from mesh.upstream import Upstreams
from tests.bench.figure import Figure, Scale
from tests.bench.mesh_nft import address
from tests.mesh.netns import Network, Node

_SERVICES: Final = 1000
_CHANGES: Final = 101
_SETTLE_S: Final = 0.02
_NETWORK: Final = ip_network("10.96.0.0/16")
_PROBE: Final = Path(__file__).parent / "mesh_hotplug_probe.py"
_SERVER: Final = "10.77.2.1"
_PORTS: Final = {"a": 8000, "b": 8001}


async def figures(scale: Scale) -> list[Figure]:
    """Both planes, one after the other."""
    del scale
    took_ms = {plane: await _changes(plane) for plane in (Plane.USERSPACE, Plane.NFTABLES)}
    kernel, user = took_ms[Plane.NFTABLES], took_ms[Plane.USERSPACE]
    among = f"to its first connection there, among {_SERVICES} services"
    return [
        Figure(
            "mesh.hotplug.p95", quantiles(kernel, n=20)[-1], "ms", "of nftables, 95 of 100 changes", 0, at_most=False
        ),
        Figure("mesh.hotplug.userspace", median(user), "ms", f"endpoint change {among}, userspace", 2, at_most=True),
        Figure("mesh.hotplug", median(kernel), "ms", f"endpoint change {among}, nftables", 10, at_most=True),
    ]


async def _changes(plane: Plane) -> list[float]:
    """How long each of many changes took, in ms."""
    with Network(2, routed=True) as net, net.router.inside():
        client, server = net.nodes
        for name, port in _PORTS.items():
            server.start(sys.executable, str(_PROBE), "serve", name, str(port))
            client.answers(server.address, port)
        upstreams = Upstreams(Random(1))
        compiled = compile_table(_table(plane))
        async with _opened(plane, upstreams) as carrier:
            await _tell(carrier, upstreams, _all(compiled))
            return await _measure(client, carrier, upstreams, compiled)


async def _measure(client: Node, carrier: DataPlane, upstreams: Upstreams, compiled: Compiled) -> list[float]:
    last = _SERVICES - 1
    probe = await asyncio.create_subprocess_exec(
        *client.argv(sys.executable, str(_PROBE), "ask", address(last), "80"), stdout=subprocess.PIPE
    )
    assert probe.stdout is not None
    took_ms = []
    try:
        async with asyncio.timeout(60):
            assert (await probe.stdout.readline()).startswith(b"a ")
            for number in range(_CHANGES):
                to = "ba"[number % 2]
                await asyncio.sleep(_SETTLE_S)  # the last change is over, and the client in full swing
                service = _service(last, _PORTS[to], compiled.table.services[_key(last)].plane)
                began_s = time.monotonic()
                compiled, delta = change(compiled, TableChange(services=(service,)))
                await _tell(carrier, upstreams, delta)
                name, at_s = (await probe.stdout.readline()).decode().split()
                assert name == to
                took_ms.append((float(at_s) - began_s) * 1000)
    finally:
        probe.kill()
        await probe.wait()
    return took_ms


@asynccontextmanager
async def _opened(plane: Plane, upstreams: Upstreams) -> AsyncIterator[DataPlane]:
    clock = asyncio.get_running_loop().time
    carrier: DataPlane
    if plane is Plane.NFTABLES:
        carrier = Nftables(upstreams, clock, [_NETWORK])
    else:
        add_route(_NETWORK)
        watcher = Metered(Monitor(upstreams), clock)
        raw = RawCarrier(upstreams, Random(1), watcher, clock, None)
        raw.open()
        datagrams = Datagrams(upstreams, raw.choosing, raw.wire.poller, clock, watcher)
        carrier = Userspace({AppProtocol.RAW: raw}, datagrams, Listeners())
    await carrier.open()
    try:
        yield carrier
    finally:
        await carrier.close()


async def _tell(carrier: DataPlane, upstreams: Upstreams, delta: ProgrammeDelta) -> None:
    upstreams.apply(delta.backends, delta.gone_backends)
    problems = await carrier.program(delta)
    assert not problems, problems


def _all(compiled: Compiled) -> ProgrammeDelta:
    programme = compiled.programme
    return ProgrammeDelta(tuple(programme.frontends.values()), (), tuple(programme.backends.values()))


def _table(plane: Plane) -> Table:
    return Table({_key(number): _service(number, _PORTS["a"], plane) for number in range(_SERVICES)})


def _service(number: int, port: int, plane: Plane | None) -> Service:
    endpoints = (Endpoint(_SERVER, port, origin=Origin.HERE),)
    return Service(_key(number), address(number), (ServicePort(80, endpoints=endpoints),), plane=plane)


def _key(number: int) -> ServiceKey:
    return ServiceKey("bench", f"service-{number}")
