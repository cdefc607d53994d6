"""Alarm rules over what the mesh has seen: when one begins to hold, and when it is over. Pure; its owner publishes.

    quiet ──holds──> pending ──for so long──> firing ──by a margin not any more──> clearing ──for so long──> quiet
                        └──not any more──> quiet          ^────────holds────────────┘

What is counted is judged by the last ``WINDOW_S``; how endpoints and breakers stand, as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from mesh.breaker import BreakerState
from mesh.model.alarms import AlarmMetric, AlarmRule, Operator
from mesh.model.services import ServiceKey
from mesh.snapshot import Own, PlaceState, ShareCounts, Snapshot, UpstreamView
from mesh.tally import Counts, total

WINDOW_S: Final = 10.0
MARGIN: Final = 0.1
"""Share of the threshold by which a value must have come back before an alarm is over."""
CALM_S: Final = 5.0
"""How long it must have been back, or as long as ``for`` if that is more."""

FAILURES: Final = frozenset(
    {Own.BREAKER_OPEN, Own.NO_ENDPOINT, Own.OVER_CONNECTIONS, Own.OVER_REQUESTS, Own.TIMEOUT, Own.UNREACHED}
)
"""Answers of the mesh's own that a client takes for a fault of the service."""
_BAD_PLACES: Final = frozenset({PlaceState.EJECTED, PlaceState.PROBE_FAILED})
_STANDING: Final = frozenset({AlarmMetric.BREAKER_OPEN, AlarmMetric.NO_ENDPOINT, AlarmMetric.EJECTED})


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that begins to hold for a service, or holds no more. ``since_s`` by the monotonic clock."""

    rule: AlarmRule
    about: ServiceKey
    firing: bool
    since_s: float
    value: float
    text: str


class _Stage(Enum):
    QUIET = 0
    PENDING = 1
    FIRING = 2
    CLEARING = 3


@dataclass(slots=True)
class _Watch:
    rule: AlarmRule
    stage: _Stage = _Stage.QUIET
    since_s: float = 0.0
    """Of the stage."""
    fired_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Seen:
    """All that clients of one service have had."""

    at_s: float
    counts: Counts
    refused: int
    failed: int


class Alerts:
    """The alarm rules, and how each stands for each of its services."""

    def __init__(self) -> None:
        self._rules: dict[str, AlarmRule] = {}
        self._watches: dict[tuple[str, ServiceKey], _Watch] = {}
        self._seen: dict[ServiceKey, deque[_Seen]] = {}

    def follow(self, rules: Iterable[AlarmRule]) -> None:
        """Take other rules. One that is the same is followed on; what is no more watched is over at the next look."""
        self._rules = {rule.key: rule for rule in rules}

    def look(self, snapshot: Snapshot, now_s: float) -> list[Alert]:
        """What has begun and what is over, by everything that was seen until now."""
        events = self._dropped(now_s)
        wanted = {service for rule in self._rules.values() for service in rule.services}
        self._remember(snapshot.shares, wanted, now_s)
        views: dict[ServiceKey, list[UpstreamView]] = {}
        for view in snapshot.upstreams:
            views.setdefault(view.port.service, []).append(view)
        for rule in self._rules.values():
            for service in rule.services:
                value = self._value(rule.metric, service, views.get(service, []))
                event = self._step(rule, service, value, now_s)
                if event is not None:
                    events.append(event)
        return events

    def firing(self) -> list[tuple[AlarmRule, ServiceKey]]:
        """What holds right now."""
        return [
            (watch.rule, service)
            for (_, service), watch in self._watches.items()
            if watch.stage in (_Stage.FIRING, _Stage.CLEARING)
        ]

    # -- values --------------------------------------------------------------------------------------------------------

    def _remember(self, shares: Iterable[ShareCounts], wanted: set[ServiceKey], now_s: float) -> None:
        now: dict[ServiceKey, _Seen] = {}
        for share in shares:
            # Who calls one service by another's route has to do with both.
            ends = {share.key.frontend.service, *([share.key.backend.service] if share.key.backend else [])} & wanted
            if not ends:
                continue
            counts = total(one for _, one in share.places)
            own = dict(share.own)
            refused, failed = sum(own.values()), sum(number for why, number in own.items() if why in FAILURES)
            for service in ends:
                before = now.get(service) or _Seen(now_s, Counts(), 0, 0)
                now[service] = _Seen(
                    now_s, before.counts.plus(counts), before.refused + refused, before.failed + failed
                )
        for service in self._seen.keys() - wanted:
            del self._seen[service]
        for service, seen in now.items():
            history = self._seen.setdefault(service, deque())
            if history and seen.counts.requests < history[-1].counts.requests:
                history.clear()  # the counters began anew
            history.append(seen)
            # One that is as old as the window, or older, is what the newest is compared with.
            while len(history) > 2 and history[1].at_s <= now_s - WINDOW_S:
                history.popleft()

    def _value(self, metric: AlarmMetric, service: ServiceKey, views: list[UpstreamView]) -> float | None:
        """What a rule compares; None: there is nothing to compare."""
        if metric in _STANDING:
            return _standing(metric, views) if views else None
        history = self._seen.get(service)
        if not history or len(history) < 2:
            return None
        first, last = history[0], history[-1]
        counts = last.counts.minus(first.counts)
        answers = counts.requests + last.refused - first.refused
        if metric is AlarmMetric.REQUESTS_PER_SECOND:
            return answers / max(last.at_s - first.at_s, 1e-9)
        if metric is AlarmMetric.P99_MS:
            return counts.quantile_s(0.99) * 1000 if counts.requests else None
        return (counts.by_class[5] + last.failed - first.failed) * 100 / answers if answers else None

    # -- stages --------------------------------------------------------------------------------------------------------

    def _step(self, rule: AlarmRule, service: ServiceKey, value: float | None, now_s: float) -> Alert | None:
        watch = self._watches.setdefault((rule.key, service), _Watch(rule))
        watch.rule = rule
        holds = value is not None and _holds(rule, value)
        firing = watch.stage in (_Stage.FIRING, _Stage.CLEARING)
        if not firing:
            if not holds:
                watch.stage = _Stage.QUIET
                return None
            if watch.stage is _Stage.QUIET:
                watch.stage, watch.since_s = _Stage.PENDING, now_s
            if now_s - watch.since_s < rule.for_ms / 1000:
                return None
            watch.stage, watch.fired_s = _Stage.FIRING, watch.since_s
            return Alert(rule, service, True, watch.fired_s, value or 0.0, _text(rule, service, value))
        if value is not None and not _back(rule, value):
            watch.stage = _Stage.FIRING
            return None
        if watch.stage is _Stage.FIRING:
            watch.stage, watch.since_s = _Stage.CLEARING, now_s
        if now_s - watch.since_s < max(rule.for_ms / 1000, CALM_S):
            return None
        watch.stage = _Stage.QUIET
        return Alert(rule, service, False, now_s, value or 0.0, _text(rule, service, value))

    def _dropped(self, now_s: float) -> list[Alert]:
        followed = {(rule.key, service) for rule in self._rules.values() for service in rule.services}
        events = []
        for key, watch in list(self._watches.items()):
            if key in followed:
                continue
            del self._watches[key]
            if watch.stage in (_Stage.FIRING, _Stage.CLEARING):
                events.append(Alert(watch.rule, key[1], False, now_s, 0.0, f"{key[1]} is not watched any more"))
        return events


def _standing(metric: AlarmMetric, views: Iterable[UpstreamView]) -> float:
    if metric is AlarmMetric.BREAKER_OPEN:
        return float(any(view.breaker is not BreakerState.CLOSED for view in views))
    if metric is AlarmMetric.NO_ENDPOINT:
        return float(any(not view.usable for view in views))
    return float(sum(place.state in _BAD_PLACES for view in views for place in view.places))


def _holds(rule: AlarmRule, value: float) -> bool:
    match rule.operator:
        case Operator.OVER:
            return value > rule.threshold
        case Operator.AT_LEAST:
            return value >= rule.threshold
        case Operator.UNDER:
            return value < rule.threshold
        case Operator.AT_MOST:
            return value <= rule.threshold


def _back(rule: AlarmRule, value: float) -> bool:
    """Whether a value has come back far enough."""
    if _holds(rule, value):
        return False
    if rule.metric in _STANDING:
        return True
    margin = abs(rule.threshold) * MARGIN
    if rule.operator in (Operator.OVER, Operator.AT_LEAST):
        return value <= rule.threshold - margin
    return value >= rule.threshold + margin


_WORDS: Final[Mapping[AlarmMetric, tuple[str, str]]] = {
    AlarmMetric.BREAKER_OPEN: ("its breaker is open", "its breaker is closed"),
    AlarmMetric.NO_ENDPOINT: ("no endpoint of it is well", "it has endpoints that are well"),
}


def _text(rule: AlarmRule, service: ServiceKey, value: float | None) -> str:
    if rule.summary:
        return rule.summary
    words = _WORDS.get(rule.metric)
    if words is not None:
        return f"{service}: {words[0 if value else 1]}"
    return f"{service}: {rule.metric} is {value or 0.0:.6g} ({rule.operator} {rule.threshold:g} is an alarm)"
