"""The first message of a TLS client: its server name, however it is cut; an error of ours for the rest."""

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.planes.l4.client_hello import MAX_BYTES, ClientHello, NotTls, client_hello

pytestmark = pytest.mark.fast


def hello_of(server_name: str | None) -> bytes:
    """What OpenSSL says first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=server_name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = hello_of("shop.example")


def message_with(*extensions: tuple[int, bytes]) -> bytes:
    """A whole record with a ClientHello of these extensions."""
    listed = b"".join(kind.to_bytes(2) + len(body).to_bytes(2) + body for kind, body in extensions)
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + len(listed).to_bytes(2) + listed
    message = b"\x01" + len(body).to_bytes(3) + body
    return record(message)


def record(part: bytes) -> bytes:
    return b"\x16\x03\x01" + len(part).to_bytes(2) + part


def name_extension(name: bytes) -> tuple[int, bytes]:
    entry = b"\x00" + len(name).to_bytes(2) + name
    return 0, len(entry).to_bytes(2) + entry


def test_the_name_that_openssl_asks_for_is_found() -> None:
    assert client_hello(HELLO) == ClientHello("shop.example")
    assert client_hello(hello_of(None)) == ClientHello("")
    assert client_hello(HELLO + b"whatever follows") == ClientHello("shop.example")


@given(st.integers(0, len(HELLO) - 1))
def test_a_part_of_it_asks_for_more(length: int) -> None:
    assert client_hello(HELLO[:length]) is None


@given(st.lists(st.integers(1, 200), min_size=1, max_size=30))
def test_it_may_be_cut_into_records_as_the_client_likes(sizes: list[int]) -> None:
    message, cut = HELLO[5:], b""
    for size in sizes:
        if message:
            cut += record(message[:size])
            message = message[size:]
    if message:
        cut += record(message)
    assert client_hello(cut) == ClientHello("shop.example")


def test_an_encrypted_hello_shows_the_name_of_the_public_front() -> None:
    found = client_hello(message_with((0xFE0D, b"\x00" * 40), name_extension(b"front.example")))
    assert found == ClientHello("front.example", encrypted=True)


def test_names_are_compared_in_lower_case_and_without_a_last_dot() -> None:
    assert client_hello(message_with(name_extension(b"Shop.Example."))) == ClientHello("shop.example")


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(b"GET / HTTP/1.1\r\n", id="http"),
        pytest.param(b"\x00" + HELLO, id="stray byte before it"),
        pytest.param(b"\r\n" + HELLO, id="stray line before it"),
        pytest.param(b"\x16\x02\x00", id="another version"),
        pytest.param(b"\x16\x03\x01\x00\x00", id="an empty record"),
        pytest.param(b"\x16\x03\x01\xff\xff", id="a record that is too long"),
        pytest.param(record(b"\x02\x00\x00\x01\x00"), id="a ServerHello"),
        pytest.param(record(b"\x01\xff\xff\xff"), id="a message that is too long"),
        pytest.param(record(b"\x01\x00\x00\x03abc"), id="a message that is cut short"),
        pytest.param(record(HELLO[5:100]) + b"\x17\x03\x03\x00\x01x", id="another record in the middle"),
        pytest.param(message_with(name_extension(b"a"), name_extension(b"b")), id="two names"),
        pytest.param(message_with(name_extension(b"a\x00b")), id="a zero in the name"),
        pytest.param(message_with(name_extension(b"")), id="an empty name"),
        pytest.param(message_with((0, b"\x00\x09\x00\x00\x01a")), id="lengths that do not fit"),
    ],
)
def test_anything_else_is_refused(received: bytes) -> None:
    with pytest.raises(NotTls):
        client_hello(received)


def test_it_cannot_grow_without_end() -> None:
    drip = record(b"\x01" + (MAX_BYTES - 8).to_bytes(3)) + record(b"\x00") * (MAX_BYTES // 6 + 10)
    with pytest.raises(NotTls):
        client_hello(drip)


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_waited_for(received: bytes) -> None:
    with contextlib.suppress(NotTls):
        assert client_hello(received) is None or isinstance(client_hello(received), ClientHello)


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_one_wrong_byte_is_no_crash(place: int, value: int) -> None:
    broken = bytearray(HELLO)
    broken[place] = value
    with contextlib.suppress(NotTls):
        client_hello(bytes(broken))
