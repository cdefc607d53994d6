"""Istio's traffic policy: balancing, bounds of what is asked at once, outlier detection; and its DestinationRule."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, JsonValue, StrictBool, StrictInt

from twin.manifest.fields import DurationMs, refuse
from twin.manifest.kinds import Envelope, Part
from twin.manifest.mesh_fields import Amount, HeaderName, is_host, left_aside

_ISTIO: Final = tuple(f"networking.istio.io/{version}" for version in ("v1", "v1beta1", "v1alpha3"))


def _host(value: object) -> object:
    if isinstance(value, str) and "*" in value:
        remedy = "Name one Service, and write a document for each."
        refuse(value, "has a wildcard, and a DestinationRule is for one Service", remedy)
    if isinstance(value, str) and not is_host(value):
        refuse(value, "is not the name of a Service", "Write shop, shop.plant or shop.plant.svc.cluster.local.")
    return value


def _percent(value: object) -> object:
    if type(value) is int and not 0 <= value <= 100:
        refuse(value, "is not between 0 and 100 percent", "Write a whole number such as 50.")
    return value


def _simple(value: object) -> object:
    if value == "PASSTHROUGH":
        remedy = "Leave it out, or use ROUND_ROBIN, RANDOM or LEAST_REQUEST."
        refuse(value, "has no meaning here: clients do not know the addresses of endpoints", remedy)
    return {"LEAST_CONN": "LEAST_REQUEST", "UNSPECIFIED": "LEAST_REQUEST"}.get(str(value), value)


ServiceHost = Annotated[str, BeforeValidator(_host), Field(examples=["shop"])]
Balance = Annotated[
    Literal["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"], BeforeValidator(_simple), Field(examples=["LEAST_REQUEST"])
]
WholePercent = Annotated[StrictInt, BeforeValidator(_percent), Field(examples=[50])]


class HttpCookie(Part):
    """A cookie; one that clients do not have is not made."""

    name: HeaderName
    path: JsonValue = left_aside("the mesh sets no cookies of its own")
    ttl: JsonValue = left_aside("the mesh sets no cookies of its own")


class HashKey(Part):
    """What requests are told apart by: one of the four."""

    http_header_name: HeaderName | None = None
    http_cookie: HttpCookie | None = Field(None, examples=["{name: session}"])
    use_source_ip: StrictBool | None = Field(None, examples=["true"])
    http_query_parameter_name: str | None = Field(None, min_length=1, max_length=256, examples=["user"])


class RingHash(Part):
    """How finely the ring is divided."""

    minimum_ring_size: Annotated[StrictInt, Field(ge=1, le=65_536, examples=[1024])] = 1024


class ConsistentHash(HashKey):
    """Sends what has the same key to the same endpoint."""

    ring_hash: RingHash | None = None
    maglev: JsonValue = left_aside("a ring is used")
    minimum_ring_size: Annotated[StrictInt, Field(ge=1, le=65_536, examples=[1024])] | None = None


class Locality(Part):
    """Whether nearer endpoints come first: this gateway, its zone, the rest."""

    enabled: StrictBool = Field(True, examples=["false"])
    distribute: JsonValue = left_aside("nearer endpoints come first, or all are alike")
    failover: JsonValue = left_aside("nearer endpoints come first, or all are alike")
    failover_priority: JsonValue = left_aside("nearer endpoints come first, or all are alike")


class Warmup(Part):
    """How long a new endpoint gets less than its share."""

    duration_ms: DurationMs = Field(alias="duration", examples=["30s"])
    minimum_percent: JsonValue = left_aside("the share grows evenly")
    aggression: JsonValue = left_aside("the share grows evenly")


class LoadBalancer(Part):
    """How an endpoint is chosen: ``simple`` or ``consistentHash``."""

    simple: Balance | None = None
    consistent_hash: ConsistentHash | None = Field(None, examples=["{useSourceIp: true}"])
    locality_lb_setting: Locality | None = Field(None, examples=["{enabled: false}"])
    warmup: Warmup | None = None
    warmup_duration_ms: DurationMs | None = Field(None, alias="warmupDurationSecs", examples=["30s"])


class TcpKeepalive(Part):
    """How often a silent connection is asked whether it is there."""

    time_ms: DurationMs = Field(7_200_000, alias="time", examples=["30s"])
    interval_ms: JsonValue = Field(None, alias="interval", json_schema_extra={"x-left-aside": "only time counts"})
    probes: JsonValue = left_aside("only time counts")


class TcpPool(Part):
    """Bounds of connections to a Service; 0: none of its own."""

    max_connections: Amount = 0
    connect_timeout_ms: DurationMs = Field(250, alias="connectTimeout", examples=["250ms"])
    idle_timeout_ms: DurationMs = Field(3_600_000, alias="idleTimeout", examples=["1h"])
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: JsonValue = left_aside("a connection lasts as long as its ends want")


class HttpPool(Part):
    """Bounds of requests to a Service; 0: none of its own."""

    http1_max_pending_requests: Amount = Field(1024, alias="http1MaxPendingRequests")
    http2_max_requests: Amount = Field(0, alias="http2MaxRequests")
    max_requests_per_connection: Amount = 0
    max_retries: Amount = 3
    idle_timeout_ms: DurationMs = Field(60_000, alias="idleTimeout", examples=["1m"])
    h2_upgrade_policy: JsonValue = Field(
        None, alias="h2UpgradePolicy", json_schema_extra={"x-left-aside": "the mesh speaks HTTP/1.1"}
    )
    use_client_protocol: JsonValue = left_aside("the mesh speaks HTTP/1.1")
    max_concurrent_streams: JsonValue = left_aside("the mesh speaks HTTP/1.1")


class ConnectionPool(Part):
    """How much a Service gets at once."""

    tcp: TcpPool | None = Field(None, examples=["{maxConnections: 100, connectTimeout: 250ms}"])
    http: HttpPool | None = Field(None, examples=["{http1MaxPendingRequests: 100}"])


class Outlier(Part):
    """When an endpoint is left out because of what it answers; 0 switches a rule off."""

    consecutive_5xx_errors: Amount = Field(5, alias="consecutive5xxErrors")
    consecutive_gateway_errors: Amount = 0
    consecutive_local_origin_failures: Amount = 2
    interval_ms: DurationMs = Field(1_000, alias="interval", examples=["1s"])
    base_ejection_ms: DurationMs = Field(5_000, alias="baseEjectionTime", examples=["5s"])
    max_ejection_ms: DurationMs = Field(300_000, alias="maxEjectionTime", examples=["5m"])
    max_ejection_percent: WholePercent = 100
    min_health_percent: WholePercent = 0
    split_external_local_origin_errors: JsonValue = left_aside("the two are always counted apart")
    consecutive_errors: JsonValue = left_aside("use consecutiveGatewayErrors or consecutive5xxErrors")


class TrafficPolicy(Part):
    """How a Service is treated."""

    load_balancer: LoadBalancer | None = Field(None, examples=["{simple: LEAST_REQUEST}"])
    connection_pool: ConnectionPool | None = Field(None, examples=["{tcp: {maxConnections: 100}}"])
    outlier_detection: Outlier | None = Field(None, examples=["{consecutive5xxErrors: 3}"])


class RetryBudget(Part):
    """How many of the requests at one time may be repetitions."""

    percent: Annotated[StrictInt, Field(ge=0, le=100, examples=[20])] = 20
    min_retry_concurrency: Annotated[StrictInt, Field(ge=0, le=1_000_000, examples=[3])] = 3


class IstioTrafficPolicy(TrafficPolicy):
    """The same with the keys that only Istio has a use for."""

    retry_budget: RetryBudget | None = Field(None, examples=["{percent: 20}"])
    tls: JsonValue = left_aside("the mesh adds no TLS of its own to what endpoints speak")
    port_level_settings: JsonValue = left_aside("all ports of a Service are treated alike")
    tunnel: JsonValue = left_aside("the mesh has tunnels of its own")
    proxy_protocol: JsonValue = left_aside("no PROXY header is sent")


class DestinationRuleSpec(Part):
    """How one Service is treated; a Policy for it goes over this key by key."""

    host: ServiceHost
    traffic_policy: IstioTrafficPolicy = Field(
        IstioTrafficPolicy(), examples=["{loadBalancer: {simple: LEAST_REQUEST}}"]
    )
    subsets: JsonValue = left_aside("write a Service for each subset, and share the requests out with a route")
    export_to: JsonValue = left_aside("it is for every client")
    workload_selector: JsonValue = left_aside("it is for every client")


KINDS: Final[dict[tuple[str, str], type[Envelope[Any]]]] = {
    (version, "DestinationRule"): Envelope[DestinationRuleSpec] for version in _ISTIO
}
