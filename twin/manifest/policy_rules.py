"""What must hold inside a DestinationRule, Policy or AlarmRule beyond the types of its fields. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twin.manifest.document import Document
from twin.manifest.fields import shown_value
from twin.manifest.policies import (
    ALARM_KINDS,
    CONDITIONS,
    COUNTS,
    SERVICE_METRICS,
    AlarmRuleSpec,
    Degrade,
    HealthCheck,
    PolicySpec,
)
from twin.manifest.problems import KeyPath, Problem
from twin.manifest.route_rules import broken_backend
from twin.manifest.routes import GROUP
from twin.manifest.traffic import DestinationRuleSpec, HashKey, TrafficPolicy
from twin.model import DEFAULT_NAMESPACE, Kind

MAX_TARGETS: Final = 16
_OF_SERVICES: Final = ("trafficPolicy", "circuitBreaker", "retryBudget", "healthCheck", "stale")
_KEYS: Final = ("httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName")


def broken_destination(document: Document, spec: DestinationRuleSpec) -> Iterator[Problem]:
    """Find what is wrong in a DestinationRule."""
    parts = spec.host.split(".")
    if len(parts) > 2 and parts[2] != "svc":
        text = f"{spec.host} is no Service of this mesh"
        yield document.problem(("spec", "host"), text, "Write shop, shop.plant or shop.plant.svc.cluster.local.")
    yield from _traffic(document, spec.traffic_policy, ("spec", "trafficPolicy"))


def service_of(host: str, namespace: str) -> tuple[str, str]:
    """Namespace and name of the Service that a DestinationRule of that namespace means."""
    name, _, rest = host.partition(".")
    return rest.partition(".")[0] or namespace, name


def broken_policy(document: Document, spec: PolicySpec) -> Iterator[Problem]:
    """Find what is wrong in a Policy."""
    given = spec.model_dump(by_alias=True, exclude_unset=True)
    path: KeyPath = ("spec", "targetRefs")
    if not spec.target_refs:
        yield document.problem(path, "a Policy is for something", "Add {kind: Service, name: shop}.")
    if len(spec.target_refs) > MAX_TARGETS:
        text = f"there are {len(spec.target_refs)}, more than {MAX_TARGETS}"
        yield document.problem(path, text, "Use several documents.")
    if len(given) < 2:
        yield document.problem(("spec",), "it changes nothing", "Add trafficPolicy, rateLimit or another rule.")
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(spec.target_refs):
        group = "" if one.kind == "Service" else GROUP
        if one.group not in ("", group):
            yield document.problem((*path, index, "group"), f"{one.group} has no kind {one.kind}", "Leave it out.")
        if (one.kind, one.name) in seen:
            yield document.problem((*path, index), f"{one.kind} {one.name} is there already", "Keep one of the two.")
        seen.add((one.kind, one.name))
    route = next((one.kind for one in spec.target_refs if one.kind != "Service"), None)
    for key in _OF_SERVICES if route else ():
        if given.get(key) is not None:
            text = f"{route}s have only rateLimit and degrade"
            yield document.problem(("spec", key), text, "Give it to the Service, in a Policy of its own.")
    if spec.traffic_policy is not None:
        yield from _traffic(document, spec.traffic_policy, ("spec", "trafficPolicy"))
    yield from _limits(document, spec)
    for index, rule in enumerate(spec.degrade):
        yield from _degrade(document, rule, spec, index)
    if spec.health_check is not None:
        yield from _check(document, spec.health_check)


def broken_alarm(document: Document, spec: AlarmRuleSpec) -> Iterator[Problem]:
    """Find what is wrong in an AlarmRule."""
    yield from _alarm_subject(document, spec)
    if not (spec.metric or spec.property):
        if spec.enabled:  # one that is switched off needs no more than its name
            remedy = "Add property: temperature, or a metric."
            yield document.problem(("spec",), "it does not say what it looks at", remedy)
        return
    yield from _alarm_metric(document, spec)
    yield from _alarm_threshold(document, spec)


def _alarm_subject(document: Document, spec: AlarmRuleSpec) -> Iterator[Problem]:
    of_services = spec.metric in SERVICE_METRICS
    if spec.service is not None and spec.twin is not None:
        yield document.problem(("spec", "twin"), "service says what it is about already", "Keep one of the two.")
    elif of_services and spec.service is None:
        yield document.problem(("spec", "service"), f"{spec.metric} is of Services", "Add service: {name: shop}.")
    elif spec.service is not None and not of_services and spec.metric is not None:
        yield document.problem(("spec", "service"), f"{spec.metric} is of no Service", "Leave service out.")
    for key, said in (("service", spec.service), ("twin", spec.twin)):
        if said is not None and said.name and said.match_labels:
            yield document.problem(("spec", key, "matchLabels"), "name says which it is", "Keep one of the two.")
    twin, kind = spec.twin, ALARM_KINDS.get(spec.metric or "")
    if kind == Kind.GATEWAY and document.namespace != DEFAULT_NAMESPACE:
        text = f"{spec.metric} is of the gateway, which is in namespace {DEFAULT_NAMESPACE}"
        yield document.problem(("metadata", "namespace"), text, "Leave it out.")
    if twin is None:
        return
    if kind is not None and twin.kind not in (None, kind):
        yield document.problem(("spec", "twin", "kind"), f"{spec.metric} is of a {kind}", "Leave it out.")
    if twin.namespace is not None and document.namespace != DEFAULT_NAMESPACE:
        text = f"a rule for every namespace stands in namespace {DEFAULT_NAMESPACE}"
        yield document.problem(("spec", "twin", "namespace"), text, "Leave it out, or move the rule there.")


def _alarm_metric(document: Document, spec: AlarmRuleSpec) -> Iterator[Problem]:
    if spec.metric is not None and spec.property is not None:
        yield document.problem(("spec", "property"), "metric says what it looks at already", "Keep one of the two.")
    elif spec.property is not None and spec.service is not None:
        yield document.problem(("spec", "property"), "a Service has no properties", "Name a metric, such as p99Ms.")
    if spec.after_ms is not None and spec.metric != "deviceSilent":
        text = "it is of deviceSilent alone"
        yield document.problem(("spec", "after"), text, "Leave it out; for says how long something has to hold.")


def _alarm_threshold(document: Document, spec: AlarmRuleSpec) -> Iterator[Problem]:
    looked, threshold = spec.metric or spec.property, spec.threshold
    path: KeyPath = ("spec", "threshold")
    if spec.metric in CONDITIONS:
        for key, value in (("threshold", threshold), ("hysteresis", spec.hysteresis)):
            if value is not None:
                yield document.problem(("spec", key), f"{spec.metric} is there, or it is not", "Leave it out.")
        return
    if threshold is None and spec.metric not in COUNTS:
        yield document.problem(path, f"threshold is missing for {looked}", "Add it: threshold: 5.")
    ordered = spec.operator in (">", ">=", "<", "<=")
    number = threshold is None or (isinstance(threshold, float) and not isinstance(threshold, bool))
    if not ordered and spec.metric is not None:
        yield document.problem(
            ("spec", "operator"), f"{spec.metric} is compared by <, <=, > and >=", "Use one of them."
        )
    if not number and (ordered or spec.metric is not None):
        text = f"{shown_value(threshold)} is no number"
        yield document.problem(path, text, "Write a number, or with a property operator: ==.")
    if spec.hysteresis is not None and (not ordered or spec.service is not None):
        text = "there is none for a Service" if spec.service is not None else f"there is none for {spec.operator}"
        yield document.problem(("spec", "hysteresis"), text, "Leave it out.")
    if spec.service is not None and spec.keep_firing_for_ms is not None:
        text = "an alarm of a Service is over after its for, or 5s"
        yield document.problem(("spec", "keepFiringFor"), text, "Leave it out.")


def _limits(document: Document, spec: PolicySpec) -> Iterator[Problem]:
    limit, breaker = spec.rate_limit, spec.circuit_breaker
    if limit is not None:
        bucket, path = limit.token_bucket, ("spec", "rateLimit", "tokenBucket")
        if not bucket.fill_interval_ms:
            yield document.problem(
                (*path, "fillInterval"), "it never ends", "Write a duration above nothing, such as 1s."
            )
        if limit.per is not None:
            yield from _one_key(document, limit.per, ("spec", "rateLimit", "per"))
    if breaker is not None:
        for key, value in (("interval", breaker.interval_ms), ("openTime", breaker.open_ms)):
            if not value:
                remedy = "Write a duration above nothing, such as 10s."
                yield document.problem(("spec", "circuitBreaker", key), "it lasts no time", remedy)
        if not breaker.error_percent:
            text = "with 0 % it is open whatever comes"
            yield document.problem(("spec", "circuitBreaker", "errorPercent"), text, "Write a number such as 50.")


def _degrade(document: Document, rule: Degrade, spec: PolicySpec, index: int) -> Iterator[Problem]:
    path: KeyPath = ("spec", "degrade", index)
    first = next(at for at, one in enumerate(spec.degrade) if one.when == rule.when)
    if first != index:
        text = f"what is done when {rule.when} is said by degrade[{first}]"
        yield document.problem((*path, "when"), text, "Keep one of the two.")
    then = rule.then.model_dump(by_alias=True, exclude_none=True)
    if len(then) != 1:
        text = f"it has {' and '.join(then)}" if then else "it says nothing"
        yield document.problem((*path, "then"), text, "Write one of directResponse, cachedResponse, backendRef.")
    backend = rule.then.backend_ref
    if backend is not None:
        yield from broken_backend(document, backend, (*path, "then", "backendRef"))
        itself = any(one.kind == "Service" and one.name == backend.name for one in spec.target_refs)
        if itself and backend.namespace in (None, document.namespace):
            text = f"it leads from {backend.name} to {backend.name} itself"
            yield document.problem((*path, "then", "backendRef", "name"), text, "Name another Service.")


def _check(document: Document, one: HealthCheck) -> Iterator[Problem]:
    path: KeyPath = ("spec", "healthCheck")
    for key, value in (("interval", one.interval_ms), ("timeout", one.timeout_ms)):
        if value < 10:
            yield document.problem((*path, key), "it is shorter than 10ms", "Write a duration such as 500ms.")
    if one.http and one.http.expected_statuses.first > one.http.expected_statuses.last:
        yield document.problem((*path, "http", "expectedStatuses", "first"), "it is above last", "Swap the two.")


def _traffic(document: Document, policy: TrafficPolicy, path: KeyPath) -> Iterator[Problem]:
    balancer, outlier = policy.load_balancer, policy.outlier_detection
    if balancer is not None:
        at: KeyPath = (*path, "loadBalancer")
        if balancer.simple is not None and balancer.consistent_hash is not None:
            yield document.problem((*at, "consistentHash"), "simple says how already", "Keep one of the two.")
        if balancer.consistent_hash is not None:
            yield from _one_key(document, balancer.consistent_hash, (*at, "consistentHash"))
        if balancer.warmup is not None and balancer.warmup_duration_ms is not None:
            yield document.problem((*at, "warmupDurationSecs"), "warmup says it already", "Keep one of the two.")
    if outlier is not None:
        if outlier.max_ejection_ms < outlier.base_ejection_ms:
            text = f"it is longer than maxEjectionTime ({outlier.max_ejection_ms} ms)"
            yield document.problem(
                (*path, "outlierDetection", "baseEjectionTime"), text, "Make maxEjectionTime longer."
            )
        if not outlier.interval_ms:
            remedy = "Write a duration above nothing, such as 1s."
            yield document.problem((*path, "outlierDetection", "interval"), "it lasts no time", remedy)


def _one_key(document: Document, key: HashKey, path: KeyPath) -> Iterator[Problem]:
    given = key.model_dump(by_alias=True, exclude_none=True)
    there = [one for one in _KEYS if given.get(one)]
    if len(there) != 1:
        text = f"it has {' and '.join(there)}" if there else "it does not say what requests are told apart by"
        yield document.problem(path, text, f"Write one of {', '.join(_KEYS)}.")
