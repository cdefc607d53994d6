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
_IP_PKTINFO: Final = 8
_ABOUT_BYTES: Final = 64


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


class EverywhereListener(UdpListener):
    """The same on all addresses of the machine: a reply must come from the address that was asked, or is not taken."""

    def open(self) -> None:
        """Begin to answer."""
        six = self._socket.family is socket.AF_INET6
        level, option = (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO) if six else (socket.IPPROTO_IP, _IP_PKTINFO)
        self._socket.setsockopt(level, option, 1)
        super().open()

    def _drain(self) -> None:
        count = 0
        try:
            for count in range(BATCH):  # noqa: B007 how many there were is what is counted
                message, about, _, client = self._socket.recvmsg(MAX_QUERY_BYTES, _ABOUT_BYTES)
                asked = [(level, kind, _without_interface(kind, value)) for level, kind, value in about]
                self._answer(message, (client, asked))
            count = BATCH
        except BlockingIOError:
            pass
        except OSError:
            self._counters.dropped += 1
        self._counters.queries += count

    def _send(self, reply: bytes, client: Any) -> None:
        address, asked = client
        try:
            self._socket.sendmsg([reply], asked, 0, address)
        except OSError:  # as above
            self._counters.dropped += 1


def _without_interface(kind: int, value: bytes) -> bytes:
    """Leave the way to the routes, but for IPv6, whose link-local addresses mean nothing without an interface."""
    return bytes(4) + value[4:] if kind == _IP_PKTINFO else value
