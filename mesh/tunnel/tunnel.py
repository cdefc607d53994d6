"""All of one gateway's tunnel, put together from its settings."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from mesh.settings import TunnelFiles
from mesh.tunnel.dialing import TunnelDialer
from mesh.tunnel.identity import Identity, IdentityFiles
from mesh.tunnel.relaying import RelayClient
from mesh.tunnel.serving import TunnelServer
from mesh.upstream import Upstreams


class Tunnel:
    """Lets other gateways in, and leads to them. ``serves`` is False in all but one process of a gateway."""

    def __init__(
        self,
        files: TunnelFiles,
        node: str,
        upstreams: Upstreams,
        rng: Random,
        clock: Callable[[], float],
        *,
        serves: bool = True,
    ) -> None:
        self._files = files
        self._identity = Identity(
            IdentityFiles(
                Path(files.authority),
                Path(files.certificate),
                Path(files.key),
                Path(files.revoked) if files.revoked else None,
            )
        )
        self._server = TunnelServer(self._identity, upstreams, node) if serves else None
        self._relay: RelayClient | None = None
        if files.relay:
            host, port = _place(files.relay)
            self._relay = RelayClient(self._identity, host, port, rng=rng, clock=clock, server=self._server)
        peers = {gateway: _place(place) for gateway, place in files.peers}
        self.dialer = TunnelDialer(self._identity, peers, clock, self._relay)

    async def open(self) -> str:
        """Start. Returns what is wrong; lines are still tried, for the files may be mended meanwhile."""
        if self._relay is not None:
            self._relay.open()
        try:
            self._identity.serving()
        except (OSError, ssl.SSLError, ValueError) as problem:
            return f"the tunnel's certificates are no use: {problem}; join the cloud with `edgetwin join`"
        if self._server is None or not self._files.listen:
            return ""
        try:
            await self._server.open(*_place(self._files.listen))
        except OSError as problem:
            return f"the tunnel cannot listen on {self._files.listen}: {problem.strerror or problem}; name another port"
        return ""

    def peers(self, places: Mapping[str, str]) -> None:
        """Gateways and the ``host:port`` of their tunnels, all that are known now."""
        self.dialer.peers = {gateway: _place(place) for gateway, place in places.items()}

    async def close(self) -> None:
        """End every line."""
        if self._relay is not None:
            await self._relay.close()
        await self.dialer.close()
        if self._server is not None:
            await self._server.close()


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
