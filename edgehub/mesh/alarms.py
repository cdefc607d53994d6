"""AlarmRule documents of services as the mesh's own, and what it says of them as it is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgehub.alarming.own import BREAKER_OPEN
from mesh.alerts import Alert
from mesh.model.alarms import AlarmMetric, AlarmRule, Operator
from mesh.model.services import ServiceKey
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.policies import AlarmRuleSpec
from twin.model import DEFAULT_NAMESPACE
from twin.wire import mesh


def rules_of(view: RegistryView) -> tuple[AlarmRule, ...]:
    """Every rule, with the services of its namespace that it is about; and the own one, where no other has its name."""
    services, written = view.all(DocumentKind.SERVICE), view.all(DocumentKind.ALARM_RULE)
    named = {one.ref.namespace for one in written if one.ref.name == BREAKER_OPEN}
    rules = [_rule(stored, services) for stored in written if _is_ours(stored)]
    others = tuple(ServiceKey(one.ref.namespace, one.ref.name) for one in services if one.ref.namespace not in named)
    if others:
        rules.append(AlarmRule(f"{DEFAULT_NAMESPACE}/{BREAKER_OPEN}", others, AlarmMetric.BREAKER_OPEN))
    return tuple(rules)


def body(alert: Alert, at_ms: int) -> mesh.Alert:
    """What is published; ``at_ms``: since when."""
    return mesh.Alert(
        rule=alert.rule.key,
        about=str(alert.about),
        firing=alert.firing,
        since=at_ms,
        severity=alert.rule.severity,
        value=float(f"{alert.value:.4g}"),
        text=alert.text,
    )


def _is_ours(stored: Stored) -> bool:
    spec = stored.document.spec
    assert isinstance(spec, AlarmRuleSpec)
    return spec.service is not None and spec.enabled


def _rule(stored: Stored, services: Iterable[Stored]) -> AlarmRule:
    spec = stored.document.spec
    assert isinstance(spec, AlarmRuleSpec)
    assert spec.metric is not None
    threshold = spec.threshold if isinstance(spec.threshold, float) else 0.0
    return AlarmRule(
        f"{stored.ref.namespace}/{stored.ref.name}",
        tuple(_services(stored.ref.namespace, spec, services)),
        AlarmMetric(spec.metric),
        Operator(spec.operator),
        threshold,
        spec.for_ms,
        spec.severity,
        spec.summary,
    )


def _services(namespace: str, spec: AlarmRuleSpec, services: Iterable[Stored]) -> Iterator[ServiceKey]:
    wanted = spec.service
    assert wanted is not None
    for one in services:
        named = wanted.name in (None, one.ref.name)
        if one.ref.namespace == namespace and named and wanted.match_labels.items() <= one.document.labels.items():
            yield ServiceKey(one.ref.namespace, one.ref.name)
