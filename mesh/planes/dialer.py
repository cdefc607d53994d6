"""The seam to endpoints that are reached through another gateway's tunnel."""

from __future__ import annotations

import socket
from typing import Protocol

from mesh.model import Endpoint, PortKey


class Dialer(Protocol):
    """Reaches endpoints that have a ``via``."""

    async def dial(self, port: PortKey, endpoint: Endpoint, timeout_s: float) -> socket.socket:
        """A connected stream socket that does not block and leads to the endpoint. Raises OSError, TimeoutError."""
