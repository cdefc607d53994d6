"""The first message of a TLS client, as far as routes need it: the name of the server that it wants.

    record     type 22 | version (2) | length (2) | a part of the handshake
    handshake  type 1 | length (3) | version (2) | random (32) | session id | ciphers | compressions | extensions

The message may be cut into records as the client likes. Nothing is decrypted: with Encrypted ClientHello the name is
that of the server's public front, which is all that anyone on the way may know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_BYTES: Final = 64 * 1024
"""Of a whole first message; with post-quantum keys a usual one has 2 KiB."""

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_MAX_RECORD: Final = 16_384
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_ENCRYPTED: Final = 0xFE0D
_NAME: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?\.?")


class NotTls(Exception):
    """These bytes are no ClientHello."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What was asked for; ``server_name`` is lower case, empty if none was named."""

    server_name: str = ""
    encrypted: bool = False
    """There is an inner ClientHello that only the server can read."""


def client_hello(received: bytes) -> ClientHello | None:
    """Read what has arrived so far; None: more is needed. Raises NotTls as early as it can be known."""
    message = bytearray()
    at = 0
    while True:
        wanted = _message_length(message)
        if wanted is not None and len(message) >= wanted:
            return _parse(bytes(message[4:wanted]))
        if len(received) > MAX_BYTES:
            text = "a first message of more than 64 KiB"
            raise NotTls(text)
        if at < len(received) and received[at] != _HANDSHAKE:
            text = f"begins with {received[at : at + 4]!r}, which is no TLS handshake record"
            raise NotTls(text)
        if at + 1 < len(received) and received[at + 1] != 3:
            text = f"a record of version {received[at + 1]}"
            raise NotTls(text)
        if at + 5 > len(received):
            return None
        length = int.from_bytes(received[at + 3 : at + 5])
        if not 0 < length <= _MAX_RECORD:
            text = f"a record of {length} bytes"
            raise NotTls(text)
        message += received[at + 5 : at + 5 + length]
        at += 5 + length


def _message_length(message: bytearray) -> int | None:
    if message and message[0] != _CLIENT_HELLO:
        text = f"a handshake message of type {message[0]} comes first"
        raise NotTls(text)
    if len(message) < 4:
        return None
    length = 4 + int.from_bytes(message[1:4])
    if length > MAX_BYTES:
        text = "a first message of more than 64 KiB"
        raise NotTls(text)
    return length


class _Reader:
    """Takes fields off the front of bytes. Raises NotTls where one is cut short."""

    def __init__(self, left: bytes) -> None:
        self.left = left

    def take(self, count: int) -> bytes:
        if count > len(self.left):
            text = "a ClientHello whose lengths do not fit"
            raise NotTls(text)
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        return self.take(self.number(size))


def _parse(body: bytes) -> ClientHello:
    reader = _Reader(body)
    reader.take(2 + 32)
    reader.vector(1)
    reader.vector(2)
    reader.vector(1)
    if not reader.left:
        return ClientHello()  # TLS 1.0 knew no extensions
    extensions = _Reader(reader.vector(2))
    name, encrypted, seen = "", False, False
    while extensions.left:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            if seen:
                text = "two server_name extensions"
                raise NotTls(text)
            name, seen = _server_name(body), True
        elif kind == _ENCRYPTED:
            encrypted = True
    return ClientHello(name, encrypted)


def _server_name(body: bytes) -> str:
    names = _Reader(_Reader(body).vector(2))
    while names.left:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            host = name.decode("latin-1").lower()
            if not _NAME.fullmatch(host):
                text = "a server name that is no host name"
                raise NotTls(text)
            return host.removesuffix(".")
    return ""
