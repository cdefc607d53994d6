"""The seam to endpoints that are reached through another gateway's tunnel."""

from __future__ import annotations

import socket
from typing import Final, Protocol

from mesh.model.services import Endpoint, PortKey

TUNNEL_S: Final = 4.0
"""The least time for an endpoint behind a tunnel: handshakes, perhaps by a relay far away."""


def connect_timeout_s(endpoint: Endpoint, policy_ms: int) -> float:
    """How long a connection to an endpoint may take to stand."""
    return max(policy_ms / 1000, TUNNEL_S) if endpoint.via else policy_ms / 1000


class Dialer(Protocol):
    """Reaches endpoints that have a ``via``."""

    async def dial(self, port: PortKey, endpoint: Endpoint, timeout_s: float) -> socket.socket:
        """A connected stream socket that does not block and leads to the endpoint. Raises OSError, TimeoutError."""
