"""A userspace plane in the loop of a test, with one service before servers of the test's own."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from mesh.model.policies import Policy
from mesh.model.programme import BackendGroup, BoundRule, Frontend, ProgrammeDelta
from mesh.model.routes import Backend, Rule
from mesh.model.services import AppProtocol, Endpoint, PortKey, ServiceKey, Transport
from mesh.monitor import Monitor
from mesh.planes.l4.call import Call, Why
from mesh.planes.l4.carrier import RawCarrier
from mesh.planes.l4.datagrams import Datagrams
from mesh.planes.l4.metered import Metered
from mesh.planes.listeners import Listeners
from mesh.planes.userspace import Userspace
from mesh.upstream import Outcome, Upstreams
from tests.ports import free_port

WAIT_S = 20.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def port_key(name: str = "web", port: int = 80, transport: Transport = Transport.TCP) -> PortKey:
    return PortKey(ServiceKey("default", name), port, transport)


@dataclass
class Seen:
    """What a plane told of its connections."""

    stood: list[Call] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    turned_away: list[Why] = field(default_factory=list)
    up_bytes: int = 0
    down_bytes: int = 0

    def stands(self, call: Call) -> None:
        self.stood.append(call)

    def moved(self, call: Call, up_bytes: int, down_bytes: int) -> None:
        self.up_bytes += up_bytes
        self.down_bytes += down_bytes

    def ended(self, call: Call, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def refused(self, call: Call, why: Why) -> None:
        self.turned_away.append(why)


@dataclass
class Rig:
    """The plane, and what it was told."""

    plane: Userspace
    raw: RawCarrier
    datagrams: Datagrams
    listeners: Listeners
    upstreams: Upstreams
    seen: Seen
    monitor: Monitor
    servers: list[asyncio.Server] = field(default_factory=list)
    serving: dict[asyncio.StreamWriter, "asyncio.Task[None] | None"] = field(default_factory=dict)

    async def server(self, serve: Serve, port: int = 0) -> Endpoint:
        """A server on loopback; ended with the test."""

        async def watched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.serving[writer] = asyncio.current_task()
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)

        server = await asyncio.start_server(watched, "127.0.0.1", port, limit=1 << 16)
        self.servers.append(server)
        return Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """End the plane and the servers."""
        await self.plane.close()
        for server in self.servers:
            server.close()
        for writer, task in self.serving.items():
            writer.transport.abort()
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await settled()

    async def program(self, *frontends: Frontend, gone: tuple[PortKey, ...] = ()) -> dict[PortKey, str]:
        return dict(await self.plane.program(ProgrammeDelta(frontends=frontends, gone_frontends=gone)))

    def endpoints(self, *endpoints: Endpoint, key: PortKey | None = None, policy: Policy | None = None) -> None:
        """Put these behind the service, at once."""
        self.upstreams.apply([BackendGroup(key or port_key(), endpoints, policy or Policy())], [])

    async def service(self, *endpoints: Endpoint, policy: Policy | None = None, **changes: object) -> int:
        """A service of its own port before these; that port."""
        port = free_port()
        self.endpoints(*endpoints, policy=policy)
        frontend = replace(raw_frontend(port), **changes)  # type: ignore[arg-type]
        assert await self.program(frontend) == {}
        return port


def raw_frontend(port: int, backend: PortKey | None = None, *, name: str = "web") -> Frontend:
    return Frontend(port_key(name, port), ("127.0.0.1",), (BoundRule(Rule((Backend(backend or port_key()),))),))


@asynccontextmanager
async def rig(linger_s: float = 0.05, *, metered: bool = False) -> AsyncIterator[Rig]:
    """``metered``: connections are counted by the monitor instead of ``seen``."""
    loop = asyncio.get_running_loop()
    rng = random.Random(7)
    upstreams = Upstreams(rng)
    seen = Seen()
    monitor = Monitor(upstreams)
    raw = RawCarrier(upstreams, rng, Metered(monitor, loop.time) if metered else seen, loop.time, None)
    raw.open()
    datagrams = Datagrams(upstreams, raw.choosing, raw.wire.poller, loop.time, Metered(monitor, loop.time))
    listeners = Listeners(linger_s=linger_s)
    plane = Userspace({AppProtocol.RAW: raw, AppProtocol.TLS: raw}, datagrams, listeners, grace_s=0.2)
    made = Rig(plane, raw, datagrams, listeners, upstreams, seen, monitor)
    try:
        yield made
    finally:
        await made.close()


async def settled() -> None:
    """Transports close in a later turn of the loop, those within others in one later still."""
    for _ in range(30):
        await asyncio.sleep(0)


async def until(holds: Callable[[], object], what: str = "it") -> None:
    """Wait until something holds."""
    async with asyncio.timeout(WAIT_S):
        while not holds():  # noqa: ASYNC110 - whatever it is, it has no event
            await asyncio.sleep(0.005)
    assert holds(), what


def abort(writer: asyncio.StreamWriter) -> None:
    """Reset a connection."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say again what was heard, and end when the other has ended."""
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()


def named(text: bytes) -> Serve:
    """A server that says its name and hangs up."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        writer.close()

    return serve


async def read_all(port: int, send: bytes = b"", host: str = "127.0.0.1") -> bytes:
    """Connect, say something and the end of it, and read all that comes."""
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            if send:
                writer.write(send)
                writer.write_eof()
            return await reader.read()
        finally:
            writer.close()
