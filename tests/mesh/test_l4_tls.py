"""TLS connections that pass unopened, each to the service of its server name."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mesh.model.programme import BoundRule
from mesh.model.routes import Backend, Rule
from mesh.model.services import AppProtocol, Endpoint
from mesh.planes.l4 import greeting
from tests.mesh.raw_rig import WAIT_S, Rig, free_port, named, port_key, raw_frontend, read_all, rig, until
from tests.mesh.test_client_hello import hello_of


@pytest.fixture
async def mesh() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


async def tls_service(mesh: Rig, *hostnames: str) -> int:
    """A frontend with a rule for each host name, before a server that says what it heard first."""
    rules = []
    for number, hostname in enumerate(hostnames):
        key = port_key(f"s{number}")

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = hostname) -> None:
            writer.write(f"{name} ".encode() + await reader.read())
            writer.close()

        mesh.endpoints(await mesh.server(tell), key=key)
        rules.append(BoundRule(Rule((Backend(key),)), hostnames=(hostname,) if hostname else ()))
    port = free_port()
    frontend = replace(raw_frontend(port), app=AppProtocol.TLS, rules=tuple(rules))
    assert await mesh.program(frontend) == {}
    return port


async def test_each_server_name_leads_to_its_service_with_every_byte(mesh: Rig) -> None:
    port = await tls_service(mesh, "a.example", "*.b.example")
    for asked, expected in (("a.example", b"a.example "), ("x.b.example", b"*.b.example ")):
        said = hello_of(asked) + b"and more"
        assert await read_all(port, said) == expected + said


async def test_a_hello_that_comes_byte_by_byte_is_waited_for(mesh: Rig) -> None:
    port = await tls_service(mesh, "a.example")
    said = hello_of("a.example")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(WAIT_S):
        for at in range(0, len(said), 40):
            writer.write(said[at : at + 40])
            await asyncio.sleep(0)
        writer.write_eof()
        assert await reader.read() == b"a.example " + said
    writer.close()


async def test_without_a_name_only_a_rule_for_all_serves(mesh: Rig) -> None:
    named_only = await tls_service(mesh, "a.example")
    with pytest.raises(ConnectionResetError):
        await read_all(named_only, hello_of(None))
    await mesh.program(gone=(port_key("web", named_only),))
    with_all = await tls_service(mesh, "a.example", "")
    nameless = hello_of(None)
    assert await read_all(with_all, nameless) == b" " + nameless


@pytest.mark.parametrize("stray", [b"\x00", b"GET / HTTP/1.1\r\n\r\n", b"\r\n"])
async def test_stray_bytes_before_the_hello_are_refused_at_once(mesh: Rig, stray: bytes) -> None:
    port = await tls_service(mesh, "a.example", "")
    with pytest.raises(ConnectionResetError):
        await read_all(port, stray + hello_of("a.example"))
    assert mesh.seen.stood == []


async def test_a_client_that_says_nothing_is_ended_after_a_while(mesh: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting, "GREETING_S", 0.1)
    port = await tls_service(mesh, "a.example")
    with pytest.raises(ConnectionResetError):
        await read_all(port)
    assert len(mesh.raw) == 0


async def test_a_client_that_leaves_in_the_middle_of_its_hello_leaves_nothing_behind(mesh: Rig) -> None:
    port = await tls_service(mesh, "a.example")
    with pytest.raises(ConnectionResetError):
        await read_all(port, hello_of("a.example")[:50])
    await until(lambda: len(mesh.raw) == 0)


async def test_a_real_handshake_passes_through(mesh: Rig, tmp_path: Path) -> None:
    certificate = self_signed("a.example", tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(certificate)
    server = await asyncio.start_server(named(b"secret"), "127.0.0.1", 0, ssl=serving)
    mesh.servers.append(server)
    mesh.endpoints(Endpoint("127.0.0.1", server.sockets[0].getsockname()[1]))
    port = free_port()
    rule = BoundRule(Rule((Backend(port_key()),)), hostnames=("a.example",))
    assert await mesh.program(replace(raw_frontend(port), app=AppProtocol.TLS, rules=(rule,))) == {}
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="a.example")
        assert await reader.read() == b"secret"
        writer.close()
        await writer.wait_closed()


def self_signed(name: str, folder: Path) -> Path:
    """A certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
