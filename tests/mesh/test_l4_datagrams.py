"""Datagrams through the userspace plane: a flow for each client, bounded, and never held to a dead endpoint."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mesh.model.policies import Policy
from mesh.model.programme import BackendGroup
from mesh.model.services import Endpoint, Transport
from mesh.planes.l4 import datagrams
from tests.mesh.raw_rig import WAIT_S, Rig, free_port, port_key, raw_frontend, rig, until

KEY = port_key("dns", 53, Transport.UDP)


class Echo(asyncio.DatagramProtocol):
    """Says its name and what it heard."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.clients: set[object] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.clients.add(addr)
        self.transport.sendto(self.name + data, addr)  # type: ignore[attr-defined]


class Client:
    """A socket that asks and waits."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.connect((host, port))

    async def ask(self, text: bytes) -> bytes:
        self.sock.send(text)
        async with asyncio.timeout(WAIT_S):
            return await asyncio.get_running_loop().sock_recv(self.sock, 70_000)


@pytest.fixture
async def mesh() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


@pytest.fixture
async def clients() -> AsyncIterator[list[Client]]:
    made: list[Client] = []
    yield made
    for client in made:
        client.sock.close()


@pytest.fixture
async def echoes() -> AsyncIterator[list[Echo]]:
    loop = asyncio.get_running_loop()
    made = []
    for name in (b"a", b"b"):
        _, protocol = await loop.create_datagram_endpoint(lambda: Echo(name), ("127.0.0.1", 0))  # noqa: B023
        made.append(protocol)
    yield made
    for protocol in made:
        protocol.transport.close()
    await asyncio.sleep(0)


def endpoint(echo: Echo) -> Endpoint:
    return Endpoint(*echo.transport.get_extra_info("sockname"))


async def service(mesh: Rig, *echoes: Echo, node_port: int = 0, affinity_s: int = 0) -> int:
    mesh.upstreams.apply([BackendGroup(KEY, tuple(endpoint(one) for one in echoes), Policy(outlier=None))], [])
    port = free_port(socket.SOCK_DGRAM)
    frontend = replace(raw_frontend(port, KEY), node_port=node_port, affinity_s=affinity_s)
    frontend = replace(frontend, key=port_key("dns", port, Transport.UDP))
    assert await mesh.program(frontend) == {}
    return port


async def test_a_client_keeps_its_endpoint_and_gets_its_answers(
    mesh: Rig, echoes: list[Echo], clients: list[Client]
) -> None:
    port = await service(mesh, *echoes)
    for number in range(6):
        clients.append(Client(port))
        heard = {await clients[-1].ask(b"%d" % number) for _ in range(3)}
        assert heard in ({b"a%d" % number}, {b"b%d" % number})
    assert all(len(echo.clients) == 3 for echo in echoes)


async def test_the_largest_datagram_passes_both_ways(mesh: Rig, echoes: list[Echo], clients: list[Client]) -> None:
    port = await service(mesh, *echoes)
    clients.append(Client(port))
    big = b"x" * 65_506
    assert (await clients[0].ask(big))[1:] == big
    assert len(await clients[0].ask(b"")) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.99", "::1"])
async def test_an_answer_comes_from_the_address_that_was_asked(
    mesh: Rig, echoes: list[Echo], clients: list[Client], host: str
) -> None:
    node_port = free_port(socket.SOCK_DGRAM)
    await service(mesh, *echoes, node_port=node_port)
    clients.append(Client(node_port, host))  # connected: it hears nothing from any other address
    assert (await clients[0].ask(b"here?"))[1:] == b"here?"


async def test_a_flow_goes_elsewhere_when_its_endpoint_is_gone(
    mesh: Rig, echoes: list[Echo], clients: list[Client]
) -> None:
    port = await service(mesh, echoes[0])
    clients.append(Client(port))
    assert await clients[0].ask(b"1") == b"a1"
    mesh.upstreams.apply([BackendGroup(KEY, (endpoint(echoes[1]),))], [])
    assert await clients[0].ask(b"2") == b"b2"
    assert len(mesh.datagrams) == 1


async def test_a_flow_goes_elsewhere_when_nothing_listens_at_its_endpoint(
    mesh: Rig, echoes: list[Echo], clients: list[Client]
) -> None:
    port = await service(mesh, *echoes)
    echoes[0].transport.close()
    await asyncio.sleep(0)
    for number in range(4):
        client = Client(port)
        clients.append(client)
        client.sock.send(b"lost, perhaps")
        await until(lambda: len(mesh.datagrams) <= number + 1)  # noqa: B023 - called within this turn
        async with asyncio.timeout(WAIT_S):
            while not (await _answer(client)).startswith(b"b"):
                pass


async def test_flows_of_one_door_are_bounded_and_the_stillest_ends(
    mesh: Rig, echoes: list[Echo], clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "MAX_FLOWS", 3)
    port = await service(mesh, echoes[0])
    for number in range(5):
        clients.append(Client(port))
        assert await clients[-1].ask(b"%d" % number) == b"a%d" % number
    assert len(mesh.datagrams) == 3
    upstream = mesh.upstreams.get(KEY)
    assert upstream is not None
    assert upstream.active == 3
    assert await clients[0].ask(b"again") == b"aagain"


async def test_a_still_flow_ends(
    mesh: Rig, echoes: list[Echo], clients: list[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "FLOW_S", 0.02)
    monkeypatch.setattr(datagrams, "SWEEP_S", 0.01)
    port = await service(mesh, echoes[0])
    clients.append(Client(port))
    await clients[0].ask(b"1")
    await until(lambda: len(mesh.datagrams) == 0)


async def test_clients_of_one_address_stay_together_where_the_service_asks_for_it(
    mesh: Rig, echoes: list[Echo], clients: list[Client]
) -> None:
    port = await service(mesh, *echoes, affinity_s=60)
    clients += [Client(port) for _ in range(6)]
    assert len({(await client.ask(b"?")) for client in clients}) == 1


async def test_nothing_is_left_of_a_door_that_closed(mesh: Rig, echoes: list[Echo], clients: list[Client]) -> None:
    port = await service(mesh, *echoes)
    clients.append(Client(port))
    await clients[0].ask(b"1")
    await mesh.program(gone=(port_key("dns", port, Transport.UDP),))
    await until(lambda: not list(mesh.listeners.places()))
    assert len(mesh.datagrams) == 0
    with pytest.raises(ConnectionRefusedError):
        await clients[0].ask(b"2")


async def _answer(client: Client) -> bytes:
    """Ask until an answer comes: a datagram to a dead endpoint is lost."""
    while True:
        client.sock.send(b"?")
        try:
            async with asyncio.timeout(0.05):
                return await asyncio.get_running_loop().sock_recv(client.sock, 100)
        except TimeoutError:
            continue
