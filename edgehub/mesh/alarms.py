"""AlarmRule documents as the mesh's own, and alerts as they are told on MQTT and in status. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.alerts import Alert
from mesh.model.alarms import AlarmMetric, AlarmRule, Operator
from mesh.model.services import ServiceKey
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.manifest.policies import AlarmRuleSpec
from twin.wire import mesh, topics
from twin.wire.codec import encode


def rules_of(view: RegistryView) -> tuple[AlarmRule, ...]:
    """Every rule, with the services of its namespace that it is about."""
    services = view.all(DocumentKind.SERVICE)
    return tuple(_rule(stored, services) for stored in view.all(DocumentKind.ALARM_RULE))


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


def told(body: mesh.Alert, rules: Iterable[AlarmRule]) -> tuple[str, bytes]:
    """Topic and payload of what is published; empty once a rule holds no more that is gone, so that nothing stays."""
    namespace, _, service = body.about.partition("/")
    about = ServiceKey(namespace, service)
    watched = any(rule.key == body.rule and about in rule.services for rule in rules)
    topic = topics.alert(namespace, service, body.rule.partition("/")[2])
    return topic, encode(body) if body.firing or watched else b""


def _rule(stored: Stored, services: Iterable[Stored]) -> AlarmRule:
    spec = stored.document.spec
    assert isinstance(spec, AlarmRuleSpec)
    return AlarmRule(
        f"{stored.ref.namespace}/{stored.ref.name}",
        tuple(_services(stored.ref.namespace, spec, services)),
        AlarmMetric(spec.metric),
        Operator(spec.operator),
        float(spec.threshold or 0),
        spec.for_ms,
        spec.severity,
        spec.summary,
    )


def _services(namespace: str, spec: AlarmRuleSpec, services: Iterable[Stored]) -> Iterator[ServiceKey]:
    wanted = spec.service
    for one in services:
        named = wanted.name in (None, one.ref.name)
        if one.ref.namespace == namespace and named and wanted.match_labels.items() <= one.document.labels.items():
            yield ServiceKey(one.ref.namespace, one.ref.name)
