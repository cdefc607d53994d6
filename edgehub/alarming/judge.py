"""Whether a value is an alarm, and how alarms come and go. Pure.

    quiet ──holds──> pending ──for so long──> firing ──back──> clearing ──for so long──> quiet
                        └──not any more──> quiet   ^──not back, or unknown──┘

What nobody knows is neither a reason to begin an alarm nor one to end it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from edgehub.alarming.rule import Operator, Rule


class Verdict(Enum):
    """What a value means for a rule."""

    HOLDS = "holds"
    BETWEEN = "between"
    """It holds no more, and has not come back as far as the hysteresis asks."""
    BACK = "back"
    UNKNOWN = "unknown"


class Stage(Enum):
    """Where one alarm stands."""

    QUIET = "quiet"
    PENDING = "pending"
    FIRING = "firing"
    CLEARING = "clearing"


@dataclass(frozen=True, slots=True)
class Now:
    """One moment: ``s`` of the monotonic clock, by which durations go, ``ms`` of the wall clock, for people."""

    s: float
    ms: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an alarm stands, since when, and the ``since`` that names its last firing, or the one to be."""

    stage: Stage = Stage.QUIET
    at_s: float = 0.0
    since_ms: int = 0

    @property
    def fires(self) -> bool:
        """Whether people are to be told that it is so."""
        return self.stage in (Stage.FIRING, Stage.CLEARING)


def step(was: Standing, verdict: Verdict, rule: Rule, now: Now) -> Standing:
    """Where the alarm stands after a look."""
    holds = verdict is Verdict.HOLDS
    match was.stage:
        case Stage.QUIET if holds:
            # Greater than the last one whatever the clock did, so that no acknowledgement fits another firing.
            pending = Standing(Stage.PENDING, now.s, max(now.ms, was.since_ms + 1))
            return step(pending, verdict, rule, now)
        case Stage.PENDING if not holds:
            return replace(was, stage=Stage.QUIET, at_s=now.s)
        case Stage.PENDING if now.s - was.at_s >= rule.for_s:
            return replace(was, stage=Stage.FIRING, at_s=now.s)
        case Stage.FIRING if verdict is Verdict.BACK:
            return step(replace(was, stage=Stage.CLEARING, at_s=now.s), verdict, rule, now)
        case Stage.CLEARING if verdict is not Verdict.BACK:
            return replace(was, stage=Stage.FIRING, at_s=now.s)
        case Stage.CLEARING if now.s - was.at_s >= rule.keep_s:
            return replace(was, stage=Stage.QUIET, at_s=now.s)
        case _:
            return was


def pending_again(since_ms: int, now: Now) -> Standing:
    """How an alarm stands after a restart that was pending before; time that a clock at 1970 hides is not counted."""
    return Standing(Stage.PENDING, now.s - max(0, now.ms - since_ms) / 1000, since_ms)


def verdict(rule: Rule, value: object) -> Verdict:
    """What a value means: a boolean of a condition, or what the rule compares; None: nobody knows."""
    if value is None:
        return Verdict.UNKNOWN
    if rule.operator in (Operator.EQUAL, Operator.OTHER):
        if not _comparable(rule.threshold, value):
            return Verdict.UNKNOWN
        holds = (value == rule.threshold) is (rule.operator is Operator.EQUAL)
        return Verdict.HOLDS if holds else Verdict.BACK
    if isinstance(value, bool) or not isinstance(value, int | float) or not isinstance(rule.threshold, int | float):
        return Verdict.UNKNOWN
    if _over(rule.operator, value, rule.threshold):
        return Verdict.HOLDS
    above = rule.operator in (Operator.OVER, Operator.AT_LEAST)
    edge = rule.threshold - rule.hysteresis if above else rule.threshold + rule.hysteresis
    back = value <= edge if above else value >= edge
    return Verdict.BACK if back else Verdict.BETWEEN


def condition(holds: bool | None) -> Verdict:
    """What a condition means that is there or not."""
    if holds is None:
        return Verdict.UNKNOWN
    return Verdict.HOLDS if holds else Verdict.BACK


@dataclass(frozen=True, slots=True)
class Heard:
    """How many reports of a device have come since the start, and when that number was first seen."""

    reports: int
    at_s: float

    def hearing(self, reports: int, now_s: float) -> Heard:
        """The same after a look that has found so many reports; fewer are those of a new twin."""
        return self if reports == self.reports else Heard(reports, now_s)


def quiet(heard: Heard, after_s: float, now_s: float) -> Verdict:
    """Whether a device has said nothing for so long; one not heard since the start may have spoken just before it."""
    if now_s - heard.at_s >= after_s:
        return Verdict.HOLDS
    return Verdict.BACK if heard.reports else Verdict.UNKNOWN


def _over(operator: Operator, value: float, threshold: float) -> bool:
    match operator:
        case Operator.OVER:
            return value > threshold
        case Operator.AT_LEAST:
            return value >= threshold
        case Operator.UNDER:
            return value < threshold
        case _:
            return value <= threshold


def _comparable(one: object, other: object) -> bool:
    """Whether both are booleans, numbers or strings: 1 and true are not the same, and 1 is not 'one'."""
    if isinstance(one, bool) or isinstance(other, bool):
        return isinstance(one, bool) and isinstance(other, bool)
    if isinstance(one, int | float):
        return isinstance(other, int | float)
    return isinstance(one, str) and isinstance(other, str)
