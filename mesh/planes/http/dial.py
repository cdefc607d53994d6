"""New connections to endpoints. Each is made by a task of its own, for someone who may have gone when it stands."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol

from mesh.planes.dialer import connect_timeout_s
from mesh.planes.http.origin import OriginConnection
from mesh.planes.http.pool import Pool
from mesh.planes.http.shared import Shared
from mesh.upstream import Target


class Waiter(Protocol):
    """Who wants a connection."""

    def stands(self, attempt: int, origin: OriginConnection) -> bool:
        """It stands. False: it is not wanted any more."""

    def failed(self, attempt: int, *, late: bool) -> None:
        """It could not be made; ``late``: nothing was heard in time."""


def connect(shared: Shared, pool: Pool, target: Target, waiter: Waiter, attempt: int) -> None:
    """Begin to connect; the waiter is told how it went, with the number of its attempt."""
    pool.make_room()
    pool.open += 1
    task = asyncio.get_running_loop().create_task(_connect(shared, pool, target, waiter, attempt))
    shared.tasks.add(task)
    task.add_done_callback(shared.tasks.discard)


async def _connect(shared: Shared, pool: Pool, target: Target, waiter: Waiter, attempt: int) -> None:
    origin = OriginConnection(pool, target, shared.heads)
    try:
        await _stand(shared, pool, target, origin)
    except (OSError, TimeoutError) as problem:
        _give_up(pool, origin)
        waiter.failed(attempt, late=isinstance(problem, TimeoutError))
        return
    except asyncio.CancelledError:
        _give_up(pool, origin)
        raise
    if not waiter.stands(attempt, origin):
        pool.put(origin, shared.now())


def _give_up(pool: Pool, origin: OriginConnection) -> None:
    if origin.usable:
        origin.drop()  # it stood in the very moment in which we stopped waiting
    else:
        pool.open -= 1


def _keep_alive(origin: OriginConnection, after_s: int) -> None:
    """Let the kernel ask whether an idle connection stands still."""
    sock = origin.transport.get_extra_info("socket")
    if after_s and sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, after_s)


async def _stand(shared: Shared, pool: Pool, target: Target, origin: OriginConnection) -> None:
    loop = asyncio.get_running_loop()
    endpoint = target.endpoint
    timeout_s = connect_timeout_s(endpoint, pool.upstream.group.policy.pool.connect_timeout_ms)
    async with asyncio.timeout(timeout_s):
        if not endpoint.via:
            await loop.create_connection(lambda: origin, endpoint.address, endpoint.port)
            _keep_alive(origin, pool.upstream.group.policy.pool.tcp_keepalive_s)
        elif shared.dialer is None:
            msg = f"{endpoint.place} is reached through {endpoint.via}, and there is no tunnel"
            raise ConnectionError(msg)
        else:
            sock = await shared.dialer.dial(pool.upstream.key, endpoint, timeout_s)
            await loop.create_connection(lambda: origin, sock=sock)
