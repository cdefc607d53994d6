"""DNS over TCP: for answers that are too long for UDP. Queries may follow each other without waiting (RFC 7766)."""

from __future__ import annotations

import asyncio
import struct
from typing import Final, cast

from mesh.dns.respond import DnsCounters, Responder

MAX_CONNECTIONS: Final = 64
IDLE_S: Final = 10.0
MAX_WAITING: Final = 32
"""Queries of one connection that have no answer yet; more are not read."""
_LENGTH: Final = struct.Struct("!H")


class TcpConnections:
    """Those of one server, which shares one bound between its addresses."""

    def __init__(self, responder: Responder, counters: DnsCounters) -> None:
        self.responder = responder
        self.counters = counters
        self.open: set[Connection] = set()

    def __call__(self) -> Connection:
        """Make the protocol of a new one."""
        return Connection(self)

    def close(self) -> None:
        """Hang up on all."""
        for connection in tuple(self.open):
            connection.hang_up()


class Connection(asyncio.Protocol):
    """One client. It is hung up on when it says nothing for a while, also in the middle of a query."""

    def __init__(self, owner: TcpConnections) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiting = 0
        self._full = False
        self._paused = False
        self._ended = False
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it, unless there are too many."""
        if len(self._owner.open) >= MAX_CONNECTIONS:
            self._owner.counters.dropped += 1
            cast(asyncio.Transport, transport).abort()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._owner.open.add(self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        del exc
        self._transport = None
        self._owner.open.discard(self)
        if self._idle is not None:
            self._idle.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer what is whole."""
        self._received += data
        self._read()

    def eof_received(self) -> bool:
        """Answers that are still to come are sent before we hang up, too."""
        self._ended = True
        return self._waiting > 0

    def pause_writing(self) -> None:
        """The client does not read its answers: nor do we read its queries."""
        self._full = True
        self._flow()

    def resume_writing(self) -> None:
        """It reads again."""
        self._full = False
        self._read()

    def hang_up(self) -> None:
        """Close it, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    def _read(self) -> None:
        while self._transport is not None and not self._full and self._waiting < MAX_WAITING:
            if len(self._received) < _LENGTH.size:
                break
            (length,) = _LENGTH.unpack_from(self._received)
            if len(self._received) < _LENGTH.size + length:
                break
            message = bytes(self._received[_LENGTH.size : _LENGTH.size + length])
            del self._received[: _LENGTH.size + length]
            self._owner.counters.queries += 1
            self._waiting += 1
            if not self._owner.responder.respond(message, self._send, tcp=True):
                self.hang_up()  # it does not speak DNS
        self._flow()

    def _send(self, reply: bytes) -> None:
        self._waiting -= 1
        if self._transport is None:
            self._owner.counters.dropped += 1
            return
        self._transport.write(_LENGTH.pack(len(reply)) + reply)
        self._wait()
        if self._ended and not self._waiting:
            self._transport.close()
        elif self._paused:
            asyncio.get_running_loop().call_soon(self._read)

    def _flow(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing() or self._ended:
            return
        stop = self._full or self._waiting >= MAX_WAITING
        if stop and not self._paused:
            transport.pause_reading()
        elif self._paused and not stop:
            transport.resume_reading()
        self._paused = stop

    def _wait(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.hang_up)
