"""Our own documents of the mesh: Policy, for what Kubernetes and Istio have no words for, and AlarmRule."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictBool, StrictInt

from twin.manifest.fields import DurationMs, Name, PropertyName
from twin.manifest.kinds import OURS, Envelope, Part
from twin.manifest.kube_fields import Bytes
from twin.manifest.mesh_fields import Number, Percent, StatusCode
from twin.manifest.routes import PlainBackendRef
from twin.manifest.traffic import HashKey, RetryBudget, TrafficPolicy

Positive = Annotated[StrictInt, Field(ge=1, le=1_000_000_000, examples=[10])]
AlarmMetric = Literal[
    "errorPercent",
    "p99Ms",
    "requestsPerSecond",
    "breakerOpen",
    "noEndpoint",
    "ejected",
    "deviceSilent",
    "podCrashLoop",
    "clockInDoubt",
    "unsentLeaves",
    "offlineSeconds",
    "diskFreePercent",
    "certificateDays",
    "drops",
]
Threshold = StrictBool | Number | Annotated[str, Field(max_length=500)]
SERVICE_METRICS: Final = ("errorPercent", "p99Ms", "requestsPerSecond", "breakerOpen", "noEndpoint", "ejected")
ALARM_KINDS: Final = {"deviceSilent": "device", "podCrashLoop": "pod"} | dict.fromkeys(
    ("clockInDoubt", "unsentLeaves", "offlineSeconds", "diskFreePercent", "certificateDays", "drops"), "gateway"
)
"""What each metric that is not of a Service is about."""


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


class TwinSelector(Part):
    """Twins by name, by labels, or all of the namespace; with namespace "*" those of every namespace."""

    kind: Literal["device", "pod", "gateway", "mapper", "route", "push"] | None = Field(None, examples=["device"])
    namespace: Literal["*"] | None = Field(None, examples=['"*"'])
    name: Name | None = None
    match_labels: dict[str, str] = Field({}, examples=["{hall: north}"])


class AlarmRuleSpec(Part):
    """When people are to be told: of Services, of a property of twins, of devices, pods and the gateway itself."""

    enabled: StrictBool = Field(True, examples=["false"])
    service: ServiceSelector | None = Field(None, examples=["{name: shop}"])
    twin: TwinSelector | None = Field(None, examples=["{name: boiler-1}"])
    property: PropertyName | None = Field(None, examples=["temperature"])
    metric: AlarmMetric | None = Field(None, examples=["errorPercent"])
    operator: Literal[">", ">=", "<", "<=", "==", "!="] = Field(">", examples=['">="'])
    threshold: Threshold | None = Field(None, examples=[5])
    hysteresis: Number | None = Field(None, ge=0, examples=[2])
    for_ms: DurationMs = Field(0, alias="for", examples=["30s"])
    after_ms: DurationMs | None = Field(None, alias="after", ge=1_000, examples=["5m"])
    keep_firing_for_ms: DurationMs | None = Field(None, alias="keepFiringFor", examples=["5m"])
    severity: Literal["info", "warning", "critical"] = Field("warning", examples=["critical"])
    summary: str = Field("", max_length=500, examples=["the shop answers with errors"])


def kind_of(spec: AlarmRuleSpec) -> str | None:
    """The kind of the twins that a rule is about; None: it is about Services."""
    if spec.service is not None:
        return None
    return ALARM_KINDS.get(spec.metric or "") or (spec.twin and spec.twin.kind) or "device"


KINDS: Final[dict[tuple[str, str], type[Envelope[Any]]]] = {
    (OURS, "Policy"): Envelope[PolicySpec],
    (OURS, "AlarmRule"): Envelope[AlarmRuleSpec],
}
CONDITIONS: Final = ("breakerOpen", "noEndpoint", "deviceSilent", "podCrashLoop", "clockInDoubt")
"""Metrics that are there or not: a rule of them has no threshold."""
COUNTS: Final = ("ejected", "drops")
"""Metrics that are alarms from the first on: a rule of them needs no threshold."""
