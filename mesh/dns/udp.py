"""DNS over UDP. This is the hot path: a query that was seen before costs one look-up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final

from mesh.dns.respond import DnsCounters, Responder

BATCH: Final = 64
"""So many queries in one go, then the loop's others have their turn."""
MAX_QUERY_BYTES: Final = 4096


class UdpListener:
    """Reads the socket from the event loop, without a datagram protocol: that costs three times as much a query."""

    def __init__(
        self, sock: socket.socket, ready: Mapping[bytes, bytes], responder: Responder, counters: DnsCounters
    ) -> None:
        self._socket = sock
        self._ready = ready
        self._responder = responder
        self._counters = counters

    def open(self) -> None:
        """Begin to answer."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._drain)

    def close(self) -> None:
        """Stop answering, and close the socket."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _drain(self) -> None:
        receive, send, ready = self._socket.recvfrom, self._socket.sendto, self._ready
        count = 0
        try:
            for count in range(BATCH):  # noqa: B007 how many there were is what is counted
                message, client = receive(MAX_QUERY_BYTES)
                reply = ready.get(message[2:])
                if reply is None:
                    self._answer(message, client)
                else:
                    send(message[:2] + reply, client)
            count = BATCH
        except BlockingIOError:  # read to the end; or the network is full, which costs one reply
            pass
        except OSError:
            self._counters.dropped += 1
        self._counters.queries += count

    def _answer(self, message: bytes, client: Any) -> None:
        self._responder.respond(message, lambda reply: self._send(reply, client), tcp=False)

    def _send(self, reply: bytes, client: Any) -> None:
        try:
            self._socket.sendto(reply, client)
        except OSError:  # the client is gone, the network full, or we have been closed
            self._counters.dropped += 1
