"""What an alarm rule says: what it looks at, how it compares, and how long that has to last."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from twin.alarm import RuleBody, Severity
from twin.model import DEFAULT_NAMESPACE, Kind, TwinKey

EVERY: Final = "*"
"""As a namespace: every one that has no rule of that name itself."""
SERVICE: Final = "service"
_CONDITIONS: Final = ("breakerOpen", "noEndpoint", "deviceSilent", "podCrashLoop", "clockInDoubt")
"""What is there or not, and is compared with nothing."""
_LONGEST: Final = 63
_DIGEST_CHARS: Final = 8


class Metric(StrEnum):
    """What a rule looks at."""

    PROPERTY = "property"
    DEVICE_SILENT = "deviceSilent"
    POD_CRASH_LOOP = "podCrashLoop"
    CLOCK_IN_DOUBT = "clockInDoubt"
    UNSENT_LEAVES = "unsentLeaves"
    OFFLINE_SECONDS = "offlineSeconds"
    DISK_FREE_PERCENT = "diskFreePercent"
    CERTIFICATE_DAYS = "certificateDays"
    DROPS = "drops"
    MESH = "mesh"
    """Judged by the mesh's own process, as its part of the rule says."""


class Operator(StrEnum):
    """How a value is compared with the threshold."""

    OVER = ">"
    AT_LEAST = ">="
    UNDER = "<"
    AT_MOST = "<="
    EQUAL = "=="
    OTHER = "!="


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What an alarm is about: a twin, or a service."""

    kind: str
    namespace: str
    name: str
    key: TwinKey | None = field(init=False, compare=False)
    """Its twin; a service has none of its own."""

    def __post_init__(self) -> None:
        """Make the key once: it is looked up every second."""
        key = TwinKey(Kind(self.kind), self.namespace, self.name) if self.kind != SERVICE else None
        object.__setattr__(self, "key", key)

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Subjects by namespace, name and labels; empty: any."""

    kind: str
    namespace: str = EVERY
    name: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def fits(self, subject: Subject, labels: Mapping[str, str]) -> bool:
        """Whether it is one of them."""
        return (
            subject.kind == self.kind
            and self.namespace in (EVERY, subject.namespace)
            and self.name in ("", subject.name)
            and all(labels.get(name) == value for name, value in self.labels)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; ``namespace`` and ``name`` are those of its document."""

    name: str
    selector: Selector
    metric: Metric
    namespace: str = DEFAULT_NAMESPACE
    property: str = ""
    operator: Operator = Operator.OVER
    threshold: bool | float | str = 0.0
    hysteresis: float = 0.0
    """By how much a number must have come back before an alarm is over."""
    after_s: float = 0.0
    """How long a device may say nothing before it is silent; 0: for ever, as long as a value of it is good."""
    for_s: float = 0.0
    keep_s: float = 0.0
    """How long the condition must be over before the alarm is."""
    severity: Severity = Severity.WARNING
    summary: str = ""
    enabled: bool = True
    grace_s: float = 0.0
    """Of a rule of the mesh: how long its process must have run before its silence means that all is well."""
    own: bool = False
    """Whether every gateway has it without a document."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def body(self) -> RuleBody:
        """How people are told of it."""
        of = self.selector
        labels = "".join(f" {name}={value}" for name, value in of.labels)
        return RuleBody(
            rule=str(self),
            about=f"{of.kind}/{of.namespace}/{of.name or EVERY}{labels}",
            when=self._when(),
            for_s=self.for_s + self.grace_s,
            keep_s=self.keep_s,
            severity=self.severity,
            enabled=self.enabled,
            own=self.own,
        )

    def _when(self) -> str:
        looked = self.property or self.metric.value
        if looked in _CONDITIONS:
            return looked + (f" after {self.after_s:g} s" if self.after_s else "")
        threshold = str(self.threshold).lower() if isinstance(self.threshold, bool) else f"{self.threshold}"
        shown = threshold.removesuffix(".0")
        return f"{looked} {self.operator} {shown}" + (f", back by {self.hysteresis:g}" if self.hysteresis else "")


def alarm_key(rule: Rule, subject: Subject, gateway: str) -> TwinKey:
    """The twin of a rule's alarm about a subject; a name that is too long is cut, with a digest of the whole.

    Each gateway has its own twin, for each sees for itself, and what an alarm is about may move to another one.
    """
    about = subject.name if subject.kind == Kind.GATEWAY else f"{subject.name}.{gateway}"
    whole = f"{rule.name}.{about}"
    if len(whole) > _LONGEST or "." in rule.name:  # with a dot in it, two rules could come to one name
        digest = hashlib.sha256(f"{rule.name} {about}".encode()).hexdigest()[:_DIGEST_CHARS]
        whole = f"{whole[: _LONGEST - _DIGEST_CHARS - 1].rstrip('.-')}-{digest}"
    return TwinKey(Kind.ALARM, subject.namespace, whole)
