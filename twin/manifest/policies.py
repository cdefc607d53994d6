"""Our own documents of the mesh: Policy, for what Kubernetes and Istio have no words for, and AlarmRule."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictInt

from twin.manifest.fields import DurationMs, Name
from twin.manifest.kinds import OURS, Envelope, Part
from twin.manifest.kube_fields import Bytes
from twin.manifest.mesh_fields import Number, Percent, StatusCode
from twin.manifest.routes import PlainBackendRef
from twin.manifest.traffic import HashKey, RetryBudget, TrafficPolicy

Positive = Annotated[StrictInt, Field(ge=1, le=1_000_000_000, examples=[10])]
AlarmMetric = Literal["errorPercent", "p99Ms", "requestsPerSecond", "breakerOpen", "noEndpoint", "ejected"]


class TargetRef(Part):
    """What a policy is for, in its own namespace."""

    group: str = Field("", examples=['""'])
    kind: Literal["Service", "HTTPRoute", "TCPRoute", "TLSRoute"] = Field(examples=["Service"])
    name: Name


class CircuitBreaker(Part):
    """When a Service is spared as a whole, and for how long."""

    error_percent: Percent = 50.0
    min_requests: Positive = 20
    interval_ms: DurationMs = Field(10_000, alias="interval", examples=["10s"])
    open_ms: DurationMs = Field(5_000, alias="openTime", examples=["5s"])
    trials: Positive = 3


class TokenBucket(Part):
    """Holds so many tokens, and gets so many in each interval; each request takes one."""

    max_tokens: Positive
    tokens_per_fill: Positive = 1
    fill_interval_ms: DurationMs = Field(1_000, alias="fillInterval", examples=["1s"])


class RateLimit(Part):
    """How much is let through: together, or for each key by itself."""

    token_bucket: TokenBucket = Field(examples=["{maxTokens: 100, tokensPerFill: 50, fillInterval: 1s}"])
    per: HashKey | None = Field(None, examples=["{useSourceIp: true}"])
    max_keys: Annotated[StrictInt, Field(ge=1, le=1_000_000, examples=[10_000])] = 10_000


class Statuses(Part):
    """Status codes from the first to the last."""

    first: Annotated[StrictInt, Field(ge=100, le=599, examples=[200])] = 200
    last: Annotated[StrictInt, Field(ge=100, le=599, examples=[399])] = 399


class HttpCheck(Part):
    """A request, and the statuses that are good."""

    path: str = Field("/", pattern=r"^/[^\s\x00]*$", max_length=1024, examples=["/healthz"])
    expected_statuses: Statuses = Field(Statuses(), examples=["{first: 200, last: 399}"])


class HealthCheck(Part):
    """How each endpoint is asked whether it lives: by a connection, or by a request if ``http`` is there."""

    interval_ms: DurationMs = Field(1_000, alias="interval", examples=["1s"])
    timeout_ms: DurationMs = Field(500, alias="timeout", examples=["500ms"])
    unhealthy_threshold: Annotated[StrictInt, Field(ge=1, le=100, examples=[2])] = 2
    healthy_threshold: Annotated[StrictInt, Field(ge=1, le=100, examples=[2])] = 2
    http: HttpCheck | None = Field(None, examples=["{path: /healthz}"])


class DirectResponse(Part):
    """An answer of the mesh's own."""

    status: StatusCode = 503
    body: str = Field("", max_length=65_536, examples=["try again later"])
    content_type: str = Field("text/plain", pattern=r"^[\x21-\x7e][\x20-\x7e]{0,127}$", examples=["text/plain"])


class CachedResponse(Part):
    """The last good answer to the same GET."""

    max_bytes: Bytes = 65_536
    max_age_ms: DurationMs = Field(3_600_000, alias="maxAge", examples=["1h"])


class Instead(Part):
    """What is answered in place of the Service: one of the three."""

    direct_response: DirectResponse | None = Field(None, examples=["{status: 503, body: try again later}"])
    cached_response: CachedResponse | None = Field(None, examples=["{maxAge: 10m}"])
    backend_ref: PlainBackendRef | None = Field(None, examples=["{name: shop-spare, port: 80}"])


class Degrade(Part):
    """What is answered when the Service cannot."""

    when: Literal["breakerOpen", "noEndpoint", "overLimit", "offline"] = Field(examples=["noEndpoint"])
    then: Instead = Field(examples=["{directResponse: {status: 503}}"])


class Stale(Part):
    """How long what was heard of other gateways is believed, and what becomes of it then."""

    max_age_ms: DurationMs = Field(60_000, alias="maxAge", examples=["1m"])
    then: Literal["keep", "drop"] = Field("keep", examples=["drop"])


class PolicySpec(Part):
    """How Services, or what comes by routes, are treated."""

    target_refs: tuple[TargetRef, ...] = Field(examples=["[{kind: Service, name: shop}]"])
    traffic_policy: TrafficPolicy | None = Field(None, examples=["{loadBalancer: {simple: LEAST_REQUEST}}"])
    circuit_breaker: CircuitBreaker | None = Field(None, examples=["{errorPercent: 50}"])
    rate_limit: RateLimit | None = Field(None, examples=["{tokenBucket: {maxTokens: 100}}"])
    retry_budget: RetryBudget | None = Field(None, examples=["{percent: 20}"])
    health_check: HealthCheck | None = Field(None, examples=["{http: {path: /healthz}}"])
    degrade: tuple[Degrade, ...] = Field((), examples=["[{when: noEndpoint, then: {directResponse: {}}}]"])
    stale: Stale | None = Field(None, examples=["{maxAge: 1m}"])


class ServiceSelector(Part):
    """Services by name, by labels, or all of the namespace."""

    name: Name | None = None
    match_labels: dict[str, str] = Field({}, examples=["{tier: front}"])


class AlarmRuleSpec(Part):
    """When people are to be told. For now of Services; what is watched stands under a key of its own."""

    service: ServiceSelector = Field(examples=["{name: shop}"])
    metric: AlarmMetric = Field(examples=["errorPercent"])
    operator: Literal[">", ">=", "<", "<="] = Field(">", examples=['">="'])
    threshold: Number | None = Field(None, examples=[5])
    for_ms: DurationMs = Field(0, alias="for", examples=["30s"])
    severity: Literal["info", "warning", "critical"] = Field("warning", examples=["critical"])
    summary: str = Field("", max_length=500, examples=["the shop answers with errors"])


KINDS: Final[dict[tuple[str, str], type[Envelope[Any]]]] = {
    (OURS, "Policy"): Envelope[PolicySpec],
    (OURS, "AlarmRule"): Envelope[AlarmRuleSpec],
}
SWITCHES: Final = ("breakerOpen", "noEndpoint", "ejected")
"""Metrics that are there or not: a rule of them needs no threshold."""
