"""One question to one server, and its answer. Each question goes out from a port of its own, to make forging hard."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from mesh.dns.message import HEADER, QR, RCODE, TCP_BYTES, Rcode
from mesh.dns.places import Place

_LENGTH: Final = struct.Struct("!H")


async def over_udp(place: Place, message: bytes, timeout_s: float) -> bytes:
    """Ask over UDP. Raises TimeoutError, or OSError where the server cannot be reached.

    The socket is connected, so that the kernel lets in only what comes from that server, and tells us of its refusal.
    """
    loop = asyncio.get_running_loop()
    with _socket(place, socket.SOCK_DGRAM) as sock:
        sock.connect((place.address, place.port))
        sock.send(message)
        async with asyncio.timeout(timeout_s):
            while True:
                reply = await loop.sock_recv(sock, TCP_BYTES)
                if is_reply(reply, message):
                    return reply


async def over_tcp(place: Place, message: bytes, timeout_s: float) -> bytes:
    """Ask over TCP. Raises TimeoutError, or OSError where the server cannot be reached or hangs up."""
    loop = asyncio.get_running_loop()
    with _socket(place, socket.SOCK_STREAM) as sock:
        async with asyncio.timeout(timeout_s):
            await loop.sock_connect(sock, (place.address, place.port))
            await loop.sock_sendall(sock, _LENGTH.pack(len(message)) + message)
            (length,) = _LENGTH.unpack(await _exactly(sock, _LENGTH.size))
            reply = await _exactly(sock, length)
    if not is_reply(reply, message):
        text = f"{place} answered another question"
        raise ConnectionError(text)
    return reply


def is_reply(reply: bytes, message: bytes) -> bool:
    """Whether a message answers ours: its id and its question. Only that ours was unreadable is said without."""
    if len(reply) < HEADER.size:
        return False
    identity, flags, questions, *_ = HEADER.unpack_from(reply)
    if identity != message[:2] or not flags & QR:
        return False
    if questions == 0:
        return flags & RCODE in (Rcode.FORMERR, Rcode.NOTIMP)
    end = message.index(0, HEADER.size) + 5
    return questions == 1 and reply[HEADER.size : end].lower() == message[HEADER.size : end].lower()


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    got = bytearray()
    while len(got) < size:
        part = await loop.sock_recv(sock, size - len(got))
        if not part:
            text = "it hung up"
            raise ConnectionError(text)
        got += part
    return bytes(got)


def _socket(place: Place, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in place.address else socket.AF_INET, kind)
    sock.setblocking(False)
    return sock
