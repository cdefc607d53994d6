"""The way to endpoints on other gateways: the tunnel, loaded when it is needed, for its libraries are memory."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from mesh.model.services import Endpoint, PortKey
from mesh.settings import Settings
from mesh.upstream import Upstreams

if TYPE_CHECKING:
    from mesh.tunnel.tunnel import Tunnel


class Leading:
    """A Dialer. ``serves``: other gateways come in by this process, and not by a sibling of it."""

    def __init__(
        self, settings: Settings, upstreams: Upstreams, rng: Random, clock: Callable[[], float], *, serves: bool
    ) -> None:
        self._settings = settings
        self._upstreams = upstreams
        self._rng = rng
        self._clock = clock
        self._serves = serves
        self._peers: Mapping[str, str] = dict(settings.tunnel.peers)
        self._tunnel: Tunnel | None = None

    async def open(self) -> str:
        """Let other gateways in, if the settings say so. Returns what is wrong."""
        files = self._settings.tunnel
        return await self._loaded().open() if files.listen or files.relay else ""

    def peers(self, places: Mapping[str, str]) -> None:
        """Gateways and the ``host:port`` of their tunnels, all that are known now."""
        self._peers = places
        if self._tunnel is not None:
            self._tunnel.peers(places)

    async def dial(self, port: PortKey, endpoint: Endpoint, timeout_s: float) -> socket.socket:
        """A connected socket that leads to the endpoint. Raises OSError, TimeoutError."""
        if not self._settings.tunnel.certificate:
            raise OSError(errno.EHOSTUNREACH, f"no certificate opens the tunnel of {endpoint.via}")
        return await self._loaded().dialer.dial(port, endpoint, timeout_s)

    async def close(self) -> None:
        """End every line."""
        if self._tunnel is not None:
            await self._tunnel.close()

    def _loaded(self) -> Tunnel:
        if self._tunnel is None:
            from mesh.tunnel.tunnel import Tunnel

            settings = self._settings
            self._tunnel = Tunnel(
                settings.tunnel, settings.node, self._upstreams, self._rng, self._clock, serves=self._serves
            )
            self._tunnel.peers(self._peers)
        return self._tunnel
