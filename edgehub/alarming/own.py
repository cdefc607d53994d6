"""The rules that every gateway has without a document, and which rules are in force. Pure.

A document of the same name takes the place of one, in its own namespace, or with ``namespace: "*"`` in all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from edgehub.alarming.rule import EVERY, SERVICE, Metric, Operator, Rule, Selector, Subject
from twin.alarm import Severity
from twin.model import Kind

BREAKER_OPEN: Final = "breaker-open"
_GATEWAY: Final = Selector(Kind.GATEWAY)

OWN: Final = (
    Rule("device-silent", Selector(Kind.DEVICE), Metric.DEVICE_SILENT, for_s=60, keep_s=5, own=True),
    Rule("pod-crash-loop", Selector(Kind.POD), Metric.POD_CRASH_LOOP, keep_s=300, own=True),
    Rule(BREAKER_OPEN, Selector(SERVICE), Metric.MESH, property="breakerOpen", own=True),
    Rule("offline", _GATEWAY, Metric.OFFLINE_SECONDS, threshold=900, keep_s=10, own=True),
    Rule("unsent", _GATEWAY, Metric.UNSENT_LEAVES, threshold=10_000, hysteresis=5_000, for_s=300, own=True),
    Rule(
        *("disk-low", _GATEWAY, Metric.DISK_FREE_PERCENT),
        operator=Operator.UNDER,
        threshold=10,
        hysteresis=2,
        for_s=60,
        own=True,
    ),
    Rule(
        *("disk-full", _GATEWAY, Metric.DISK_FREE_PERCENT),
        operator=Operator.UNDER,
        threshold=3,
        hysteresis=1,
        severity=Severity.CRITICAL,
        own=True,
    ),
    Rule("clock", _GATEWAY, Metric.CLOCK_IN_DOUBT, keep_s=60, own=True),
    Rule("certificate", _GATEWAY, Metric.CERTIFICATE_DAYS, operator=Operator.UNDER, threshold=7, own=True),
    Rule("drops", _GATEWAY, Metric.DROPS, keep_s=600, own=True),
)


class InForce:
    """Rules, and which of them is for a subject where several have one name."""

    def __init__(self, documents: Iterable[Rule], own: Iterable[Rule] = OWN) -> None:
        written = list(documents)
        everywhere = {rule.name for rule in written if rule.selector.namespace == EVERY}
        self.all = (*written, *(rule for rule in own if rule.name not in everywhere))
        """Also those that are switched off."""
        self._at_home = {(rule.namespace, rule.name) for rule in written if rule.selector.namespace != EVERY}

    def looks_at(self, rule: Rule, subject: Subject) -> bool:
        """Whether a rule is the one for a subject that its selector fits."""
        if not rule.enabled:
            return False
        return rule.selector.namespace != EVERY or (subject.namespace, rule.name) not in self._at_home
