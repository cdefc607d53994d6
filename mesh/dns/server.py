"""The DNS server: sockets, and what is behind them put together."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from random import Random
from typing import Final

from mesh.dns.answers import Answers
from mesh.dns.forward import Forwarder
from mesh.dns.places import Place, place_of
from mesh.dns.respond import DnsCounters, Responder
from mesh.dns.settings import DnsSettings
from mesh.dns.tcp import TcpConnections
from mesh.dns.udp import EverywhereListener, UdpListener
from mesh.dns.zone import Zone
from mesh.errors import MeshError
from mesh.model.services import Service, ServiceKey
from mesh.model.table import Table

log = logging.getLogger(__name__)

ASKED_EVERY_S: Final = 600.0
"""How often a service that is asked for again and again is told of."""
_IP_FREEBIND: Final = 15
_BUFFER_BYTES: Final = 1 << 20
_PAIRS: Final = 16


class DnsUnavailable(MeshError):
    """The server cannot listen where it should."""


class DnsServer:
    """Answers names. ``program`` may come before ``open``, so that the first question finds the last table.

    ``asked`` hears of services that clients ask for, whether we know them or not: what this gateway wants to know of.
    """

    def __init__(
        self,
        settings: DnsSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        rng: Random,
        wall: Callable[[], float] = time.time,
        asked: Callable[[ServiceKey], None] | None = None,
    ) -> None:
        places = [(text, place_of(text)) for text in settings.listen]
        unknown = [text for text, place in places if place is None]
        if unknown:
            message = f"DNS cannot listen at {', '.join(unknown)}"
            raise DnsUnavailable(message, remedy="Use an address of this machine, such as 127.0.0.1:53")
        self.settings = settings
        self.counters = DnsCounters()
        self._wall = wall
        self._listen = [place for _, place in places if place is not None]
        self._places: list[Place] = []
        addresses = [ip_address(place.address.partition("%")[0]) for place in self._listen]
        self._zone = Zone(settings, [one for one in addresses if not one.is_unspecified])
        forwarder = Forwarder(settings, lambda: self._places, clock, rng) if settings.forward else None
        self._forwarder = forwarder
        self._answers = Answers(self._zone, recursion=settings.forward, asked=asked or _nobody)
        self._responder = Responder(self._answers, forwarder, self.counters)
        self._connections = TcpConnections(self._responder, self.counters)
        self._listeners: list[UdpListener] = []
        self._servers: list[asyncio.Server] = []
        self._again: asyncio.TimerHandle | None = None

    @property
    def places(self) -> tuple[Place, ...]:
        """Where it listens, with the ports that were free where none was asked for."""
        return tuple(self._places)

    async def open(self) -> None:
        """Listen. Raises DnsUnavailable where an address or port cannot be had."""
        try:
            for place in self._listen:
                await self._listen_at(place)
        except BaseException:
            await self.close()
            raise
        self._forget_later()

    async def close(self) -> None:
        """Stop listening; who still waits for an answer gets none."""
        if self._again is not None:
            self._again.cancel()
        for listener in self._listeners:
            listener.close()
        for server in self._servers:
            server.close()
        self._connections.close()
        await self._responder.close()
        if self._forwarder is not None:
            await self._forwarder.close()
        self._listeners, self._servers, self._places = [], [], []

    def program(self, table: Table) -> None:
        """Take a whole table: what differs from the last one is applied."""
        known, services = self._zone.services, table.services
        changed = [one for key, one in services.items() if (old := known.get(key)) is not one and old != one]
        self.apply(changed, [key for key in known if key not in services])

    def apply(self, changed: Iterable[Service], gone: Iterable[ServiceKey] = ()) -> None:
        """Take services that are new or other, drop those that are gone; the next question is answered from them."""
        changed, gone = tuple(changed), tuple(gone)
        if changed or gone:
            self._answers.apply(changed, gone, int(self._wall()))

    async def _listen_at(self, place: Place) -> None:
        for attempt in range(_PAIRS):
            udp = self._bound(place, socket.SOCK_DGRAM)
            port = udp.getsockname()[1]
            try:
                tcp = self._bound(Place(place.address, port), socket.SOCK_STREAM)
            except DnsUnavailable:
                udp.close()
                if place.port or attempt == _PAIRS - 1:
                    raise
                continue  # the port that was free for UDP is taken for TCP
            break
        kind = EverywhereListener if ip_address(place.address.partition("%")[0]).is_unspecified else UdpListener
        listener = kind(udp, self._answers.ready, self._responder, self.counters)
        listener.open()
        self._listeners.append(listener)
        self._servers.append(await asyncio.get_running_loop().create_server(self._connections, sock=tcp))
        self._places.append(Place(place.address, port))

    def _bound(self, place: Place, kind: socket.SocketKind) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in place.address else socket.AF_INET, kind)
        try:
            sock.setblocking(False)
            if kind is socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            if self.settings.shared:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if sys.platform == "linux" and ":" not in place.address:
                sock.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)  # the bridge of the pods may come later
            sock.bind((place.address, place.port))
        except OSError as error:
            sock.close()
            message = f"DNS cannot listen at {place}: {error.strerror}"
            raise DnsUnavailable(message, remedy=_remedy(error)) from error
        return sock

    def _forget_later(self) -> None:
        self._answers.forget()
        self._again = asyncio.get_running_loop().call_later(ASKED_EVERY_S, self._forget_later)


def _nobody(key: ServiceKey) -> None:
    del key


def _remedy(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "Ports below 1024 need root, or CAP_NET_BIND_SERVICE; or choose another port"
    if error.errno == errno.EADDRINUSE:
        return "Another DNS server has it: choose another address, such as 127.0.0.2, or another port"
    return "Choose an address that this machine has"
