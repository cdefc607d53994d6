"""The words of the mesh as types: services and endpoints, routes, policies, and the table that holds them all.

    Table ──compile──> Programme: Frontends (where clients arrive) and Backends (where their requests go)

Field names are Kubernetes' (Service, EndpointSlice), Gateway API's (routes) and Istio's (policies). All values are
immutable; a change replaces a whole service, route or policy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final, TypeAlias

from mesh.written import AsText, OneOf

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


# -- services ----------------------------------------------------------------------------------------------------------


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


# -- routes (Gateway API) ----------------------------------------------------------------------------------------------


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


# -- policies (Istio's trafficPolicy, and ours) ------------------------------------------------------------------------


class Balance(StrEnum):
    """How an endpoint is chosen."""

    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"
    LEAST_REQUEST = "LEAST_REQUEST"
    CONSISTENT_HASH = "CONSISTENT_HASH"


class KeyKind(StrEnum):
    """What a hash or a bucket goes by."""

    ALL = "all"
    SOURCE = "source"
    HEADER = "header"
    COOKIE = "cookie"
    QUERY = "query"


@dataclass(frozen=True, slots=True)
class KeyOf:
    """What a hash or a bucket goes by; ``name`` of the header, cookie or parameter."""

    kind: KeyKind = KeyKind.ALL
    name: str = ""


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """How endpoints are chosen, and whether nearer ones come first (here, then zone, then the rest)."""

    balance: Balance = Balance.ROUND_ROBIN
    hash_key: KeyOf = KeyOf()
    ring_size: int = 1024
    locality: bool = True
    warmup_ms: int = 0


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """Bounds of what a service gets at once; 0: no bound of its own."""

    max_connections: int = 0
    connect_timeout_ms: int = 250
    idle_timeout_ms: int = 60_000
    """Of connections kept for later HTTP requests."""
    tcp_idle_timeout_ms: int = 3_600_000
    """Of raw connections on which nothing moves in either direction."""
    max_pending: int = 1024
    max_requests: int = 0
    max_requests_per_connection: int = 0
    max_retries: int = 3
    tcp_keepalive_s: int = 0


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint is left out because of what it answers; each time longer. 0 switches a rule off."""

    consecutive_5xx: int = 5
    consecutive_gateway_errors: int = 0
    consecutive_local_failures: int = 2
    interval_ms: int = 1_000
    base_ejection_ms: int = 5_000
    max_ejection_ms: int = 300_000
    max_ejection_percent: int = 100
    """All may be left out, for then all are used again (panic): with two or three endpoints 10 % means nothing."""
    min_health_percent: int = 0


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """When a service as a whole is spared: open for a while, then half open for a few trials."""

    error_percent: float = 50.0
    min_requests: int = 20
    interval_ms: int = 10_000
    open_ms: int = 5_000
    trials: int = 3


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """Envoy's token bucket."""

    max_tokens: int
    tokens_per_fill: int = 1
    fill_interval_ms: int = 1_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How much is let through; what is over it gets 429 with HTTP, else a closed connection."""

    bucket: TokenBucket
    per: KeyOf = KeyOf()
    max_keys: int = 10_000


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many of the requests may be repetitions at one time."""

    percent: float = 20.0
    min_concurrency: int = 3


class When(StrEnum):
    """What a degradation is for."""

    BREAKER_OPEN = "breakerOpen"
    NO_ENDPOINT = "noEndpoint"
    OVER_LIMIT = "overLimit"
    OFFLINE = "offline"
    """No endpoint is on this gateway or near it, and the cloud is not reached."""


@dataclass(frozen=True, slots=True)
class DirectResponse:
    """An answer of the mesh's own."""

    status: int = 503
    body: str = ""
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """The last good answer to the same GET, marked stale; bounded."""

    max_bytes: int = 65_536
    max_age_ms: int = 3_600_000


@dataclass(frozen=True, slots=True)
class Degrade:
    """What is answered when the service cannot."""

    when: When
    then: Annotated[
        DirectResponse | CachedResponse | Backend,
        OneOf(direct_response=DirectResponse, cached_response=CachedResponse, backend=Backend),
    ]


@dataclass(frozen=True, slots=True)
class StaleRule:
    """How long what was heard of other gateways is believed; afterwards it comes last, or is dropped."""

    max_age_ms: int = 60_000
    drop: bool = False


class ProbeKind(StrEnum):
    """How an endpoint is asked whether it lives."""

    TCP = "tcp"
    HTTP = "http"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An active probe of each endpoint."""

    kind: ProbeKind = ProbeKind.TCP
    path: str = "/"
    interval_ms: int = 1_000
    timeout_ms: int = 500
    unhealthy: int = 2
    healthy: int = 2
    statuses: tuple[int, int] = (200, 399)


@dataclass(frozen=True, slots=True)
class Policy:
    """How one service is treated; a service without one gets the defaults."""

    balancer: LoadBalancer = LoadBalancer()
    pool: ConnectionPool = ConnectionPool()
    outlier: OutlierDetection | None = OutlierDetection()
    breaker: CircuitBreaker | None = None
    rate_limit: RateLimit | None = None
    retry_budget: RetryBudget = RetryBudget()
    degrade: tuple[Degrade, ...] = ()
    stale: StaleRule = StaleRule()
    health_check: HealthCheck | None = None


# -- alarms ------------------------------------------------------------------------------------------------------------


class AlarmMetric(StrEnum):
    """What an alarm rule looks at."""

    ERROR_PERCENT = "errorPercent"
    P99_MS = "p99Ms"
    REQUESTS_PER_SECOND = "requestsPerSecond"
    BREAKER_OPEN = "breakerOpen"
    NO_ENDPOINT = "noEndpoint"
    EJECTED = "ejected"
    MENDED = "mended"
    """What others changed in the kernel and was put back; of the mesh's own alarm alone."""


class Operator(StrEnum):
    """How a value is compared with a threshold."""

    OVER = ">"
    AT_LEAST = ">="
    UNDER = "<"
    AT_MOST = "<="


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """When people are to be told about services; ``key`` is its ``namespace/name``."""

    key: str
    services: tuple[ServiceKey, ...]
    metric: AlarmMetric
    operator: Operator = Operator.OVER
    threshold: float = 0.0
    for_ms: int = 0
    """How long it must hold."""
    severity: str = "warning"
    summary: str = ""


# -- the whole ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Table:
    """All that the mesh knows of what people want and of what is there.

    ``policies`` of services; ``route_policies`` of routes, of which rate limit and degradation count.
    """

    services: Mapping[ServiceKey, Service] = field(default_factory=lambda: MappingProxyType({}))
    routes: Mapping[RouteKey, Route] = field(default_factory=lambda: MappingProxyType({}))
    policies: Mapping[ServiceKey, Policy] = field(default_factory=lambda: MappingProxyType({}))
    route_policies: Mapping[RouteKey, Policy] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class TableChange:
    """What is new or other in a table, and what is gone."""

    services: tuple[Service, ...] = ()
    routes: tuple[Route, ...] = ()
    policies: Mapping[ServiceKey, Policy] = field(default_factory=lambda: MappingProxyType({}))
    route_policies: Mapping[RouteKey, Policy] = field(default_factory=lambda: MappingProxyType({}))
    gone_services: tuple[ServiceKey, ...] = ()
    gone_routes: tuple[RouteKey, ...] = ()
    gone_policies: tuple[ServiceKey, ...] = ()
    gone_route_policies: tuple[RouteKey, ...] = ()


@dataclass(frozen=True, slots=True)
class BoundRule:
    """A rule with what it was said for.

    A rule of a route with several matches or host names may be here several times, for each of them has its own place
    in the order. Buckets and counters go by ``route``, so that they are one all the same.
    """

    rule: Rule
    route: RouteKey | None = None
    """None: the service's own endpoints, no route was written."""
    hostnames: tuple[str, ...] = ()
    rate_limit: RateLimit | None = None
    degrade: tuple[Degrade, ...] = ()


@dataclass(frozen=True, slots=True)
class Frontend:
    """Where clients of one port of a service arrive, and the rules for them, the first that matches counts."""

    key: PortKey
    addresses: tuple[str, ...]
    rules: tuple[BoundRule, ...]
    app: AppProtocol = AppProtocol.RAW
    node_port: int = 0
    plane: Plane = Plane.USERSPACE
    affinity_s: int = 0


@dataclass(frozen=True, slots=True)
class BackendGroup:
    """The endpoints of one port of a service, with the policy for them."""

    key: PortKey
    endpoints: tuple[Endpoint, ...]
    policy: Policy = Policy()


@dataclass(frozen=True, slots=True)
class Programme:
    """What the data planes carry out."""

    frontends: Mapping[PortKey, Frontend] = field(default_factory=lambda: MappingProxyType({}))
    backends: Mapping[PortKey, BackendGroup] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class ProgrammeDelta:
    """What is new or other in a programme, and what is gone."""

    frontends: tuple[Frontend, ...] = ()
    gone_frontends: tuple[PortKey, ...] = ()
    backends: tuple[BackendGroup, ...] = ()
    gone_backends: tuple[PortKey, ...] = ()
