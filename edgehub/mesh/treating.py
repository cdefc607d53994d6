"""Policies as the mesh's own: what a DestinationRule says, and key by key over it what a Policy says. Pure.

Of two DestinationRules or two Policies for one thing the first by name counts, and the other is told so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from edgehub.mesh.routing import backend_port, route_key
from mesh.model.policies import (
    Balance,
    CachedResponse,
    CircuitBreaker,
    ConnectionPool,
    Degrade,
    DirectResponse,
    HealthCheck,
    KeyKind,
    KeyOf,
    LoadBalancer,
    OutlierDetection,
    Policy,
    ProbeKind,
    RateLimit,
    RetryBudget,
    StaleRule,
    TokenBucket,
    When,
)
from mesh.model.routes import Backend, Route, RouteKey
from mesh.model.services import Service, ServiceKey
from mesh.problems import Problem, Reason
from twin.manifest import policies, traffic
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind, Ref
from twin.manifest.kinds import Part
from twin.manifest.policies import PolicySpec
from twin.manifest.policy_rules import service_of
from twin.manifest.traffic import DestinationRuleSpec

P = TypeVar("P", bound=Part)
Target: TypeAlias = ServiceKey | RouteKey
_SERVICE: Final = "Service"


@dataclass(frozen=True, slots=True)
class Treated:
    """The policies of Services and of routes, and what is wrong with the documents that they come from."""

    services: Mapping[ServiceKey, Policy] = field(default_factory=dict)
    routes: Mapping[RouteKey, Policy] = field(default_factory=dict)
    problems: Mapping[Ref, tuple[Problem, ...]] = field(default_factory=dict)


def treated(view: RegistryView, services: Mapping[ServiceKey, Service], routes: Mapping[RouteKey, Route]) -> Treated:
    """Put all policies together."""
    problems: defaultdict[Ref, list[Problem]] = defaultdict(list)
    rules: dict[Target, Stored] = {}
    own: dict[Target, Stored] = {}
    for stored in view.all(DocumentKind.DESTINATION_RULE):
        assert isinstance(stored.document.spec, DestinationRuleSpec)
        key = ServiceKey(*service_of(stored.document.spec.host, stored.ref.namespace))
        problems[stored.ref] += _claimed(rules, key, stored, there=key in services)
    for stored in view.all(DocumentKind.POLICY):
        for target in _targets(stored):
            there = target in services if isinstance(target, ServiceKey) else target in routes
            problems[stored.ref] += _claimed(own, target, stored, there=there)
    of_services = {key: _policy(rules.get(key), own.get(key)) for key in services if key in rules or key in own}
    of_routes = {key: _policy(None, one) for key, one in own.items() if isinstance(key, RouteKey) and key in routes}
    return Treated(of_services, of_routes, {ref: tuple(ones) for ref, ones in problems.items()})


def _claimed(taken: dict[Target, Stored], key: Target, stored: Stored, *, there: bool) -> Iterator[Problem]:
    """Note whose document counts for a thing; what is wrong if it is another's, or the thing is not there."""
    what = key if isinstance(key, RouteKey) else f"{_SERVICE} {key}"
    first = taken.setdefault(key, stored)
    if first is not stored:
        yield Problem(Reason.CONFLICTED, f"{first.ref} says it of {what} already. Put the two together")
    elif not there:
        yield Problem(Reason.TARGET_NOT_FOUND, f"there is no {what}. Apply it, or name another")


def _targets(stored: Stored) -> Iterator[Target]:
    spec, namespace = stored.document.spec, stored.ref.namespace
    assert isinstance(spec, PolicySpec)
    for one in spec.target_refs:
        is_service = one.kind == _SERVICE
        yield ServiceKey(namespace, one.name) if is_service else route_key(one.kind, namespace, one.name)


def _policy(rule: Stored | None, own: Stored | None) -> Policy:
    said = rule.document.spec if rule else None
    ours = own.document.spec if own else None
    base = said.traffic_policy if isinstance(said, DestinationRuleSpec) else traffic.IstioTrafficPolicy()
    spec = ours if isinstance(ours, PolicySpec) else PolicySpec(targetRefs=())
    of = over(base, spec.traffic_policy)
    budget = spec.retry_budget or base.retry_budget
    return Policy(
        _balancer(of.load_balancer),
        _pool(of.connection_pool),
        _outlier(of.outlier_detection),
        _breaker(spec.circuit_breaker),
        _limit(spec.rate_limit),
        RetryBudget(float(budget.percent), budget.min_retry_concurrency) if budget else RetryBudget(),
        tuple(_degrade(one, own.ref.namespace) for one in spec.degrade) if own else (),
        StaleRule(spec.stale.max_age_ms, drop=spec.stale.then == "drop") if spec.stale else StaleRule(),
        _check(spec.health_check),
    )


def over(base: P, other: Part | None) -> P:
    """``base`` with all that is written in ``other``; of what excludes each other the latter counts."""
    if other is None:
        return base
    said: dict[str, object] = {}
    for name in other.model_fields_set:
        mine, theirs = getattr(base, name, None), getattr(other, name)
        said[name] = over(mine, theirs) if isinstance(mine, Part) and isinstance(theirs, Part) else theirs
    if isinstance(base, traffic.LoadBalancer):
        for one, against in (("simple", "consistent_hash"), ("consistent_hash", "simple")):
            if said.get(one) is not None:
                said.setdefault(against, None)
    if isinstance(base, traffic.HashKey) and set(traffic.HashKey.model_fields) & said.keys():
        said = {**dict.fromkeys(traffic.HashKey.model_fields), **said}
    return base.model_copy(update=said)


def _balancer(said: traffic.LoadBalancer | None) -> LoadBalancer:
    if said is None:
        return LoadBalancer()
    warmup_ms = said.warmup.duration_ms if said.warmup else said.warmup_duration_ms or 0
    locality = said.locality_lb_setting is None or said.locality_lb_setting.enabled
    key = said.consistent_hash
    if key is None:
        return LoadBalancer(Balance(said.simple or Balance.ROUND_ROBIN), locality=locality, warmup_ms=warmup_ms)
    size = key.ring_hash.minimum_ring_size if key.ring_hash else key.minimum_ring_size or LoadBalancer().ring_size
    return LoadBalancer(Balance.CONSISTENT_HASH, _key(key), size, locality, warmup_ms)


def _key(said: traffic.HashKey) -> KeyOf:
    if said.use_source_ip:
        return KeyOf(KeyKind.SOURCE)
    if said.http_cookie is not None:
        return KeyOf(KeyKind.COOKIE, said.http_cookie.name)
    if said.http_header_name is not None:
        return KeyOf(KeyKind.HEADER, said.http_header_name.lower())
    return KeyOf(KeyKind.QUERY, said.http_query_parameter_name or "")


def _pool(said: traffic.ConnectionPool | None) -> ConnectionPool:
    tcp = (said and said.tcp) or traffic.TcpPool()
    http = (said and said.http) or traffic.HttpPool()
    return ConnectionPool(
        max_connections=tcp.max_connections,
        connect_timeout_ms=tcp.connect_timeout_ms or ConnectionPool().connect_timeout_ms,
        idle_timeout_ms=http.idle_timeout_ms,
        tcp_idle_timeout_ms=tcp.idle_timeout_ms,
        max_pending=http.http1_max_pending_requests,
        max_requests=http.http2_max_requests,
        max_requests_per_connection=http.max_requests_per_connection,
        max_retries=http.max_retries,
        tcp_keepalive_s=-(-tcp.tcp_keepalive.time_ms // 1000) if tcp.tcp_keepalive else 0,
    )


def _outlier(said: traffic.Outlier | None) -> OutlierDetection | None:
    said = said or traffic.Outlier()
    counted = said.consecutive_5xx_errors, said.consecutive_gateway_errors, said.consecutive_local_origin_failures
    if not any(counted):
        return None
    return OutlierDetection(
        *counted,
        interval_ms=said.interval_ms,
        base_ejection_ms=said.base_ejection_ms,
        max_ejection_ms=said.max_ejection_ms,
        max_ejection_percent=said.max_ejection_percent,
        min_health_percent=said.min_health_percent,
    )


def _breaker(said: policies.CircuitBreaker | None) -> CircuitBreaker | None:
    if said is None:
        return None
    return CircuitBreaker(said.error_percent, said.min_requests, said.interval_ms, said.open_ms, said.trials)


def _limit(said: policies.RateLimit | None) -> RateLimit | None:
    if said is None:
        return None
    bucket = said.token_bucket
    return RateLimit(
        TokenBucket(bucket.max_tokens, bucket.tokens_per_fill, bucket.fill_interval_ms),
        _key(said.per) if said.per else KeyOf(),
        said.max_keys,
    )


def _degrade(said: policies.Degrade, namespace: str) -> Degrade:
    direct, cached, backend = said.then.direct_response, said.then.cached_response, said.then.backend_ref
    when = When(said.when)
    if direct is not None:
        return Degrade(when, DirectResponse(direct.status, direct.body, direct.content_type))
    if cached is not None:
        return Degrade(when, CachedResponse(cached.max_bytes, cached.max_age_ms))
    assert backend is not None
    return Degrade(when, Backend(backend_port(backend, namespace)))


def _check(said: policies.HealthCheck | None) -> HealthCheck | None:
    if said is None:
        return None
    http = said.http
    kind = ProbeKind.HTTP if http else ProbeKind.TCP
    path, expected = (http.path, http.expected_statuses) if http else ("/", policies.Statuses())
    counts = said.unhealthy_threshold, said.healthy_threshold
    return HealthCheck(kind, path, said.interval_ms, said.timeout_ms, *counts, (expected.first, expected.last))
