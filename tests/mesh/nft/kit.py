"""A gateway between a client and three endpoints, each a namespace, and the plane that runs in the gateway."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from random import Random

from mesh.model.policies import Policy
from mesh.model.programme import BackendGroup, BoundRule, Frontend, ProgrammeDelta
from mesh.model.routes import Backend, Rule
from mesh.model.services import Endpoint, Plane, PortKey, ServiceKey, Transport
from mesh.planes.nft import Nftables
from mesh.upstream import Upstreams
from tests.mesh.netns import Network, Node

BACKEND = Path(__file__).parents[1] / "backend.py"
PORT = 7000
NETWORKS = (ip_network("10.96.0.0/16"), ip_network("fd00:96::/112"))
WEB4, WEB6 = "10.96.0.1", "fd00:96::1"


def key(name="web", port=80, transport=Transport.TCP) -> PortKey:
    return PortKey(ServiceKey("plant", name), port, transport)


def at(node: Node, *, six=False, **fields) -> Endpoint:
    return Endpoint(node.address6 if six else node.address, PORT, **fields)


def group(port: PortKey, *endpoints: Endpoint, **policy) -> BackendGroup:
    return BackendGroup(port, endpoints, Policy(**policy))


def frontend(port: PortKey, *addresses: str, to=(), rate_limit=None, **fields) -> Frontend:
    backends = tuple(to) or (Backend(port),)
    fields.setdefault("plane", Plane.NFTABLES)
    return Frontend(port, addresses, (BoundRule(Rule(backends=backends), rate_limit=rate_limit),), **fields)


def delta(*items: Frontend | BackendGroup, gone=(), gone_backends=()) -> ProgrammeDelta:
    fronts = tuple(one for one in items if isinstance(one, Frontend))
    groups = tuple(one for one in items if isinstance(one, BackendGroup))
    return ProgrammeDelta(fronts, tuple(gone), groups, tuple(gone_backends))


class Gateway:
    """The plane and its upstreams, told in the right order."""

    def __init__(self, **options) -> None:
        self.upstreams = Upstreams(Random(1))
        self.mended: list[str] = []
        options.setdefault("networks", NETWORKS)
        options.setdefault("watch_s", 0.05)
        self.plane = Nftables(self.upstreams, time.monotonic, on_mended=self.mended.append, **options)

    async def program(self, *items, **more):
        change = delta(*items, **more)
        self.upstreams.apply(change.backends, change.gone_backends)
        return await self.plane.program(change)


@asynccontextmanager
async def gateway(**options) -> AsyncIterator[Gateway]:
    made = Gateway(**options)
    await made.plane.open()
    try:
        yield made
    finally:
        await made.plane.close()


@contextmanager
def site(nodes: int = 4, *, routed: bool = True) -> Iterator[tuple[Network, Node, list[Node]]]:
    """A network, its client, and nodes with an endpoint each; this thread is in the gateway, which is the router."""
    with Network(nodes, routed=routed) as net:
        client, *backends = net.nodes
        for node in backends:
            node.start(sys.executable, str(BACKEND), node.name, str(PORT))
        for node in backends:
            for address in (node.address, node.address6):
                client.answers(address, PORT)
        with net.router.inside():
            yield net, client, backends


def connect(node: Node, address: str, port: int = 80, timeout_s: float = 5) -> socket.socket:
    sock = node.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.settimeout(timeout_s)
    try:
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


def ask(sock: socket.socket) -> list[str]:
    """Who answers, and what it takes its client to be."""
    sock.sendall(b"who\n")
    answer = sock.recv(200).decode().split()
    if not answer:
        raise ConnectionResetError
    return answer


def who(node: Node, address: str, port: int = 80, timeout_s: float = 5) -> str:
    with connect(node, address, port, timeout_s) as sock:
        return ask(sock)[0]


def who_by_datagram(sock: socket.socket, address: str, port: int = 80) -> str:
    sock.settimeout(5)
    sock.sendto(b"who\n", (address, port))
    return sock.recv(200).decode().split()[0]


def spread(node: Node, address: str, times: int, port: int = 80) -> Counter[str]:
    return Counter(who(node, address, port) for _ in range(times))


async def until(condition, timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)


def refused(node: Node, address: str, port: int = 80) -> bool:
    """Whether a connection is refused at once, as it should be where nothing is behind."""
    with suppress(ConnectionRefusedError):
        connect(node, address, port, 2).close()
        return False
    return True
