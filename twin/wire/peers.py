"""What gateways on one network tell each other: what each offers itself, and what it found of the others."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from twin.wire.messages import Wire

MAX_BYTES: Final = 2 * 1024 * 1024
"""Of one message."""
MOST_PORTS: Final = 4096
MOST_ENDPOINTS: Final = 1024
"""Behind one port."""
MOST_VOTES: Final = 16_384

_NAME = Annotated[str, Field(min_length=1, max_length=63)]
_ADDRESS = Annotated[str, Field(max_length=45, description="an IP address")]
_PORT = Annotated[int, Field(ge=1, le=65535)]
_RUN = Annotated[str, Field(max_length=40, description="drawn at each start of the hub")]
_NUMBER = Annotated[int, Field(ge=0, lt=2**53)]


class MeshPort(Wire):
    """Names a port of a Service."""

    namespace: _NAME = "default"
    service: _NAME
    port: _PORT
    transport: Literal["TCP", "UDP"] = "TCP"


class MeshEndpoint(Wire):
    """One endpoint on the gateway that says so. Its gateway is not in it: nobody speaks for another."""

    address: _ADDRESS
    port: _PORT
    hostname: Annotated[str, Field(max_length=63)] = ""
    weight: Annotated[int, Field(ge=0, le=65535)] = 1
    ready: bool = True
    terminating: bool = False


class MeshOffer(Wire):
    """A port of a Service, for gateways that have no document of it, with the endpoints behind it."""

    of: MeshPort
    name: Annotated[str, Field(max_length=63, pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$")] = ""
    app: Literal["raw", "http", "tls"] = "raw"
    headless: bool = False
    endpoints: Annotated[list[MeshEndpoint], Field(max_length=MOST_ENDPOINTS)]


class MeshEndpoints(Wire):
    """All that a gateway offers, in place of what it said before. Of one run, the greater number is the newer."""

    gateway: _NAME
    run: _RUN
    number: _NUMBER
    zone: Annotated[str, Field(max_length=63)] = ""
    offers: Annotated[list[MeshOffer], Field(max_length=MOST_PORTS)] = Field(default_factory=list)


class MeshVote(Wire):
    """What a gateway found when it reached for an endpoint."""

    of: MeshPort
    place: Annotated[str, Field(max_length=60, description="address:port")]
    alive: bool


class MeshVotes(Wire):
    """All that a gateway has found lately, in place of what it said before; said again every few seconds."""

    gateway: _NAME
    run: _RUN
    number: _NUMBER
    votes: Annotated[list[MeshVote], Field(max_length=MOST_VOTES)] = Field(default_factory=list)
    silent: Annotated[list[_NAME], Field(max_length=256, description="peers of its own that it does not reach")] = (
        Field(default_factory=list)
    )
