"""The doors of a process: listening sockets by address and port, each open for one frontend at a time.

A door outlives what stands behind it: a frontend that turns from raw to http, or moves to another service, keeps its
socket and with it the clients that wait in its queue. A door that is not wanted any more takes what still arrives for
a moment, for those clients knocked while it was open.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from mesh.anyip import is_local
from mesh.model.programme import Frontend
from mesh.model.services import PortKey, Transport

log = logging.getLogger(__name__)

LINGER_S: Final = 1.0
BACKLOG: Final = 4096
EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of a machine or process that has nothing left to open sockets with."""
_BATCH: Final = 64
_IPV6_FREEBIND: Final = 78  # linux/in6.h
_PAUSE_S: Final = 0.1
_WHY: Final = {
    errno.EADDRINUSE: "something else listens there; end it, or give the service another port",
    errno.EADDRNOTAVAIL: "this machine has no such address; let `edgetwin mesh doctor` look at the service addresses",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE; give the service a higher port",
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a door is; the address ``""`` stands for every address of the machine."""

    transport: Transport
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address or '*'}:{self.port}" + ("/udp" if self.transport is Transport.UDP else "")


class Carrier(Protocol):
    """Carries connections of frontends to endpoints."""

    def accepted(self, sock: socket.socket, client: str, frontend: Frontend) -> None:
        """Take over a connection that has just been accepted; the socket does not block. Never raises."""

    def changed(self, frontend: Frontend) -> str:
        """Take a new or other frontend's rules; they count for open connections too, where those ask again. Returns
        why it cannot, and goes on as before then; empty: it does.
        """

    def forgotten(self, key: PortKey) -> None:
        """A frontend is gone; what is under way may end."""

    async def close(self, grace_s: float) -> None:
        """End what is open, after at most ``grace_s`` in which it may end by itself."""


class DatagramCarrier(Protocol):
    """Carries datagrams of frontends to endpoints."""

    def opened(self, sock: socket.socket, frontend: Frontend) -> None:
        """Take what arrives at this socket from now on for this frontend; called again when the frontend changes."""

    def closed(self, sock: socket.socket) -> None:
        """The socket is about to be closed; what hangs on it ends."""


class CannotOpen(Exception):
    """A door could not be opened; the text says where, why and what helps."""


@dataclass(slots=True, eq=False)
class _Door:
    place: Place
    sock: socket.socket
    frontend: Frontend
    carrier: Carrier | None = None
    datagrams: DatagramCarrier | None = None
    ending: asyncio.TimerHandle | None = None
    paused: asyncio.TimerHandle | None = None


def places_of(frontend: Frontend) -> tuple[Place, ...]:
    """Where a frontend wants to be reached."""
    wanted = [Place(frontend.key.transport, address, frontend.key.port) for address in frontend.addresses]
    if frontend.node_port:
        wanted.append(Place(frontend.key.transport, "", frontend.node_port))
    return tuple(wanted)


def plain_address(address: str) -> str:
    """As clients are known by: a door of both families shows IPv4 inside of IPv6, and an interface is no part of it."""
    return address.removeprefix("::ffff:").partition("%")[0] if ":" in address else address


class Listeners:
    """All doors of a process. ``reuse_port``: siblings may open the same ones, and the kernel shares clients out."""

    def __init__(self, *, reuse_port: bool = False, linger_s: float = LINGER_S) -> None:
        self._reuse_port = reuse_port
        self._linger_s = linger_s
        self._doors: dict[Place, _Door] = {}
        self._short = False

    def places(self) -> Iterable[Place]:
        """Where doors are open now, those that are about to close included."""
        return self._doors.keys()

    def waiting(self) -> bool:
        """Whether clients wait at a door because no file number is free for them."""
        return any(door.paused is not None for door in self._doors.values())

    def open(self, place: Place, frontend: Frontend, carrier: Carrier) -> None:
        """Let clients in for a frontend, or let an open door lead to it from now on. Raises CannotOpen."""
        door = self._doors.get(place)
        if door is None:
            door = _Door(place, self._bind(place), frontend, carrier)
            self._doors[place] = door
            self._watch(door)
        self._keep(door)
        door.frontend, door.carrier = frontend, carrier

    def open_datagrams(self, place: Place, frontend: Frontend, carrier: DatagramCarrier) -> None:
        """The same for a transport without connections. Raises CannotOpen."""
        door = self._doors.get(place)
        if door is None:
            door = self._doors[place] = _Door(place, self._bind(place), frontend, datagrams=carrier)
        self._keep(door)
        door.frontend = frontend
        carrier.opened(door.sock, frontend)

    def retire(self, place: Place) -> None:
        """Close a door after a moment in which it still takes what arrives; `open` in that moment keeps it."""
        door = self._doors.get(place)
        if door is not None and door.ending is None:
            door.ending = asyncio.get_running_loop().call_later(self._linger_s, self._close, door)

    def close(self) -> None:
        """Close every door now."""
        for door in list(self._doors.values()):
            self._close(door)

    def _bind(self, place: Place) -> socket.socket:
        kind = socket.SOCK_DGRAM if place.transport is Transport.UDP else socket.SOCK_STREAM
        try:
            return self._bound(place, kind)
        except OSError as problem:
            why = _WHY.get(problem.errno or 0, "see `edgetwin mesh doctor`")
            text = f"cannot listen on {place}: {problem.strerror or problem}; {why}"
            raise CannotOpen(text) from problem

    def _bound(self, place: Place, kind: socket.SocketKind) -> socket.socket:
        sock = _socket_for(place.address, kind)
        try:
            if kind is socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # An accepted socket inherits it, which saves a call for each connection.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.setblocking(False)
            _bind(sock, place.address or ("::" if sock.family is socket.AF_INET6 else "0.0.0.0"), place.port)
            if kind is socket.SOCK_STREAM:
                sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock

    def _keep(self, door: _Door) -> None:
        if door.ending is not None:
            door.ending.cancel()
            door.ending = None

    def _watch(self, door: _Door) -> None:
        door.paused = None
        asyncio.get_running_loop().add_reader(door.sock.fileno(), self._accept, door)

    def _accept(self, door: _Door) -> None:
        carrier = door.carrier
        assert carrier is not None
        for _ in range(_BATCH):
            try:
                sock, client = door.sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as problem:
                self._pause(door, problem)
                return
            self._short = False
            sock.setblocking(False)
            carrier.accepted(sock, plain_address(client[0]), door.frontend)

    def _pause(self, door: _Door, problem: OSError) -> None:
        """Without a free file number, accept would be called for nothing all the time: clients wait in the queue."""
        if problem.errno not in EXHAUSTED:
            log.warning("%s of %s: cannot accept: %s", door.place, door.frontend.key, problem)
        elif not self._short:
            log.warning("%s of %s: cannot accept: %s; clients wait", door.place, door.frontend.key, problem)
            self._short = True
        loop = asyncio.get_running_loop()
        loop.remove_reader(door.sock.fileno())
        door.paused = loop.call_later(_PAUSE_S, self._watch, door)

    def _close(self, door: _Door) -> None:
        self._doors.pop(door.place, None)
        self._keep(door)
        if door.paused is not None:
            door.paused.cancel()
        asyncio.get_running_loop().remove_reader(door.sock.fileno())
        if door.datagrams is not None:
            door.datagrams.closed(door.sock)
        else:
            self._accept(door)
            if door.paused is not None:
                door.paused.cancel()
        door.sock.close()


def _bind(sock: socket.socket, address: str, port: int) -> None:
    try:
        sock.bind((address, port))
    except OSError as problem:
        # A whole network that is local by a route may be bound with IPv4, with IPv6 only if asked for like this.
        if problem.errno != errno.EADDRNOTAVAIL or sock.family is not socket.AF_INET6 or not is_local(address):
            raise
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        sock.bind((address, port))


def _socket_for(address: str, kind: socket.SocketKind) -> socket.socket:
    if address:
        return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    try:
        sock = socket.socket(socket.AF_INET6, kind)
    except OSError:
        return socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return sock
