"""What the mesh's process takes with a large table: all planes, HTTP routes, DNS, a policy for every tenth service."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from dataclasses import replace

from mesh.model.policies import HealthCheck, Policy
from mesh.model.routes import Backend as To
from mesh.model.routes import HttpMatch, Route, RouteKey, RouteKind, Rule
from mesh.model.services import AppProtocol, Endpoint, Plane, PortKey, Service, ServiceKey, ServicePort
from mesh.model.table import Table
from mesh.settings import Settings
from tests.bench.figure import Figure, Scale
from tests.bench.rig import pss_mb
from tests.mesh.netns import Network, missing
from tests.mesh.owner import Owner

SERVICES = 1000
ENDPOINTS = 4
HTTP = 100
CHANGES = 50


def big_table() -> Table:
    """Of ten services one has HTTP and a route, one a health check; every fourth is carried by the kernel."""
    services, routes, policies = {}, {}, {}
    for number in range(SERVICES):
        key = ServiceKey("bench", f"service-{number}")
        http = number % (SERVICES // HTTP) == 0
        plane = Plane.NFTABLES if number % 4 == 1 else Plane.USERSPACE
        endpoints = tuple(
            Endpoint(f"10.{number // 250}.{number % 250}.{at + 1}", 8080, node=f"gw-{at}", zone="hall")
            for at in range(ENDPOINTS)
        )
        app = AppProtocol.HTTP if http else AppProtocol.RAW
        network = "10.96" if plane is Plane.NFTABLES else "127.96"
        address = f"{network}.{1 + number // 250}.{1 + number % 250}"
        services[key] = Service(key, address, (ServicePort(80, "web", app=app, endpoints=endpoints),), plane=plane)
        if http:
            port = PortKey(key, 80)
            route = RouteKey(RouteKind.HTTP, "bench", key.name)
            rules = (Rule((To(port),), (HttpMatch("/api"),), request_ms=2000), Rule((To(port),)))
            routes[route] = Route(route, (port,), rules, (f"{key.name}.example.com",))
        if number % 10 == 5:
            policies[key] = Policy(health_check=HealthCheck(interval_ms=60_000))
    return Table(services, routes, policies)


async def memory(scale: Scale) -> list[Figure]:
    """PSS of the process with the table, and without one; how long a changed endpoint takes to be carried out."""
    table = big_table()
    async with contextlib.AsyncExitStack() as stack:
        if not missing():  # in a network of its own, where the kernel may be told what to do
            stack.enter_context(stack.enter_context(Network(1)).nodes[0].inside())
        settings = Settings(
            "gw-0", "hall", dns_listen=("127.0.0.1:10053",), network="10.96.0.0/16", plane=Plane.USERSPACE
        )
        owner = await stack.enter_async_context(Owner(scale.folder, settings))
        await owner.ready()
        await owner.whole(Table())
        empty_mb = pss_mb(owner.process.pid)
        began_s = time.monotonic()
        await owner.whole(table)
        whole_ms = (time.monotonic() - began_s) * 1000
        await asyncio.sleep(3)  # nftables is opened when it is asked for, and counters are told each second
        took_ms = [await _changed(owner, table, number) for number in range(CHANGES)]
        full_mb = pss_mb(owner.process.pid)
    kernel = "without nftables" if missing() else "a quarter of them in nftables"
    says = f"PSS of the mesh's process, {SERVICES} services, {SERVICES * ENDPOINTS} endpoints, {HTTP} routes, DNS"
    return [
        Figure("mesh.memory.empty", empty_mb, "MB", "the same without a table"),
        Figure("mesh.memory.whole", whole_ms, "ms", "until that table is carried out, from its first byte"),
        Figure("mesh.memory.change", statistics.median(took_ms), "ms", "until one changed endpoint is, median"),
        Figure("mesh.memory", full_mb, "MB", f"{says}, {kernel}", 60, at_most=True),
    ]


async def _changed(owner: Owner, table: Table, number: int) -> float:
    service = table.services[ServiceKey("bench", f"service-{number}")]
    port = service.ports[0]
    began_s = time.monotonic()
    await owner.change(services=(replace(service, ports=(replace(port, endpoints=port.endpoints[:-1]),)),))
    return (time.monotonic() - began_s) * 1000
