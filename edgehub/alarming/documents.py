"""AlarmRule documents as rules. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from edgehub.alarming.rule import SERVICE, Metric, Operator, Rule, Selector, Subject
from twin.alarm import Severity
from twin.manifest.catalog import RegistryView, Stored
from twin.manifest.document import DocumentKind
from twin.model import TwinSpec

CALM_S: Final = 5.0
"""How long a condition must be over if neither ``keepFiringFor`` nor ``for`` asks for more."""


def rules_of(view: RegistryView) -> Iterator[Rule]:
    """Every rule that documents name."""
    for stored in view.all(DocumentKind.ALARM_RULE):
        yield _rule(stored)


def subjects_of(
    view: RegistryView, specs: Iterable[TwinSpec], gateway: str
) -> Iterator[tuple[Subject, Mapping[str, str]]]:
    """All that a rule may be about, each with its labels: twins that no other gateway has, and services."""
    for spec in specs:
        key = spec.key
        if spec.gateway in ("", gateway):  # of another one's device nothing is heard here, and that is no silence
            yield Subject(key.kind, key.namespace, key.name), dict(spec.labels)
    for stored in view.all(DocumentKind.SERVICE):
        yield Subject(SERVICE, stored.ref.namespace, stored.ref.name), stored.document.labels


def _rule(stored: Stored) -> Rule:
    from twin.manifest.policies import AlarmRuleSpec, kind_of  # memory that only gateways with such documents pay

    spec = stored.document.spec
    assert isinstance(spec, AlarmRuleSpec)
    namespace = stored.ref.namespace
    said = spec.service or spec.twin
    where = spec.twin.namespace if spec.twin is not None else None
    kind = kind_of(spec)
    selector = Selector(
        SERVICE if kind is None else kind,
        where or namespace,
        (said.name or "") if said is not None else "",
        tuple(sorted(said.match_labels.items())) if said is not None else (),
    )
    for_s = spec.for_ms / 1000
    keep_s = max(for_s, CALM_S) if spec.keep_firing_for_ms is None else spec.keep_firing_for_ms / 1000
    return Rule(
        stored.ref.name,
        selector,
        Metric.MESH if spec.service is not None else Metric(spec.metric or Metric.PROPERTY),
        namespace=namespace,
        property=spec.property or (spec.metric or "" if spec.service is not None else ""),
        operator=Operator(spec.operator),
        threshold=spec.threshold if spec.threshold is not None else 0.0,
        hysteresis=spec.hysteresis or 0.0,
        after_s=(spec.after_ms or 0) / 1000,
        for_s=0.0 if spec.service is not None else for_s,
        keep_s=0.0 if spec.service is not None else keep_s,
        grace_s=for_s if spec.service is not None else 0.0,
        severity=Severity(spec.severity),
        summary=spec.summary,
        enabled=spec.enabled,
    )
