"""Routes, as Gateway API names them: which requests go where, and what becomes of them on the way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, TypeAlias

from mesh.model.services import Plane, PortKey, ServiceKey
from mesh.written import AsText, OneOf


class RouteKind(StrEnum):
    """The kinds of routes."""

    HTTP = "HTTPRoute"
    TCP = "TCPRoute"
    TLS = "TLSRoute"


_ROUTE_KINDS: Final = frozenset(RouteKind)


@dataclass(frozen=True, slots=True, order=True)
class RouteKey(AsText):
    """Names one route."""

    kind: RouteKind
    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> RouteKey:
        """Read ``kind namespace/name``. Raises ValueError."""
        kind, _, name = text.partition(" ")
        if kind not in _ROUTE_KINDS:
            message = f"{text!r} is no route; write its kind first, for example HTTPRoute default/web"
            raise ValueError(message)
        key = ServiceKey.parse(name)
        return cls(RouteKind(kind), key.namespace, key.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class MatchType(StrEnum):
    """How a value is compared."""

    EXACT = "Exact"
    PREFIX = "PathPrefix"
    """By whole path elements: /foo matches /foo and /foo/bar, not /foobar."""
    REGEX = "RegularExpression"


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """A header or query parameter that must have a value."""

    name: str
    value: str
    type: MatchType = MatchType.EXACT


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """All of it must hold for a request."""

    path: str = "/"
    path_type: MatchType = MatchType.PREFIX
    method: str = ""
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderModifier:
    """Headers to set, add, remove; of the request or of the response."""

    response: bool = False
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PathModifier:
    """Replaces the whole path, or the prefix that matched."""

    replace: str
    prefix_only: bool = False


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answers with another address instead of sending the request on."""

    scheme: str = ""
    hostname: str = ""
    port: int = 0
    path: PathModifier | None = None
    status: int = 302


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Sends the request on under another host or path."""

    hostname: str = ""
    path: PathModifier | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """Sends a copy elsewhere; its answer is thrown away."""

    backend: PortKey
    percent: float = 100.0


Filter: TypeAlias = Annotated[
    HeaderModifier | Redirect | Rewrite | Mirror,
    OneOf(headers=HeaderModifier, redirect=Redirect, rewrite=Rewrite, mirror=Mirror),
]


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a share of the requests goes; weight 0 gets none."""

    port: PortKey
    weight: int = 1
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """When a request is sent again, to another endpoint where there is one.

    ``codes`` of responses; a connection that could not be made is always tried elsewhere. Only requests whose body is
    still at hand, and methods that may be repeated, unless nothing of them was sent.
    """

    attempts: int = 1
    codes: frozenset[int] = frozenset()
    backoff_ms: int = 25


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a route: what it is for, and what happens then. No match means everything."""

    backends: tuple[Backend, ...] = ()
    matches: tuple[HttpMatch, ...] = ()
    filters: tuple[Filter, ...] = ()
    request_ms: int = 0
    """From the first byte of the request to the last of the response; 0: the plane's default."""
    backend_request_ms: int = 0
    """The same for one try."""
    retry: Retry | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """How requests to the parents (ports of services) are shared out; ``port`` 0 of a parent means all its ports."""

    key: RouteKey
    parents: tuple[PortKey, ...]
    rules: tuple[Rule, ...]
    hostnames: tuple[str, ...] = ()
    plane: Plane | None = None
    generation: int = 0
    created_ms: int = 0
    """Of two rules that match alike, that of the older route wins, then the first by name."""
