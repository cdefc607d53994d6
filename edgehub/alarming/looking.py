"""What rules look at: a value of a twin, the gateway itself, or what the mesh has judged."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from edgehub.alarming.judge import Heard, Verdict, condition, quiet, verdict
from edgehub.alarming.rule import Metric, Rule, Subject
from twin.document import DELETED, Slot
from twin.engine import TwinEngine
from twin.model import Quality, TwinKey
from twin.wire.mesh import Alert

_NOTHING: Final[Mapping[str, Slot]] = {}
CRASH_LOOP: Final = "CrashLoopBackOff"


@dataclass(frozen=True, slots=True)
class Facts:
    """What the gateway knows of itself; None where it does not know."""

    unsent_leaves: int | None = None
    offline_s: float | None = None
    disk_free_percent: float | None = None
    clock: str = ""
    """What is wrong with the clock; empty: nothing."""
    certificate_days: float | None = None
    drops: int | None = None
    """Readings that were dropped since the last look."""


class Judged(Protocol):
    """The mesh, which judges its own rules."""

    def judged(self, rule: str, service: str) -> Alert | None:
        """What it says of a rule that holds for a service."""
        ...

    def is_judging(self, for_s: float) -> bool:
        """Whether it would say so by now if a rule held for so long."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look has found."""

    verdict: Verdict
    value: bool | int | float | str | None
    text: str
    """Empty for a property; see ``worded``."""


class Looking:
    """Looks at one subject for one rule; cheap, for it is done every second."""

    def __init__(self, engine: TwinEngine, judged: Judged) -> None:
        self._engine = engine
        self._judged = judged
        self.facts = Facts()
        self._heard: dict[TwinKey, Heard] = {}
        """Of devices that a rule gives a time to."""

    def seen(self, rule: Rule, subject: Subject, now_s: float) -> Seen:
        """What a rule finds at a subject."""
        match rule.metric:
            case Metric.MESH:
                return self._service(rule, subject)
            case Metric.DEVICE_SILENT:
                seen = _device(self._reported(subject))
                return self._aged(rule, subject, seen, now_s) if rule.after_s else seen
            case Metric.POD_CRASH_LOOP:
                return _pod(self._reported(subject))
            case Metric.PROPERTY:
                return _property(rule, self._reported(subject).get(rule.property))
            case Metric.CLOCK_IN_DOUBT:
                clock = self.facts.clock
                return Seen(condition(bool(clock)), bool(clock), clock or "the clock fits")
            case metric:
                value, text = _gateway(metric, self.facts)
                return Seen(verdict(rule, value), value, text)

    def _service(self, rule: Rule, subject: Subject) -> Seen:
        alert = self._judged.judged(str(rule), f"{subject.namespace}/{subject.name}")
        if alert is not None:
            return Seen(Verdict.HOLDS, alert.value, alert.text)
        return Seen(Verdict.BACK if self._judged.is_judging(rule.grace_s) else Verdict.UNKNOWN, None, "")

    def _aged(self, rule: Rule, subject: Subject, seen: Seen, now_s: float) -> Seen:
        """What a rule finds that gives a device a time in which it has to be heard."""
        key = subject.key
        if key is None or key not in self._engine or seen.verdict is Verdict.HOLDS:
            return seen
        reports = self._engine.reports(key)
        heard = self._heard[key] = self._heard.get(key, Heard(reports, now_s)).hearing(reports, now_s)
        found = quiet(heard, rule.after_s, now_s)
        if found is Verdict.HOLDS:
            return Seen(found, True, f"no report of it for {rule.after_s:g} s")
        return Seen(found, False, "it reports")

    def forget(self, watched: Container[TwinKey]) -> None:
        """Forget devices that are looked at no more."""
        self._heard = {key: heard for key, heard in self._heard.items() if key in watched}

    def _reported(self, subject: Subject) -> Mapping[str, Slot]:
        key = subject.key
        return self._engine.reported(key) if key is not None and key in self._engine else _NOTHING


def _gateway(metric: Metric, facts: Facts) -> tuple[float | None, str]:
    match metric:
        case Metric.UNSENT_LEAVES:
            return facts.unsent_leaves, f"the cloud lacks {facts.unsent_leaves} leaves"
        case Metric.OFFLINE_SECONDS:
            return facts.offline_s, f"the cloud has not been reached for {facts.offline_s or 0:.0f} s"
        case Metric.DISK_FREE_PERCENT:
            return facts.disk_free_percent, f"{facts.disk_free_percent or 0:.1f} % of the disk is free"
        case Metric.CERTIFICATE_DAYS:
            return facts.certificate_days, f"the certificate ends in {facts.certificate_days or 0:.1f} days"
        case _:
            return facts.drops, f"{facts.drops} readings of the history were dropped"


def _device(reported: Mapping[str, Slot]) -> Seen:
    """Silent is a device of which no value is good; one that never said anything is not known to be."""
    last: Slot | None = None
    for slot in reported.values():
        if slot.value is DELETED:
            continue
        if slot.quality is Quality.GOOD:
            return Seen(Verdict.BACK, False, "it answers")
        last = slot
    if last is None:
        return Seen(Verdict.UNKNOWN, None, "")
    return Seen(Verdict.HOLDS, True, f"no value of it is good ({last.reason or last.quality})")


def _pod(reported: Mapping[str, Slot]) -> Seen:
    reason, restarts = reported.get("reason"), reported.get("restarts")
    if reason is None:
        return Seen(Verdict.UNKNOWN, None, "")
    loops = reason.value == CRASH_LOOP
    count = restarts.value if restarts is not None and isinstance(restarts.value, int) else 0
    return Seen(condition(loops), count, f"it crashes again and again, {count} restarts" if loops else "it runs")


def _property(rule: Rule, slot: Slot | None) -> Seen:
    if slot is None or slot.value is DELETED or slot.quality is Quality.BAD:
        return Seen(Verdict.UNKNOWN, None, "")
    value = slot.value
    if not isinstance(value, bool | int | float | str):
        return Seen(Verdict.UNKNOWN, None, "")
    return Seen(verdict(rule, value), value, "")


def worded(rule: Rule, seen: Seen) -> str:
    """What has been seen, for people; made only when somebody is to read it."""
    if rule.metric is not Metric.PROPERTY:
        return seen.text
    return f"{rule.property} is {_shown(seen.value)} ({rule.operator} {_shown(rule.threshold)} is an alarm)"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, int | float) else str(value)[:60]
