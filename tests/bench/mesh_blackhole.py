"""One of two endpoints becomes a black hole under load: who notices, for how long, and when it is left out.

Three network namespaces: the plane and its clients in one, an endpoint in each of the others. What is sent to one of
them is dropped in silence from one moment on; the run goes on until after the first trial of it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from mesh.model.services import Endpoint
from mesh.planes.http import Times
from mesh.upstream import Upstream
from tests.bench.figure import Figure, Scale
from tests.mesh.http.site import http_site, key
from tests.mesh.netns import HOLES, Network, Node, missing
from tests.mesh.raw_rig import port_key, rig

log = logging.getLogger(__name__)

CLIENTS: Final = 8
ROUNDS: Final = 3
PORT: Final = 8080
WARM_S: Final = 1.0
DARK_S: Final = 6.5
"""The endpoint is ejected for five seconds; a trial follows."""
PATIENCE_S: Final = 10.0
_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"


async def figures(scale: Scale) -> list[Figure]:
    """Requests by HTTP, and raw connections; nothing where no namespaces can be made."""
    del scale
    if why := missing():
        log.warning("mesh.blackhole is not measured: %s", why)
        return []
    http = [await _http() for _ in range(ROUNDS)]
    raw = [await _raw() for _ in range(ROUNDS)]
    says = f"one of 2 endpoints black-holed, {CLIENTS} clients; median of {ROUNDS} rounds"
    return [
        Figure(
            "mesh.blackhole.raw",
            median(one.worst_ms for one in raw),
            "ms",
            f"worst delay that it added, raw, a connection for each request: {says}",
            300,
            at_most=True,
        ),
        Figure(
            "mesh.blackhole.failed",
            sum(one.failed for one in (*http, *raw)),
            "count",
            "requests that failed, of all rounds",
            0,
            at_most=True,
        ),
        Figure(
            "mesh.blackhole.ejected",
            median(one.ejected_ms for one in (*http, *raw)),
            "ms",
            "until it is left out, both",
            500,
            at_most=True,
        ),
        Figure(
            "mesh.blackhole",
            median(one.worst_ms for one in http),
            "ms",
            f"worst delay that it added, HTTP, connections kept, some requests under way at that moment: {says}",
            300,
            at_most=True,
        ),
    ]


@dataclass
class Load:
    """Clients that ask as fast as they are answered, and how long each answer took."""

    ask: Callable[[], Awaitable[bool]]
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    took_s: list[float] = field(default_factory=list)
    failed: int = 0
    asking: int = 0

    async def client(self) -> None:
        while True:
            await self.gate.wait()
            began_s = time.monotonic()
            self.asking += 1
            try:
                async with asyncio.timeout(PATIENCE_S):
                    good = await self.ask()
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                good = False
            self.asking -= 1
            self.failed += not good
            self.took_s.append(time.monotonic() - began_s)

    async def quiet(self) -> None:
        """Let what is under way end, and nothing more begin."""
        self.gate.clear()
        while self.asking:  # noqa: ASYNC110 - each client ends by itself
            await asyncio.sleep(0.001)


@dataclass(frozen=True)
class Seen:
    """What one round gave."""

    worst_ms: float
    ejected_ms: float
    failed: int


async def _raw() -> Seen:
    with Network(3) as net:
        gateway, good, dark = net.nodes
        for node in (good, dark):
            node.start(sys.executable, "-m", "tests.bench.mesh_backend", str(PORT))
            gateway.answers(node.address, PORT)
        with gateway.inside():
            async with rig() as made:
                port = await made.service(*(Endpoint(node.address, PORT) for node in (good, dark)))

                async def ask() -> bool:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        writer.write(_REQUEST)
                        return (await reader.readexactly(12)).endswith(b"200")
                    finally:
                        writer.transport.abort()

                upstream = made.upstreams.get(port_key())
                assert upstream is not None
                # A connection that stands already cannot be taken elsewhere by a plane that does not read it: the
                # clients pause while the cable goes dead.
                return await _round(Load(ask), upstream, dark, pause=True)


async def _http() -> Seen:
    with Network(3) as net:
        gateway, good, dark = net.nodes
        for node in (good, dark):
            node.start(sys.executable, "-m", "tests.bench.mesh_backend", str(PORT))
            gateway.answers(node.address, PORT)
        with gateway.inside():
            async with http_site(times=Times()) as site:
                await site.serve(*(Endpoint(node.address, PORT) for node in (good, dark)))
                upstream = site.upstreams.get(key())
                assert upstream is not None
                kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

                async def ask() -> bool:
                    """On a connection that is kept, one a client."""
                    reader, writer = kept.pop() if kept else await asyncio.open_connection("127.0.0.1", site.port)
                    try:
                        writer.write(_REQUEST)
                        head = await reader.readuntil(b"\r\n\r\n")
                        await reader.readexactly(2)
                    except BaseException:
                        writer.transport.abort()
                        raise
                    kept.append((reader, writer))
                    return head.split(b" ")[1] == b"200"

                try:
                    return await _round(Load(ask), upstream, dark, pause=False)
                finally:
                    for _, writer in kept:
                        writer.transport.abort()


async def _round(load: Load, upstream: Upstream, dark: Node, *, pause: bool) -> Seen:
    clients = [asyncio.create_task(load.client()) for _ in range(CLIENTS)]
    try:
        load.gate.set()
        await asyncio.sleep(WARM_S)
        usual_s = median(load.took_s)
        if pause:
            await load.quiet()
        load.took_s.clear()
        began_s = time.monotonic()
        await asyncio.to_thread(_swallow, dark)
        load.gate.set()
        target = upstream.targets[Endpoint(dark.address, PORT).place]
        ejected_s = 0.0
        while time.monotonic() - began_s < DARK_S:
            if not ejected_s and target.ejected:
                ejected_s = time.monotonic()
            await asyncio.sleep(0.005 if not ejected_s else 0.1)
        await load.quiet()
        assert ejected_s, "it was never left out"
        return Seen((max(load.took_s) - usual_s) * 1000, (ejected_s - began_s) * 1000, load.failed)
    finally:
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)


def _swallow(node: Node) -> None:
    """Let all that is sent to a node vanish."""
    script = f"""
        add table inet {HOLES}
        add chain inet {HOLES} drops {{ type filter hook prerouting priority -400; }}
        add rule inet {HOLES} drops ip daddr {node.address} drop
    """
    node.run("nft", "-f", "-", stdin=script)
