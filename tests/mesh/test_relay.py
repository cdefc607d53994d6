"""Gateways that meet at the relay: every byte, ends and resets; it sees TLS only, and bounds what each may use."""

import asyncio
import gc
import os
import random
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from cloudsync import relay as relaying
from cloudsync.relay import Bounds, Relay
from mesh.model.policies import Policy
from mesh.model.services import Endpoint
from mesh.tunnel.dialing import TunnelDialer
from mesh.tunnel.frames import Answer, Join
from mesh.tunnel.identity import RELAY_ALPN, Identity, IdentityFiles
from mesh.tunnel.line import Line
from mesh.tunnel.relaying import RelayClient
from tests.mesh.gateways import TestCa
from tests.mesh.raw_rig import WAIT_S, Rig, abort, echo, free_port, named, read_all, rig, settled, until
from tests.mesh.test_tunnel import Callee

# asyncio forgets the transport of a TLS connection that is given up in the very turn in which TCP stands: it is closed
# when it is collected, with this warning.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")


@dataclass
class Guests:
    """Who is admitted: all but those named."""

    revoked: set[str] = field(default_factory=set)

    def admits(self, gateway: str, serial: int) -> bool:
        return gateway.startswith("gw-") and gateway not in self.revoked and serial > 0


@dataclass
class Meeting:
    """A relay, gateway b that waits there, and gateway a that calls."""

    ca: TestCa
    guests: Guests
    mesh: Rig
    relay: Relay
    port: int
    callee: Callee
    clients: list[RelayClient] = field(default_factory=list)
    dialers: list[TunnelDialer] = field(default_factory=list)

    def client(self, files: IdentityFiles, callee: Callee | None = None) -> RelayClient:
        clock = asyncio.get_running_loop().time
        server = callee.server if callee else None
        made = RelayClient(Identity(files), "127.0.0.1", self.port, rng=random.Random(1), clock=clock, server=server)
        made.open()
        self.clients.append(made)
        return made

    def dial(self, files: IdentityFiles, peers: dict[str, tuple[str, int]] | None = None) -> TunnelDialer:
        clock = asyncio.get_running_loop().time
        dialer = TunnelDialer(Identity(files), peers or {}, clock, self.client(files))
        self.mesh.raw.dialer = dialer
        self.dialers.append(dialer)
        return dialer

    async def behind(self, endpoint: Endpoint) -> int:
        self.callee.has(replace(endpoint, node="gw-b"))
        return await self.mesh.service(replace(endpoint, node="gw-b", via="gw-b"), policy=Policy(outlier=None))


def relay_of(ca: TestCa, guests: Guests, bounds: Bounds = Bounds()) -> Relay:  # noqa: B008 - a frozen value
    files = ca.server()

    def context() -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(cafile=str(files.authority))
        made.load_cert_chain(files.certificate, files.key)
        made.set_alpn_protocols([RELAY_ALPN])
        return made

    return Relay(context, guests, asyncio.get_running_loop().time, bounds)


@pytest.fixture
async def meeting(tmp_path: Path) -> AsyncIterator[Meeting]:
    ca, guests = TestCa.make(tmp_path / "ca"), Guests()
    relay = relay_of(ca, guests)
    port = await relay.open("127.0.0.1", 0)
    callee = Callee(ca.gateway("gw-b"))
    async with rig() as mesh:
        made = Meeting(ca, guests, mesh, relay, port, callee)
        made.client(ca.gateway("gw-b"), callee)
        await until(lambda: relay.waiting("gw-b") == 2)
        yield made
        for dialer in made.dialers:
            await dialer.close()
        for client in made.clients:
            await client.close()
        await callee.server.close()
        await made.relay.close()
        await settled()
        gc.collect()


async def test_a_service_is_reached_by_the_relay_with_every_byte_and_half_closes(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = bytearray()
    real = relaying._Pipe.data_received
    monkeypatch.setattr(relaying._Pipe, "data_received", lambda pipe, data: (seen.extend(data), real(pipe, data))[1])

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read())  # after the end of the question
        writer.close()

    meeting.dial(meeting.ca.gateway("gw-a"))
    port = await meeting.behind(await meeting.mesh.server(late))
    sent = b"a very plain text " * 100_000 + os.urandom(1 << 20)
    assert await read_all(port, sent) == sent
    assert b"a very plain text" not in seen
    assert len(seen) > 2 * len(sent)
    assert seen[0] == 22
    assert all(kind in (20, 22, 23) for kind in record_kinds(bytes(seen[:600])))  # the caller's first records


def record_kinds(content: bytes) -> list[int]:
    """The types of the TLS records at the beginning of what one side said."""
    kinds, at = [], 0
    while at + 5 <= len(content) and content[at + 1] == 3:
        kinds.append(content[at])
        at += 5 + int.from_bytes(content[at + 3 : at + 5])
    return kinds


async def test_a_gateway_that_is_not_reached_directly_is_called_by_the_relay(meeting: Meeting) -> None:
    meeting.dial(meeting.ca.gateway("gw-a"), {"gw-b": ("127.0.0.1", free_port())})
    port = await meeting.behind(await meeting.mesh.server(named(b"there")))
    assert [await read_all(port) for _ in range(5)] == [b"there"] * 5


async def test_many_calls_at_once(meeting: Meeting) -> None:
    meeting.dial(meeting.ca.gateway("gw-a"))
    port = await meeting.behind(await meeting.mesh.server(echo))
    done = 0
    for _ in range(6):
        for heard in await asyncio.gather(*(read_all(port, b"x" * 1000) for _ in range(2))):
            assert heard == b"x" * 1000
            done += 1
        await until(lambda: meeting.relay.waiting("gw-b") == 2)
    assert done == 12


async def test_a_reset_passes_the_relay(meeting: Meeting) -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        abort(writer)

    meeting.dial(meeting.ca.gateway("gw-a"))
    port = await meeting.behind(await meeting.mesh.server(dies))
    with pytest.raises(ConnectionResetError):
        await read_all(port, b"!")


async def refused(meeting: Meeting) -> None:
    port = await meeting.behind(await meeting.mesh.server(named(b"secret")))
    with pytest.raises(ConnectionResetError):
        await read_all(port)


async def test_a_revoked_caller_is_refused(meeting: Meeting) -> None:
    meeting.guests.revoked.add("gw-a")
    meeting.dial(meeting.ca.gateway("gw-a"))
    await refused(meeting)


async def test_a_stranger_is_refused(meeting: Meeting, tmp_path: Path) -> None:
    stranger = TestCa.make(tmp_path / "other").gateway("gw-a")
    meeting.dial(replace(stranger, authority=meeting.ca.folder / "ca.pem"))
    await refused(meeting)


async def test_whoever_waits_under_a_name_must_prove_it_to_the_caller_too(meeting: Meeting) -> None:
    """A relay that pairs wrongly, or is an impostor itself, gets nothing: the inner TLS is for gw-b alone."""
    other = Callee(meeting.ca.gateway("gw-c"))
    other.has(replace(await meeting.mesh.server(named(b"caught")), node="gw-c"))
    await meeting.clients[0].close()
    client = meeting.client(meeting.ca.gateway("gw-c"), other)
    await until(lambda: meeting.relay.waiting("gw-c") == 2)
    accounts = meeting.relay._accounts
    accounts["gw-b"] = accounts["gw-c"]
    meeting.dial(meeting.ca.gateway("gw-a"))
    await refused(meeting)
    del accounts["gw-b"]
    await client.close()
    await other.server.close()


async def test_a_relay_that_is_not_the_clouds_is_refused(meeting: Meeting, tmp_path: Path) -> None:
    other = TestCa.make(tmp_path / "other")
    impostor = relay_of(other, Guests())
    port = await impostor.open("127.0.0.1", 0)
    client = RelayClient(
        Identity(meeting.ca.gateway("gw-a")), "127.0.0.1", port, rng=random.Random(1), clock=lambda: 0.0
    )
    with pytest.raises(ssl.SSLError):
        await client.call("gw-b")
    await impostor.close()
    await settled()


async def test_those_who_are_revoked_lose_what_they_have(meeting: Meeting) -> None:
    meeting.dial(meeting.ca.gateway("gw-a"))
    port = await meeting.behind(await meeting.mesh.server(echo))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"a")
    async with asyncio.timeout(WAIT_S):
        assert await reader.readexactly(1) == b"a"
        meeting.guests.revoked.add("gw-b")
        meeting.relay.look()
        with pytest.raises(ConnectionResetError):
            await reader.read()
    writer.close()
    await until(lambda: meeting.relay.waiting("gw-b") == 0)


async def test_after_a_restart_of_the_relay_all_is_as_before(meeting: Meeting) -> None:
    meeting.dial(meeting.ca.gateway("gw-a"))
    port = await meeting.behind(await meeting.mesh.server(named(b"there")))
    assert await read_all(port) == b"there"
    await meeting.relay.close()
    with pytest.raises(ConnectionResetError):
        await read_all(port)
    meeting.relay = relay_of(meeting.ca, meeting.guests)
    await meeting.relay.open("127.0.0.1", meeting.port)
    await until(lambda: meeting.relay.waiting("gw-b") == 2)
    assert await read_all(port) == b"there"


async def test_a_gateway_that_does_not_wait_is_said_to_be_so(meeting: Meeting) -> None:
    client = meeting.client(meeting.ca.gateway("gw-a"))
    with pytest.raises(ConnectionRefusedError, match="gw-x does not wait at the relay"):
        await client.call("gw-x")


async def at_relay(identity: Identity, port: int) -> Line:
    """A connection that has said nothing yet."""
    line = Line()
    await asyncio.get_running_loop().create_connection(
        lambda: line, "127.0.0.1", port, ssl=identity.relay(), server_hostname="127.0.0.1"
    )
    return line


async def test_a_waiting_connection_that_died_in_silence_is_passed_over(
    meeting: Meeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "ANSWER_S", 0.1)
    identity = Identity(meeting.ca.gateway("gw-b"))
    dead = await at_relay(identity, meeting.port)
    dead.say(Join())
    await until(lambda: meeting.relay.waiting("gw-b") == 3)
    meeting.dial(meeting.ca.gateway("gw-a"))
    port = await meeting.behind(await meeting.mesh.server(named(b"there")))
    assert await read_all(port) == b"there"
    dead.abort()
    await dead.on_gone


async def test_of_one_gateway_there_are_so_many_connections_and_no_more(tmp_path: Path) -> None:
    ca = TestCa.make(tmp_path / "ca")
    relay = relay_of(ca, Guests(), Bounds(connections=3))
    port = await relay.open("127.0.0.1", 0)
    identity = Identity(ca.gateway("gw-b"))
    lines = []
    for _ in range(4):
        line = await at_relay(identity, port)
        line.say(Join())
        lines.append(line)
        await until(lambda: relay.waiting("gw-b") == min(3, len(lines)))
    async with asyncio.timeout(WAIT_S):
        assert "too many connections" in (await lines[3].hear(Answer)).refused
        for line in lines:
            line.abort()
            await line.on_gone
    await until(lambda: relay.waiting("gw-b") == 0)
    await relay.close()
    await settled()


async def test_who_is_over_its_bytes_waits(tmp_path: Path) -> None:
    ca, guests = TestCa.make(tmp_path / "ca"), Guests()
    relay = relay_of(ca, guests, Bounds(bytes_per_second=1_000_000))
    port = await relay.open("127.0.0.1", 0)
    callee = Callee(ca.gateway("gw-b"))
    async with rig() as mesh:
        made = Meeting(ca, guests, mesh, relay, port, callee)
        made.client(ca.gateway("gw-b"), callee)
        await until(lambda: relay.waiting("gw-b") == 2)
        made.dial(ca.gateway("gw-a"))
        heard = asyncio.get_running_loop().create_future()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.set_result(len(await reader.read()))
            writer.close()

        service = await made.behind(await mesh.server(listen))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        assert await read_all(service, b"z" * 2_000_000) == b""
        assert await heard == 2_000_000
        assert loop.time() - began_s > 0.6  # one second's worth is free
        for dialer in made.dialers:
            await dialer.close()
        for client in made.clients:
            await client.close()
        await callee.server.close()
        await relay.close()
        await settled()
