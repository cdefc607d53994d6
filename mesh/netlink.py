"""The kernel's netlink, as far as the mesh asks it: routes, connections it tracks, what stands in our nftables table.

message    length 4, type 2, flags 2, sequence 4, sender 4, body    all in the byte order of the machine
attribute  length 2, type 2, value, padded to 4                     values of netfilter are big-endian
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Self

REQUEST: Final = 0x1
ACK: Final = 0x4
DUMP: Final = 0x300
CREATE_NEW: Final = 0x600
"""Make it, and fail if it is there."""
NESTED: Final = 0x8000

ROUTE: Final = 0
NETFILTER: Final = 12

TIMEOUT_S: Final = 5.0
_TYPE_MASK: Final = 0x3FFF
_ERROR: Final = 2
_DONE: Final = 3
_RECEIVE_BYTES: Final = 1 << 16
_HEAD: Final = struct.Struct("=IHHII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_CODE: Final = struct.Struct("=i")


@dataclass(frozen=True, slots=True)
class Ask:
    """One message to the kernel."""

    type: int
    body: bytes
    flags: int = 0


class Netlink:
    """A socket to one part of the kernel. Blocks while the kernel works: milliseconds, never over TIMEOUT_S."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.settimeout(TIMEOUT_S)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def tell(self, ask: Ask) -> None:
        """Have something done. Raises OSError with the kernel's reason."""
        for _ in self._exchange(ask, ACK | ask.flags):
            pass

    def get(self, ask: Ask) -> bytes:
        """The one answer. Raises OSError with the kernel's reason, ENOENT if there is none."""
        answers = [body for _, body in self._exchange(ask, ACK | ask.flags)]
        if not answers:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return answers[0]

    def dump(self, ask: Ask) -> Iterator[bytes]:
        """All of a kind, as they come. Raises OSError with the kernel's reason."""
        for _, body in self._exchange(ask, DUMP | ask.flags):
            yield body

    def _exchange(self, ask: Ask, flags: int) -> Iterator[tuple[int, bytes]]:
        self._sequence += 1
        length = _HEAD.size + len(ask.body)
        head = _HEAD.pack(length, ask.type, REQUEST | flags, self._sequence, 0)
        self._socket.sendall(head + ask.body)
        while True:
            # A dump that was given up before leaves messages of its own behind; they are passed over.
            for type_, sequence, body in _messages(self._socket.recv(_RECEIVE_BYTES)):
                if sequence != self._sequence:
                    continue
                if type_ == _ERROR:
                    (code,) = _CODE.unpack_from(body)
                    if code:
                        raise OSError(-code, os.strerror(-code))
                    return
                if type_ == _DONE:
                    return
                yield type_, body


def attribute(type_: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), type_) + value + bytes(-len(value) % 4)


def nested(type_: int, *inner: bytes) -> bytes:
    """An attribute of attributes."""
    return attribute(type_ | NESTED, b"".join(inner))


def attributes(body: bytes, start: int = 0) -> dict[int, bytes]:
    """The attributes of a body by type; of several of one type the last."""
    return dict(each_attribute(body, start))


def each_attribute(body: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes of a body in their order. What is cut off ends them."""
    at, end = start, len(body)
    while at + _ATTRIBUTE.size <= end:
        length, type_ = _ATTRIBUTE.unpack_from(body, at)
        if length < _ATTRIBUTE.size or at + length > end:
            return
        yield type_ & _TYPE_MASK, body[at + _ATTRIBUTE.size : at + length]
        at += length + (-length % 4)


def _messages(received: bytes) -> Iterable[tuple[int, int, bytes]]:
    at = 0
    while at + _HEAD.size <= len(received):
        length, type_, _, sequence, _ = _HEAD.unpack_from(received, at)
        if length < _HEAD.size:
            return
        yield type_, sequence, received[at + _HEAD.size : at + length]
        at += length + (-length % 4)
