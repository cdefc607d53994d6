"""Streams between gateways: every byte, ends and resets; only for gateways of our CA, only to endpoints of the node."""

import asyncio
import contextlib
import gc
import os
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.model.policies import Policy
from mesh.model.programme import BackendGroup
from mesh.model.services import Endpoint, Origin, PortKey
from mesh.tunnel.dialing import TunnelDialer
from mesh.tunnel.frames import MAX_WORDS_BYTES, Answer, Ask, frame, words
from mesh.tunnel.identity import Identity, IdentityFiles
from mesh.tunnel.line import Line
from mesh.tunnel.serving import TunnelServer
from mesh.upstream import Upstreams
from tests.mesh.gateways import DAY_MS, TestCa, now_ms
from tests.mesh.raw_rig import WAIT_S, Rig, abort, echo, free_port, named, port_key, read_all, rig, settled, until

# asyncio forgets the transport of a TLS connection that is given up in the very turn in which TCP stands: it is closed
# when it is collected, with this warning.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
KEY = port_key()


class Callee:
    """Gateway b: its tunnel, and what is in its table."""

    def __init__(self, files: IdentityFiles, node: str = "gw-b") -> None:
        self.upstreams = Upstreams(random.Random(1))
        self.server = TunnelServer(Identity(files), self.upstreams, node)
        self.port = 0

    async def open(self) -> None:
        self.port = await self.server.open("127.0.0.1", 0)

    def has(self, *endpoints: Endpoint, key: PortKey = KEY) -> None:
        self.upstreams.apply([BackendGroup(key, endpoints)], [])


@pytest.fixture
def ca(tmp_path: Path) -> TestCa:
    return TestCa.make(tmp_path / "ca")


@pytest.fixture
async def callee(ca: TestCa) -> AsyncIterator[Callee]:
    made = Callee(ca.gateway("gw-b"))
    await made.open()
    yield made
    await made.server.close()
    await settled()
    gc.collect()


Opens = Callable[[IdentityFiles], Awaitable[Callee]]


@pytest.fixture
async def opened() -> AsyncIterator[Opens]:
    """Open another callee; closed with the test, however that ends."""
    made: list[Callee] = []

    async def give(files: IdentityFiles) -> Callee:
        made.append(Callee(files))
        await made[-1].open()
        return made[-1]

    yield give
    for one in made:
        await one.server.close()
    await settled()


@pytest.fixture
async def mesh() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


Dial = Callable[..., TunnelDialer]


@pytest.fixture
async def dial(mesh: Rig, ca: TestCa, callee: Callee) -> AsyncIterator[Dial]:
    """Give gateway a's plane a tunnel."""
    made = []

    def give(files: IdentityFiles | None = None, port: int | None = None) -> TunnelDialer:
        peers = {"gw-b": ("127.0.0.1", callee.port if port is None else port)}
        clock = asyncio.get_running_loop().time
        dialer = TunnelDialer(Identity(files or ca.gateway("gw-a")), peers, clock)
        mesh.raw.dialer = dialer
        made.append(dialer)
        return dialer

    yield give
    for dialer in made:
        await dialer.close()
    await settled()


async def behind(mesh: Rig, callee: Callee, endpoint: Endpoint) -> int:
    """A service of gateway a whose one endpoint is on gateway b; its port."""
    callee.has(replace(endpoint, node="gw-b"))
    return await mesh.service(replace(endpoint, node="gw-b", via="gw-b"), policy=Policy(outlier=None))


async def test_ten_megabytes_come_back_through_the_tunnel_as_they_went(mesh: Rig, callee: Callee, dial: Dial) -> None:
    dial()
    port = await behind(mesh, callee, await mesh.server(echo))
    sent = os.urandom(10 << 20)
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def speak() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        speaking = asyncio.ensure_future(speak())
        assert await reader.read() == sent
        await speaking
        writer.close()


async def test_a_client_that_ended_its_half_gets_the_whole_answer_through_the_tunnel(
    mesh: Rig, callee: Callee, dial: Dial
) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        writer.write(question * 100_000)
        writer.close()

    dial()
    port = await behind(mesh, callee, await mesh.server(late))
    assert await read_all(port, b"question") == b"question" * 100_000
    await until(lambda: len(mesh.raw) == 0)


async def test_many_streams_at_once_and_one_after_the_other(mesh: Rig, callee: Callee, dial: Dial) -> None:
    dial()
    port = await behind(mesh, callee, await mesh.server(echo))
    for _ in range(3):
        heard = await asyncio.gather(*(read_all(port, b"%d" % number) for number in range(20)))
        assert heard == [b"%d" % number for number in range(20)]
    await until(lambda: len(mesh.raw) == 0)


async def test_a_reset_of_the_endpoint_is_a_reset_for_the_client(mesh: Rig, callee: Callee, dial: Dial) -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        abort(writer)

    dial()
    port = await behind(mesh, callee, await mesh.server(dies))
    with pytest.raises(ConnectionResetError):
        await read_all(port, b"!")


async def test_a_reset_of_the_client_is_a_reset_for_the_endpoint(mesh: Rig, callee: Callee, dial: Dial) -> None:
    ended = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        try:
            ended.set_result(await reader.read())
        except ConnectionResetError as problem:
            ended.set_result(problem)
        writer.close()

    dial()
    port = await behind(mesh, callee, await mesh.server(serve))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(WAIT_S):
        assert await reader.readexactly(5) == b"hello"
        abort(writer)
        assert isinstance(await ended, ConnectionResetError)


async def test_a_tunnel_that_is_killed_resets_the_client(mesh: Rig, callee: Callee, dial: Dial) -> None:
    dial()
    port = await behind(mesh, callee, await mesh.server(echo))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"a")
    async with asyncio.timeout(WAIT_S):
        assert await reader.readexactly(1) == b"a"
        await callee.server.close()
        with pytest.raises(ConnectionResetError):
            await reader.read()
    writer.close()


async def test_after_a_restart_of_the_callee_the_lines_that_were_ready_do_no_harm(
    mesh: Rig, callee: Callee, dial: Dial, ca: TestCa
) -> None:
    dialer = dial()
    port = await behind(mesh, callee, await mesh.server(echo))
    assert await read_all(port, b"1") == b"1"
    await until(lambda: len(callee.server) >= 2)  # lines are ready
    await callee.server.close()
    again = Callee(ca.gateway("gw-b"))
    again.upstreams = callee.upstreams
    again.server = TunnelServer(Identity(ca.gateway("gw-b")), callee.upstreams, "gw-b")
    again.port = await again.server.open("127.0.0.1", callee.port)
    assert await read_all(port, b"2") == b"2"
    await dialer.close()
    await again.server.close()


# -- who may ---------------------------------------------------------------------------------------------------------


async def refused(mesh: Rig, port: int) -> None:
    with pytest.raises(ConnectionResetError):
        await read_all(port, b"?")


async def test_a_gateway_of_another_ca_is_refused_by_the_callee(
    mesh: Rig, callee: Callee, dial: Dial, ca: TestCa, tmp_path: Path
) -> None:
    stranger = TestCa.make(tmp_path / "other").gateway("gw-a")
    dial(replace(stranger, authority=ca.folder / "ca.pem"))
    port = await behind(mesh, callee, await mesh.server(named(b"secret")))
    await refused(mesh, port)


async def test_a_callee_of_another_ca_is_refused_by_the_caller(
    mesh: Rig, callee: Callee, dial: Dial, opened: Opens, ca: TestCa, tmp_path: Path
) -> None:
    other = TestCa.make(tmp_path / "other")
    impostor = await opened(replace(other.gateway("gw-b"), authority=ca.folder / "ca.pem"))
    dial(port=impostor.port)
    port = await behind(mesh, impostor, await mesh.server(named(b"secret")))
    await refused(mesh, port)


async def test_a_callee_of_another_name_is_refused_by_the_caller(
    mesh: Rig, callee: Callee, dial: Dial, opened: Opens, ca: TestCa
) -> None:
    impostor = await opened(ca.gateway("gw-c"))
    dial(port=impostor.port)
    port = await behind(mesh, impostor, await mesh.server(named(b"secret")))
    await refused(mesh, port)


async def test_a_server_of_the_cloud_is_no_gateway(mesh: Rig, dial: Dial, opened: Opens, ca: TestCa) -> None:
    impostor = await opened(ca.server("gw-b"))
    dial(port=impostor.port)
    port = await behind(mesh, impostor, await mesh.server(named(b"secret")))
    await refused(mesh, port)


@pytest.mark.parametrize("side", ["caller", "callee"])
async def test_a_revoked_gateway_is_refused_by_who_has_the_list(
    mesh: Rig, dial: Dial, opened: Opens, ca: TestCa, side: str
) -> None:
    caller, called = ca.gateway("gw-a"), ca.gateway("gw-b")
    ca.revoke(caller if side == "caller" else called)
    other = await opened(called)
    dial(caller, port=other.port)
    port = await behind(mesh, other, await mesh.server(named(b"secret")))
    await refused(mesh, port)


async def test_a_certificate_that_is_over_is_refused(mesh: Rig, dial: Dial, opened: Opens, ca: TestCa) -> None:
    old = await opened(ca.gateway("gw-b", days=1, since_ms=now_ms() - 3 * DAY_MS))
    dial(port=old.port)
    port = await behind(mesh, old, await mesh.server(named(b"secret")))
    await refused(mesh, port)


async def test_a_renewed_certificate_counts_from_the_next_line_on(
    mesh: Rig, callee: Callee, dial: Dial, ca: TestCa
) -> None:
    files = ca.gateway("gw-a", days=1, since_ms=now_ms() - 3 * DAY_MS)
    dial(files)
    port = await behind(mesh, callee, await mesh.server(named(b"in")))
    await refused(mesh, port)
    assert ca.gateway("gw-a") == files
    assert await read_all(port) == b"in"


# -- what for --------------------------------------------------------------------------------------------------------


async def ask(ca: TestCa, port: int, said: bytes) -> str:
    """What the tunnel answers to a gateway that is known; `gone` if it hangs up."""
    line = Line()
    identity = Identity(ca.gateway("gw-a"))
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: line, "127.0.0.1", port, ssl=identity.calling())
    transport.write(said)
    try:
        async with asyncio.timeout(WAIT_S):
            return (await line.hear(Answer)).refused
    except ConnectionResetError:
        return "gone"
    finally:
        line.abort()
        await line.on_gone


async def test_it_is_no_open_proxy(mesh: Rig, callee: Callee, ca: TestCa) -> None:
    there = replace(await mesh.server(named(b"there")), node="gw-b")
    elsewhere = replace(await mesh.server(named(b"elsewhere")), node="gw-c")
    onward = replace(await mesh.server(named(b"onward")), node="gw-b", via="gw-c")
    callee.has(there, elsewhere, onward)
    other = port_key("other")

    def asks(place: str, key: PortKey = KEY) -> bytes:
        return words(Ask(namespace=key.service.namespace, service=key.service.name, port=key.port, place=place))

    assert await ask(ca, callee.port, asks(there.place)) == ""
    for said in (asks(elsewhere.place), asks(onward.place), asks("127.0.0.1:22"), asks(there.place, other)):
        assert "is not on gw-b" in await ask(ca, callee.port, said)


async def test_pods_of_the_node_are_reached_whatever_their_list_says(mesh: Rig, callee: Callee, ca: TestCa) -> None:
    here = replace(await mesh.server(named(b"here")), origin=Origin.HERE)
    callee.has(here)
    said = words(Ask(namespace="default", service="web", port=80, place=here.place))
    assert await ask(ca, callee.port, said) == ""


LONG = b'{"namespace":"default","service":"web","port":80,"place":"127.0.0.1:1","pad":"%s"}' % (b"x" * MAX_WORDS_BYTES)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n" * 2000, id="http"),
        pytest.param(b"\x00\x02{}", id="nothing said"),
        pytest.param(b"\x00\x00", id="an end first"),
        pytest.param(b"\x00\x05hello", id="no json"),
        pytest.param(b"\xff\xff" + b"{" * 0xFFFF, id="too long"),
        pytest.param(frame(LONG), id="words that are too long"),
    ],
)
async def test_garbage_ends_its_own_line_alone(mesh: Rig, callee: Callee, ca: TestCa, said: bytes) -> None:
    assert await ask(ca, callee.port, said) == "gone"
    callee.has(replace(await mesh.server(named(b"there")), node="gw-b"))
    await until(lambda: len(callee.server) == 0)


async def test_a_dead_endpoint_is_a_refusal_and_the_next_endpoint_serves(mesh: Rig, callee: Callee, dial: Dial) -> None:
    dial()
    dead = Endpoint("127.0.0.1", free_port(), node="gw-b")
    alive = replace(await mesh.server(named(b"alive")), node="gw-b")
    callee.has(dead, alive)
    port = await mesh.service(replace(dead, via="gw-b"), replace(alive, via="gw-b"), policy=Policy(outlier=None))
    assert [await read_all(port) for _ in range(6)] == [b"alive"] * 6


async def test_a_client_without_tls_is_no_use_and_does_no_harm(callee: Callee) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", callee.port)
    writer.write(b"hello\r\n" * 100)
    async with asyncio.timeout(WAIT_S):
        with contextlib.suppress(ConnectionResetError):
            assert b"hello" not in await reader.read()
    writer.close()
    await until(lambda: len(callee.server) == 0)


async def test_lines_are_tls_1_3(callee: Callee, ca: TestCa) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await asyncio.open_connection("127.0.0.1", callee.port, ssl=context)
