"""Raw connections through the userspace plane: every byte arrives, ends and resets too, and memory stays bounded."""

import asyncio
import contextlib
import hashlib
import os
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mesh.model.policies import ConnectionPool, Policy
from mesh.model.programme import ProgrammeDelta
from mesh.model.services import Endpoint
from mesh.planes.l4.poller import READ, Poller
from mesh.upstream import Outcome
from tests.mesh.raw_rig import (
    WAIT_S,
    Rig,
    abort,
    echo,
    named,
    port_key,
    raw_frontend,
    read_all,
    rig,
    settled,
    until,
)


@pytest.fixture
async def mesh() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


async def test_ten_megabytes_come_back_as_they_went(mesh: Rig) -> None:
    port = await mesh.service(await mesh.server(echo))
    sent = os.urandom(10 << 20)
    assert hashlib.sha256(await _echoed(port, sent)).digest() == hashlib.sha256(sent).digest()
    await until(lambda: mesh.seen.outcomes == [Outcome.OK])
    assert (mesh.seen.up_bytes, mesh.seen.down_bytes) == (len(sent), len(sent))


async def test_ten_megabytes_arrive_without_splice(mesh: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh.raw.wire.pipes, "take", lambda: None)  # as where no file number is free
    port = await mesh.service(await mesh.server(echo))
    sent = os.urandom(10 << 20)
    assert await _echoed(port, sent) == sent


async def test_a_client_that_ended_its_half_still_gets_the_whole_answer(mesh: Rig) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()  # to the end
        for _ in range(64):
            writer.write(question * 1000)
            await writer.drain()
        writer.close()

    port = await mesh.service(await mesh.server(late))
    assert await read_all(port, b"question") == b"question" * 64_000


async def test_an_endpoint_that_ended_its_half_still_gets_all_of_the_request(mesh: Rig) -> None:
    heard = asyncio.get_running_loop().create_future()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"go on")
        writer.write_eof()
        heard.set_result(await reader.read())
        writer.close()

    port = await mesh.service(await mesh.server(early))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(WAIT_S):
        assert await reader.read() == b"go on"
        writer.write(b"x" * 1_000_000)
        writer.close()
        assert await heard == b"x" * 1_000_000


async def test_a_reset_of_the_client_reaches_the_endpoint(mesh: Rig) -> None:
    ended = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            ended.set_result(await reader.read())
        except ConnectionResetError as problem:
            ended.set_result(problem)
        writer.close()

    port = await mesh.service(await mesh.server(serve))
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    await until(lambda: mesh.seen.stood)
    abort(writer)
    async with asyncio.timeout(WAIT_S):
        assert isinstance(await ended, ConnectionResetError)
    await until(lambda: mesh.seen.outcomes == [Outcome.ABANDONED])


@pytest.mark.parametrize("size", [5, 3_000_000])
async def test_an_endpoint_killed_in_the_middle_resets_the_client_after_all_it_has_said(mesh: Rig, size: int) -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"y" * size)
        await writer.drain()
        await reader.readexactly(1)  # the client has all of it
        abort(writer)

    port = await mesh.service(await mesh.server(dies))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(WAIT_S):
        writer.write(b"?")
        assert await reader.readexactly(size) == b"y" * size
        writer.write(b"!")
        with pytest.raises(ConnectionResetError):
            await reader.read()
    writer.close()
    await until(lambda: mesh.seen.outcomes == [Outcome.RESET])


async def test_what_an_endpoint_said_before_its_reset_reaches_a_slow_client(mesh: Rig) -> None:
    """It answers without reading the request, and closes: the kernel resets such a connection."""
    answer = b"413 too large " * 5_000

    async def refuses(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()
        writer.write(answer)
        await writer.drain()
        writer.close()

    port = await mesh.service(await mesh.server(refuses))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, b"z" * 100_000)
        await until(lambda: mesh.seen.outcomes)
        got, piece = b"", b"?"
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionResetError):
                while piece:
                    piece = await loop.sock_recv(client, 65_536)
                    got += piece
    assert got == answer


async def test_a_slow_reader_slows_the_sender_and_costs_no_memory(mesh: Rig) -> None:
    sent = 0

    async def pours(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 256 << 20:
            writer.write(b"p" * 65_536)
            await writer.drain()
            sent += 65_536

    port = await mesh.service(await mesh.server(pours))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        before = -1
        while sent != before:  # until nothing moves any more
            before = sent
            for _ in range(20):
                await asyncio.sleep(0.005)
        held = mesh.seen.stood[0].held_bytes()
        assert held <= 1 << 20
        assert sent < 64 << 20  # the kernel's buffers, ours among them, and no more


_SERVER = """
import socket
server = socket.create_server(("127.0.0.1", 0), backlog=64)
print(server.getsockname()[1], flush=True)
while True:
    client, _ = server.accept()
    client.sendall(b"here")
    client.close()
"""


@pytest.fixture
def elsewhere() -> Iterator[Endpoint]:
    """A server in a process of its own, which does not share our file numbers."""
    with subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        yield Endpoint("127.0.0.1", int(child.stdout.readline()))
        child.kill()


@pytest.mark.parametrize("spare", [0, 3])
async def test_clients_wait_while_no_file_number_is_free_and_are_served_afterwards(
    mesh: Rig, elsewhere: Endpoint, spare: int
) -> None:
    port = await mesh.service(elsewhere)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = [socket.socket() for _ in range(8)]
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    fillers = [os.dup(0) for _ in range(spare)]  # whatever numbers are free below
    resource.setrlimit(resource.RLIMIT_NOFILE, (max([highest, *fillers]) + 1, hard))
    try:
        fillers += _all_free_numbers()
        for _ in range(spare):
            os.close(fillers.pop())
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        await until(mesh.listeners.waiting)
        if not spare:
            assert mesh.seen.stood == []
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(WAIT_S):
        for client in clients:
            assert await loop.sock_recv(client, 100) == b"here"
            client.close()
    assert await read_all(port) == b"here"
    assert all(not target.out for target in mesh.upstreams.get(port_key()).targets.values())


def _all_free_numbers() -> list[int]:
    taken = []
    while True:
        try:
            taken.append(os.dup(0))
        except OSError:
            return taken


async def test_a_connection_on_which_nothing_moves_is_ended_after_its_time(mesh: Rig) -> None:
    policy = Policy(pool=ConnectionPool(tcp_idle_timeout_ms=300))
    port = await mesh.service(await mesh.server(echo), policy=policy)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(WAIT_S):
        with pytest.raises(ConnectionResetError):
            await reader.read()
    writer.close()
    assert mesh.seen.outcomes == [Outcome.OK]


async def test_both_sides_are_asked_whether_they_live_where_the_policy_says_so(mesh: Rig) -> None:
    policy = Policy(pool=ConnectionPool(tcp_keepalive_s=7))
    port = await mesh.service(await mesh.server(echo), policy=policy)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"a")
    assert await reader.readexactly(1) == b"a"
    pair = mesh.seen.stood[0]._pair
    assert pair is not None
    for side in (pair.client, pair.endpoint):
        assert side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert side.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
    writer.close()


async def test_what_was_said_of_a_number_is_forgotten_with_it() -> None:
    """Two sockets are ready at once; the first one's callback closes the second, and another gets its number."""
    poller = Poller()
    poller.open()
    calls = []
    (one, one_end), (two, two_end) = socket.socketpair(), socket.socketpair()
    number = two.fileno()
    third, third_end = socket.socketpair()

    def first(_: int) -> None:
        one.recv(1)
        calls.append("first")
        poller.forget(number)
        two.close()
        os.dup2(third.fileno(), number)
        poller.watch(number, READ, lambda events: calls.append("third"))

    poller.watch(one.fileno(), READ, first)
    poller.watch(number, READ, lambda events: calls.append("second"))
    one_end.send(b"x")
    two_end.send(b"x")
    await until(lambda: calls)
    await asyncio.sleep(0)
    assert calls in (["first"], ["second", "first"])
    poller.close()
    os.close(number)
    for sock in (one, one_end, two_end, third, third_end):
        sock.close()


async def test_a_thousand_changes_of_endpoints_under_load_drop_no_connection(mesh: Rig) -> None:
    servers = [await mesh.server(echo) for _ in range(6)]
    port = await mesh.service(*servers[:3])
    over = asyncio.Event()
    rounds = 0

    async def client(fresh: bool) -> None:
        nonlocal rounds
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not over.is_set():
            writer.write(b"ping-pong")
            assert await reader.readexactly(9) == b"ping-pong"
            rounds += 1
            if fresh:
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    async with asyncio.timeout(60), asyncio.TaskGroup() as clients:
        for number in range(8):
            clients.create_task(client(fresh=number >= 4))
        for change in range(1_000):
            mesh.endpoints(*(servers[(change + step) % 6] for step in range(3)))
            await mesh.plane.program(ProgrammeDelta(frontends=(raw_frontend(port),)))
            await asyncio.sleep(0)
        await until(lambda: rounds > 500)
        over.set()
    assert Outcome.RESET not in mesh.seen.outcomes
    assert mesh.seen.turned_away == []


async def test_restarts_of_endpoints_one_after_the_other_fail_no_client(mesh: Rig) -> None:
    places = [await mesh.server(named(b"here")) for _ in range(2)]
    port = await mesh.service(*places)
    over = asyncio.Event()
    answers = 0

    async def client() -> None:
        nonlocal answers
        while not over.is_set():
            assert await read_all(port) == b"here"
            answers += 1

    async with asyncio.timeout(60), asyncio.TaskGroup() as clients:
        for _ in range(4):
            clients.create_task(client())
        for turn in range(6):
            await ended(mesh.servers[turn % 2], b"here")
            seen = answers
            await until(lambda: answers > seen + 20)  # noqa: B023 - it is called within this turn
            await mesh.server(named(b"here"), places[turn % 2].port)
            mesh.servers[turn % 2] = mesh.servers.pop()
        over.set()
    assert mesh.seen.turned_away == []


async def test_ending_the_plane_resets_what_did_not_end_by_itself() -> None:
    async with rig() as mesh:
        port = await mesh.service(await mesh.server(echo))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"a")
        assert await reader.readexactly(1) == b"a"
        await mesh.plane.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        assert len(mesh.raw) == 0
        assert list(mesh.listeners.places()) == []


async def ended(server: asyncio.Server, answer: bytes) -> None:
    """Close a server that answers all whom it took in: asyncio 3.11 forgets one that came in the turn of its close."""
    (listening,) = server.sockets
    asyncio.get_running_loop().remove_reader(listening.fileno())
    await settled()
    with socket.socket(fileno=os.dup(listening.fileno())) as door:
        with contextlib.suppress(BlockingIOError):
            while True:
                one, _ = door.accept()
                with one:
                    one.sendall(answer)
        server.close()


async def _echoed(port: int, sent: bytes) -> bytes:
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def speak() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        speaking = asyncio.ensure_future(speak())
        heard = await reader.read()
        await speaking
        writer.close()
        return heard
