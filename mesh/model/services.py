"""Services, and the endpoints behind their ports, as Kubernetes names them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mesh.written import AsText

DEFAULT_DOMAIN: Final = "cluster.local"
MAX_PORT: Final = 65_535
_NAME: Final = re.compile("[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


class Transport(StrEnum):
    """What carries the bytes."""

    TCP = "TCP"
    UDP = "UDP"

    __hash__ = str.__hash__  # Enum's own is written in Python, and ports are looked up for each request


class AppProtocol(StrEnum):
    """How much of the bytes a plane reads."""

    RAW = "raw"
    HTTP = "http"
    TLS = "tls"
    """Only the server name of the first record, which chooses the route; the rest passes as it is."""


class Plane(StrEnum):
    """The data planes."""

    USERSPACE = "userspace"
    NFTABLES = "nftables"


class Origin(StrEnum):
    """Who says that an endpoint is there, best first."""

    HERE = "here"
    """A pod or mapper of this gateway."""
    LISTED = "listed"
    """A document that was applied here."""
    PEER = "peer"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True, order=True)
class ServiceKey(AsText):
    """Names one service."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> ServiceKey:
        """Read ``namespace/name``. Raises ValueError."""
        namespace, slash, name = text.partition("/")
        if not (slash and _NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            message = f"{text!r} is no service; write namespace/name, for example default/web"
            raise ValueError(message)
        return cls(namespace, name)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class PortKey(AsText):
    """Names one port of a service."""

    service: ServiceKey
    port: int
    transport: Transport = Transport.TCP

    @classmethod
    def parse(cls, text: str) -> PortKey:
        """Read ``namespace/name:port``, with ``/udp`` behind it for UDP. Raises ValueError."""
        head, udp = (text[:-4], True) if text.endswith("/udp") else (text, False)
        service, _, port = head.rpartition(":")
        if not (port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= MAX_PORT):
            message = f"{text!r} is no port of a service; write namespace/name:port, for example default/web:80"
            raise ValueError(message)
        return cls(ServiceKey.parse(service), int(port), Transport.UDP if udp else Transport.TCP)

    def __str__(self) -> str:
        return f"{self.service}:{self.port}" + ("/udp" if self.transport is Transport.UDP else "")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place where a port of a service is reached.

    ``node`` is the gateway that it is on, empty if it is on none. ``via`` names the gateway whose tunnel leads to it;
    empty: its address is reached directly.
    """

    address: str
    port: int
    node: str = ""
    zone: str = ""
    hostname: str = ""
    weight: int = 1
    ready: bool = True
    serving: bool = True
    terminating: bool = False
    stale: bool = False
    """Heard of too long ago; used only where nothing fresher is."""
    via: str = ""
    origin: Origin = Origin.LISTED

    @property
    def place(self) -> str:
        """``address:port``, which names it within its port; with ``@via``, as gateways may use the same networks."""
        place = f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"
        return f"{place}@{self.via}" if self.via else place


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of a service, and the endpoints behind it."""

    port: int
    name: str = ""
    transport: Transport = Transport.TCP
    app: AppProtocol = AppProtocol.RAW
    node_port: int = 0
    """A port of every address of the gateway; 0: none."""
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A name for what endpoints offer.

    ``address`` is the virtual address in front of them; empty: headless, or an ``external_name`` in its place.
    """

    key: ServiceKey
    address: str = ""
    ports: tuple[ServicePort, ...] = ()
    external_name: str = ""
    publish_not_ready: bool = False
    affinity_s: int = 0
    """How long a client address stays with its endpoint; 0: it does not."""
    local_only: bool = False
    """Only endpoints on this gateway serve (internalTrafficPolicy: Local)."""
    plane: Plane | None = None
    """The plane that its documents ask for; None: the gateway's own choice."""
    generation: int = 0
