"""Waits for the first message of a TLS client, which says where it wants to go."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from mesh.planes.l4.client_hello import ClientHello, NotTls, client_hello
from mesh.planes.l4.poller import READ, Poller

log = logging.getLogger(__name__)

GREETING_S: Final = 5.0
_READ_BYTES: Final = 16_384


class Greeting:
    """Reads one client until its ClientHello is whole. ``greeted`` gets it; None: no TLS, too slow, or gone."""

    __slots__ = ("_greeted", "_poller", "_received", "_sock", "_timer")

    def __init__(
        self, sock: socket.socket, poller: Poller, greeted: Callable[[ClientHello | None, bytes], None]
    ) -> None:
        self._sock = sock
        self._poller = poller
        self._greeted = greeted
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start to wait."""
        self._timer = asyncio.get_running_loop().call_later(GREETING_S, self._over, None)
        self._poller.watch(self._sock.fileno(), READ, self._read)

    def cancel(self) -> None:
        """Wait no more; nobody is told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._poller.forget(self._sock.fileno())

    def _read(self, events: int) -> None:
        del events
        try:
            more = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        self._received += more
        try:
            hello = client_hello(self._received)
        except NotTls as problem:
            log.debug("a client was turned away: %s", problem)
            self._over(None)
            return
        if hello is not None or not more:
            self._over(hello)

    def _over(self, hello: ClientHello | None) -> None:
        self.cancel()
        self._greeted(hello, self._received)
