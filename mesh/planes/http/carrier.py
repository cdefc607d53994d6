"""Carries HTTP/1.1 connections: a Carrier, with the clock that ends what takes too long."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection
from contextlib import suppress
from random import Random

from mesh.model.programme import Frontend
from mesh.model.services import PortKey
from mesh.planes.dialer import Dialer
from mesh.planes.http.client import ClientConnection
from mesh.planes.http.pool import Pools
from mesh.planes.http.rules import Front
from mesh.planes.http.shared import HttpWatcher, Shared, Times, Unwatched
from mesh.upstream import Upstreams

log = logging.getLogger(__name__)


class HttpCarrier:
    """All HTTP connections of a process. ``offline`` says whether the cloud is out of reach."""

    def __init__(
        self,
        upstreams: Upstreams,
        rng: Random,
        clock: Callable[[], float],
        *,
        watcher: HttpWatcher | None = None,
        dialer: Dialer | None = None,
        offline: Callable[[], bool] = lambda: False,
        times: Times = Times(),  # noqa: B008 - a frozen value
    ) -> None:
        self._shared = Shared(Pools(upstreams), clock, rng, times, watcher or Unwatched(), dialer, offline)
        self._fronts: dict[PortKey, Front] = {}
        self._ticking: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._shared.clients)

    @property
    def clients(self) -> Collection[ClientConnection]:
        """Who is connected."""
        return self._shared.clients

    @property
    def pools(self) -> Pools:
        """Its connections to endpoints."""
        return self._shared.pools

    def open(self) -> None:
        """Start, in the running loop."""
        self._shared.start_ticking = self._tick
        self._sweep()

    def changed(self, frontend: Frontend) -> str:
        """Take a new or other frontend's rules; the next request of open connections goes by them."""
        front = self._fronts.get(frontend.key)
        try:
            if front is None:
                self._fronts[frontend.key] = Front(frontend, self._shared.pools, self._shared.rng, self._shared.lines)
            else:
                front.update(frontend)
        except ValueError as bad:
            return f"{frontend.key}: {bad}; mend the route"
        return ""

    def forgotten(self, key: PortKey) -> None:
        """A frontend is gone: its connections end after the request that they are at."""
        front = self._fronts.pop(key, None)
        for client in list(self._shared.clients) if front is not None else ():
            if client.front is front:
                client.end_soon()

    def accepted(self, sock: socket.socket, client: str, frontend: Frontend) -> None:
        """Take over a connection that has just been accepted."""
        front = self._fronts.get(frontend.key)
        if front is None:
            sock.close()
            return
        connection = ClientConnection(self._shared, front, client.removeprefix("::ffff:").partition("%")[0])
        task = asyncio.get_running_loop().create_task(_attach(connection, sock))
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    async def close(self, grace_s: float) -> None:
        """End idle connections at once, others after their answer; after the grace all."""
        shared = self._shared
        shared.closing = True
        for client in list(shared.clients):
            client.end_soon()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await shared.emptied()
        for client in list(shared.clients):
            client.transport.abort()
        for timer in (self._ticking, self._sweeping):
            if timer is not None:
                timer.cancel()
        shared.pools.close()
        tasks = list(shared.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tick(self) -> None:
        shared = self._shared
        now_s = shared.now()
        for exchange in list(shared.under_way):
            if exchange.begun:
                exchange.tick(now_s)
        shared.ticking = bool(shared.under_way)
        if shared.ticking:
            self._ticking = asyncio.get_running_loop().call_later(shared.times.tick_s, self._tick)

    def _sweep(self) -> None:
        shared = self._shared
        now_s = shared.now()
        for client in list(shared.clients):
            client.tick(now_s)
        shared.pools.sweep(now_s)
        self._sweeping = asyncio.get_running_loop().call_later(shared.times.sweep_s, self._sweep)


async def _attach(connection: ClientConnection, sock: socket.socket) -> None:
    try:
        await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, sock)
    except OSError as gone:
        log.debug("a client left while it was let in: %s", gone)
        sock.close()
