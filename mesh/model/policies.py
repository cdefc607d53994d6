"""How services are treated: Istio's trafficPolicy, and what the mesh adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from mesh.model.routes import Backend
from mesh.written import OneOf


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


DEFAULT_POLICY: Final = Policy()
