"""The data planes: what carries the bytes. Each takes the frontends that are its own and says what it could not do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mesh.model.programme import ProgrammeDelta
from mesh.model.services import PortKey

__all__ = ["DataPlane", "Traffic"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an endpoint has carried for a frontend since the plane was opened; for planes that count elsewhere."""

    frontend: PortKey
    route: str
    """Empty: none was written."""
    port: PortKey
    """Behind it, that which the endpoint belongs to."""
    place: str
    connections: int
    packets: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class DataPlane(Protocol):
    """Carries out a programme. A frontend that moves to another plane keeps its open connections here to their end."""

    async def open(self) -> None:
        """Get ready. Raises PlaneError if this machine cannot."""

    async def program(self, delta: ProgrammeDelta) -> Mapping[PortKey, str]:
        """Carry out a change: listeners first opened, then closed. Returns what it could not do, by frontend.

        The upstreams have been told already. A frontend that could not be changed goes on as it was.
        """

    def traffic(self) -> Iterable[Traffic]:
        """What was carried, as far as the plane counts itself."""

    async def close(self) -> None:
        """Stop taking connections; end the open ones after a moment."""
