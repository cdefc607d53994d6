"""Doors of the userspace plane: opened before others close, kept through changes, each problem its own frontend's."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from mesh.model.programme import Frontend, ProgrammeDelta
from mesh.model.services import AppProtocol, Plane, PortKey
from mesh.planes.listeners import Listeners
from mesh.planes.userspace import Userspace
from tests.mesh.raw_rig import Rig, echo, free_port, named, port_key, raw_frontend, read_all, rig, until


class Greeter:
    """A carrier that says hello and hangs up."""

    def __init__(self, word: bytes) -> None:
        self.word = word

    def accepted(self, sock: socket.socket, client: str, frontend: Frontend) -> None:
        sock.sendall(self.word)
        sock.close()

    def changed(self, frontend: Frontend) -> str:
        return "" if self.word != b"never" else "it never will"

    def forgotten(self, key: PortKey) -> None: ...

    async def close(self, grace_s: float) -> None: ...


@pytest.fixture
async def mesh() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


@pytest.fixture
async def plane() -> AsyncIterator[Userspace]:
    carriers = {
        AppProtocol.RAW: Greeter(b"raw"),
        AppProtocol.HTTP: Greeter(b"http"),
        AppProtocol.TLS: Greeter(b"never"),
    }
    made = Userspace(carriers, None, Listeners(linger_s=0.05))  # type: ignore[arg-type]
    yield made
    await made.close()


def delta(*frontends: Frontend, gone: tuple[Frontend, ...] = ()) -> ProgrammeDelta:
    return ProgrammeDelta(frontends=frontends, gone_frontends=tuple(one.key for one in gone))


async def test_a_door_is_where_the_frontend_says_and_at_its_node_port_on_every_address(plane: Userspace) -> None:
    node_port = free_port()
    frontend = replace(raw_frontend(free_port()), addresses=("127.0.0.1", "127.0.0.77"), node_port=node_port)
    assert await plane.program(delta(frontend)) == {}
    for host, port in (("127.0.0.1", frontend.key.port), ("127.0.0.77", frontend.key.port), ("127.0.0.5", node_port)):
        assert await read_all(port, host=host) == b"raw"


async def test_a_taken_port_is_the_problem_of_its_frontend_alone(plane: Userspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        blocked, fine = raw_frontend(taken.getsockname()[1], name="blocked"), raw_frontend(free_port())
        problems = await plane.program(delta(blocked, fine))
        assert list(problems) == [blocked.key]
        assert "Address already in use" in problems[blocked.key]
        assert "give the service another port" in problems[blocked.key]
        assert await read_all(fine.key.port) == b"raw"
    assert await plane.program(delta(blocked)) == {}
    assert await read_all(blocked.key.port) == b"raw"


async def test_an_address_that_is_not_ours_says_what_to_look_at(plane: Userspace) -> None:
    frontend = replace(raw_frontend(free_port()), addresses=("192.0.2.1",))
    problems = await plane.program(delta(frontend))
    assert "no such address" in problems[frontend.key]


async def test_two_frontends_cannot_have_one_door(plane: Userspace) -> None:
    node_port = free_port()
    first = replace(raw_frontend(free_port(), name="first"), node_port=node_port)
    second = replace(raw_frontend(free_port(), name="second"), node_port=node_port)
    assert await plane.program(delta(first)) == {}
    problems = await plane.program(delta(second))
    assert "default/first" in problems[second.key]
    assert await read_all(second.key.port) == b"raw"


async def test_a_door_that_goes_over_to_another_frontend_is_never_closed(plane: Userspace) -> None:
    node_port = free_port()
    first = replace(raw_frontend(free_port(), name="first"), node_port=node_port)
    second = replace(raw_frontend(free_port(), name="second"), node_port=node_port, app=AppProtocol.HTTP)
    assert await plane.program(delta(first)) == {}
    for turn in range(20):
        new, old = (second, first) if turn % 2 == 0 else (first, second)
        assert await plane.program(delta(new, gone=(old,))) == {}
        assert await read_all(node_port) == (b"http" if new is second else b"raw")


async def test_a_frontend_changes_between_raw_and_http_without_a_refused_client(plane: Userspace) -> None:
    frontend = raw_frontend(free_port())
    await plane.program(delta(frontend))
    heard = set()
    for turn in range(50):
        await plane.program(delta(replace(frontend, app=AppProtocol.HTTP if turn % 2 else AppProtocol.RAW)))
        heard.add(await read_all(frontend.key.port))
    assert heard == {b"raw", b"http"}


async def test_a_frontend_whose_carrier_refuses_it_goes_on_as_it_was(plane: Userspace) -> None:
    frontend = raw_frontend(free_port())
    await plane.program(delta(frontend))
    assert await plane.program(delta(replace(frontend, app=AppProtocol.TLS))) == {frontend.key: "it never will"}
    await asyncio.sleep(0.1)  # longer than a door lingers
    assert await read_all(frontend.key.port) == b"raw"


async def test_a_door_that_closes_still_takes_who_has_knocked(mesh: Rig) -> None:
    port = await mesh.service(await mesh.server(named(b"here")))
    clients = [socket.socket() for _ in range(5)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(("127.0.0.1", port))
    await mesh.program(gone=(port_key("web", port),))
    loop = asyncio.get_running_loop()
    for client in clients:
        assert await loop.sock_recv(client, 10) == b"here"
        client.close()
    await until(lambda: not list(mesh.listeners.places()))
    with pytest.raises(ConnectionRefusedError):
        await read_all(port)


async def test_open_connections_outlive_their_frontend_and_a_move_to_another_plane(mesh: Rig) -> None:
    port = await mesh.service(await mesh.server(echo))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"1")
    assert await reader.readexactly(1) == b"1"
    moved = replace(raw_frontend(port), plane=Plane.NFTABLES)
    assert await mesh.program(moved) == {}
    await until(lambda: not list(mesh.listeners.places()))
    writer.write(b"2")
    assert await reader.readexactly(1) == b"2"
    assert await mesh.program(replace(moved, plane=Plane.USERSPACE)) == {}
    assert await read_all(port, b"3") == b"3"
    await mesh.program(gone=(moved.key,))
    writer.write(b"4")
    writer.write_eof()
    assert await reader.read() == b"4"
    writer.close()


async def test_siblings_share_a_door_where_ports_may_be_reused() -> None:
    port = free_port()
    frontend = raw_frontend(port)
    planes = [
        Userspace({AppProtocol.RAW: Greeter(word)}, None, Listeners(reuse_port=True))  # type: ignore[arg-type]
        for word in (b"a", b"b")
    ]
    for plane in planes:
        assert await plane.program(delta(frontend)) == {}
    assert {await read_all(port) for _ in range(40)} == {b"a", b"b"}
    for plane in planes:
        await plane.close()
