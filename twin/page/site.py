"""What the page asks of the place that it is of: a gateway, or a cloud with its fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel

from twin.client import TwinClient
from twin.wire.api import TwinBody
from twin.wire.mesh import MeshReply


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is logged in, and whether it may change anything."""

    name: str
    may_write: bool = True


class Gatekeeper(Protocol):
    """Knows who may see the page. A holder is what a session keeps of a visitor."""

    async def admit(self, name: str, secret: str) -> str | None:
        """The holder of a login; None if it is wrong."""
        ...

    async def visitor(self, holder: str) -> Visitor | None:
        """Who that is; None once it may come no more."""
        ...


class PageSite(Protocol):
    """What a page is of."""

    @property
    def name(self) -> str:
        """What stands at the top."""
        ...

    @property
    def fleet(self) -> bool:
        """Whether there are gateways to choose from."""
        ...

    async def client(self, visitor: Visitor) -> TwinClient:
        """Who asks in the name of a visitor. Raises EdgetwinError."""
        ...

    async def status(self, visitor: Visitor) -> BaseModel:
        """How the place is: a StatusReply, or a CloudStatusReply. Raises EdgetwinError."""
        ...

    async def mesh(self, visitor: Visitor) -> MeshReply | None:
        """Who calls whom; None where nobody knows. Raises EdgetwinError."""
        ...

    async def pod_log(self, pod: TwinBody, container: str, lines: int) -> str:
        """The end of what a container has said. Raises EdgetwinError."""
        ...
