"""A userspace plane with HTTP frontends on free loopback ports, and what tests say to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

from mesh.model.policies import ConnectionPool, Policy
from mesh.model.programme import BackendGroup, BoundRule, Frontend, ProgrammeDelta
from mesh.model.routes import Backend, Rule
from mesh.model.services import AppProtocol, Endpoint, Plane, PortKey, ServiceKey
from mesh.planes.http import HttpCarrier, HttpWatcher, Times
from mesh.planes.listeners import Listeners
from mesh.planes.userspace import Userspace
from mesh.upstream import Upstreams
from tests.ports import free_port

PLAIN = Policy()
WAIT_S = 10.0
SHORT = Times(head_s=0.4, idle_s=5.0, body_s=0.4, left_s=0.3, answer_s=2.0, linger_s=0.2, tick_s=0.01, sweep_s=0.05)


def key(name: str = "shop", port: int = 80) -> PortKey:
    return PortKey(ServiceKey("default", name), port)


class NoDatagrams:
    def opened(self, sock, frontend):
        raise AssertionError

    def closed(self, sock):
        raise AssertionError


class Site:
    """One gateway's HTTP plane. Services are named shop, other, ...; each is backed by ports of loopback."""

    def __init__(self, carrier: HttpCarrier, plane: Userspace, upstreams: Upstreams) -> None:
        self.carrier = carrier
        self.plane = plane
        self.upstreams = upstreams
        self.port = free_port()
        self.frontend_key = PortKey(ServiceKey("default", "front"), self.port)

    async def backends(self, policy: Policy = PLAIN, **services: Sequence[int | Endpoint]) -> None:
        groups = [group(name, ports, policy) for name, ports in services.items()]
        self.upstreams.apply(groups, ())
        problems = await self.plane.program(ProgrammeDelta(backends=tuple(groups)))
        assert not problems, problems

    async def rules(self, *rules: BoundRule | Rule, affinity_s: int = 0) -> None:
        bound = tuple(rule if isinstance(rule, BoundRule) else BoundRule(rule) for rule in rules)
        frontend = Frontend(
            self.frontend_key, ("127.0.0.1",), bound, AppProtocol.HTTP, plane=Plane.USERSPACE, affinity_s=affinity_s
        )
        problems = await self.plane.program(ProgrammeDelta(frontends=(frontend,)))
        assert not problems, problems

    async def serve(self, *ports: int, policy: Policy = PLAIN, rule: Rule | None = None) -> None:
        """One service, one rule."""
        await self.backends(policy, shop=ports)
        await self.rules(rule or Rule((Backend(key()),)))


def group(name: str, ports: Sequence[int | Endpoint], policy: Policy) -> BackendGroup:
    endpoints = tuple(one if isinstance(one, Endpoint) else Endpoint("127.0.0.1", one) for one in ports)
    return BackendGroup(key(name), endpoints, policy)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for: it happens on the other side of a socket
            await asyncio.sleep(0.002)


def patient(**pool) -> Policy:
    """For a busy machine: connections may take long to stand, nobody is ejected."""
    return Policy(pool=ConnectionPool(connect_timeout_ms=5_000, **pool), outlier=None)


@asynccontextmanager
async def http_site(
    times: Times = SHORT,
    watcher: Callable[[Upstreams], HttpWatcher] | None = None,
    dialer=None,
    offline: Callable[[], bool] = lambda: False,
    seed: int = 1,
) -> AsyncIterator[Site]:
    rng = Random(seed)
    upstreams = Upstreams(rng)
    carrier = HttpCarrier(
        upstreams,
        rng,
        time.monotonic,
        watcher=watcher(upstreams) if watcher else None,
        dialer=dialer,
        offline=offline,
        times=times,
    )
    carrier.open()
    plane = Userspace({AppProtocol.HTTP: carrier}, NoDatagrams(), Listeners(linger_s=0.0), grace_s=0.5)
    try:
        yield Site(carrier, plane, upstreams)
    finally:
        await plane.close()
        await asyncio.sleep(0)
