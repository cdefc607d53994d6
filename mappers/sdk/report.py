"""What of a cycle is worth sending: on change, deadband, intervals; a change of quality always. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Final

from twin.model import PropertySpec, ReportPolicy, Value
from twin.wire.messages import Mark

_PLAIN: Final = ReportPolicy()
_NO_POLICY: Final = (_PLAIN, 0.0)


@dataclass(slots=True)
class Changes:
    """A part of a twin's reported half that is to be sent; falsy when there is nothing."""

    values: dict[str, Value] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    times_ms: dict[str, int] = field(default_factory=dict)
    """Source times of those readings that have one."""

    def __bool__(self) -> bool:
        return bool(self.values or self.marks)

    def __len__(self) -> int:
        return len(self.values) + len(self.marks)

    def names(self) -> set[str]:
        """All properties in it."""
        return self.values.keys() | self.marks.keys()

    def halves(self) -> tuple[Changes, Changes]:
        """Two parts of nearly the same size; a property's value and mark stay together."""
        names = sorted(self.names())
        first = set(names[: len(names) // 2])
        return self._part(first), self._part(set(names) - first)

    def _part(self, names: set[str]) -> Changes:
        return Changes(
            {name: value for name, value in self.values.items() if name in names},
            {name: mark for name, mark in self.marks.items() if name in names},
            {name: time_ms for name, time_ms in self.times_ms.items() if name in names},
        )


class Reporter:
    """Compares each cycle of one device with what was sent before, under each property's policy."""

    def __init__(self, specs: Iterable[PropertySpec]) -> None:
        self._policies = {spec.name: (spec.report, _threshold(spec)) for spec in specs if spec.report != _PLAIN}
        self._sent: dict[str, Value] = {}
        timed = (
            name for name, (policy, _) in self._policies.items() if policy.min_interval_ms or policy.max_interval_ms
        )
        self._timed = frozenset(timed)
        self._sent_at: dict[str, float] = {}  # only of properties that have an interval
        self._marks: dict[str, Mark] = {}
        self._held: dict[str, Value] = {}
        self._times_ms: dict[str, int] = {}  # source times of what was sent
        self._held_times_ms: dict[str, int] = {}

    def changes(
        self,
        values: Mapping[str, Value],
        marks: Mapping[str, Mark],
        now_s: float,
        times_ms: Mapping[str, int] = MappingProxyType({}),
    ) -> Changes:
        """Take in one cycle and say what of it is to be sent now.

        A property in ``values`` without a mark is good. One in neither was not read, and stays as it is.
        """
        sent = self._sent
        if self._policies:
            changed = {name: value for name, value in values.items() if self._worth(name, value, now_s)}
        else:
            changed = {name: value for name, value in values.items() if name not in sent or sent[name] != value}
        if self._marks:
            for name in [name for name in self._marks if name in values and name not in marks]:
                del self._marks[name]
                changed[name] = values[name]
        changed_marks = {name: mark for name, mark in marks.items() if name in changed or self._marks.get(name) != mark}
        if changed_marks:
            self._marks |= changed_marks
            self._held = {name: value for name, value in self._held.items() if name not in changed_marks}
            changed |= {name: values[name] for name in changed_marks if name in values}
        self._note(changed, now_s)
        if not times_ms and not self._times_ms:
            return Changes(changed, changed_marks)
        if self._held:
            self._held_times_ms |= {name: time_ms for name, time_ms in times_ms.items() if name in self._held}
        sent_ms = {name: times_ms[name] for name in changed if name in times_ms}
        if len(sent_ms) < len(changed):
            for name in changed.keys() - sent_ms.keys():
                self._times_ms.pop(name, None)
        self._times_ms.update(sent_ms)
        sent_ms |= {name: times_ms[name] for name in changed_marks if name in times_ms}
        return Changes(changed, changed_marks, sent_ms)

    def released(self, now_s: float) -> Changes:
        """Changes that a min interval held back and that may go now, with their newest value."""
        due = {name: value for name, value in self._held.items() if self._free_at(name) <= now_s}
        self._note(due, now_s)
        times_ms = {name: self._held_times_ms.pop(name) for name in due if name in self._held_times_ms}
        self._times_ms |= times_ms
        return Changes(due, times_ms=times_ms)

    def next_at(self) -> float:
        """When the next held change may go; infinite when none is held."""
        return min(map(self._free_at, self._held)) if self._held else inf

    def repeat(self, names: Iterable[str] | None = None) -> Changes:
        """What was last sent of these properties, or of all, to be sent again."""
        wanted = self._sent.keys() | self._marks.keys() if names is None else set(names)
        return Changes(
            {name: self._sent[name] for name in wanted if name in self._sent},
            {name: self._marks[name] for name in wanted if name in self._marks},
            {name: self._times_ms[name] for name in wanted if name in self._times_ms},
        )

    def _worth(self, name: str, value: Value, now_s: float) -> bool:
        policy, threshold = self._policies.get(name, _NO_POLICY)
        if policy.always or name not in self._sent:
            return True
        if _differs(value, self._sent[name], threshold):
            if self._free_at(name) > now_s:
                self._held[name] = value
                return False
            return True
        self._held.pop(name, None)  # it came back before its interval was over
        return 0 < policy.max_interval_ms <= (now_s - self._sent_at.get(name, now_s)) * 1000

    def _free_at(self, name: str) -> float:
        policy, _ = self._policies.get(name, _NO_POLICY)
        return self._sent_at.get(name, -inf) + policy.min_interval_ms / 1000

    def _note(self, values: Mapping[str, Value], now_s: float) -> None:
        self._sent.update(values)
        if self._timed:
            self._sent_at.update(dict.fromkeys(values.keys() & self._timed, now_s))
        if self._held:
            for name in [name for name in self._held if name in values]:
                del self._held[name]


def _threshold(spec: PropertySpec) -> float:
    """Deadband in units of the property; a percentage counts only where the model has both limits."""
    span = spec.maximum - spec.minimum if spec.maximum is not None and spec.minimum is not None else 0.0
    return max(spec.report.deadband, spec.report.deadband_percent / 100 * span)


def _differs(value: Value, last: Value, threshold: float) -> bool:
    if threshold and isinstance(value, int | float) and isinstance(last, int | float):
        return abs(value - last) > threshold
    return value != last
