"""From raw values to reported ones and back: linear scale, type of the property, limits of the model. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from mappers.sdk.driver import Readings
from twin.model import Quality, Reason, Value, ValueType
from twin.validate import Rule
from twin.wire.messages import Mark

_NUMERIC: Final = frozenset({ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE})
_NEAR: Final = 1e-9  # a result this near to a whole number is that number


@cache
def mark(quality: Quality, reason: Reason) -> Mark:
    """Mark of this quality and reason."""
    return Mark(quality=quality, reason=reason)


def bad(reason: Reason) -> Mark:
    """Mark of quality bad with this reason."""
    return mark(Quality.BAD, reason)


@dataclass(slots=True)
class Sample:
    """One cycle in units of the model: values that fit their property, marks for points that are not good."""

    values: dict[str, Value] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    times_ms: dict[str, int] = field(default_factory=dict)
    """Source times of those readings that have one."""


class Scaling:
    """reported = raw * scale + offset for numbers; other types pass unchanged.

    A scale that is one part of a whole (0.1, 0.25) divides instead, so that 3 at 0.1 is 0.3 and not
    0.30000000000000004. An INT result is rounded to the nearest whole number, ties to even.
    """

    __slots__ = ("divisor", "factor", "identity", "offset", "step", "whole")

    def __init__(self, value_type: ValueType, scale: float = 1.0, offset: float = 0.0) -> None:
        inverse = 1.0 / scale
        divides = abs(scale) < 1.0 and abs(inverse - round(inverse)) <= _NEAR * abs(inverse)
        self.factor = 1.0 if divides else scale
        self.divisor = float(round(inverse)) if divides else 1.0
        self.offset = offset
        self.whole = value_type is ValueType.INT
        self.identity = value_type not in _NUMERIC or (scale == 1.0 and offset == 0.0)
        self.step = 0.0 if self.identity else abs(scale)

    def reported(self, raw: Value) -> Value:
        """Value in units of the model; what is not a number stays as it is and fails the check of its type."""
        if self.identity or isinstance(raw, bool) or not isinstance(raw, int | float):
            return raw
        value = raw * self.factor / self.divisor + self.offset
        return round(value) if self.whole and math.isfinite(value) else value

    def raw(self, value: Value) -> Value:
        """Value as the device keeps it: an int where the inverse is whole within 1e-9, else a float."""
        if self.identity or isinstance(value, bool) or not isinstance(value, int | float):
            return value
        raw = (value - self.offset) * self.divisor / self.factor
        nearest = round(raw)
        return nearest if abs(raw - nearest) <= _NEAR * max(1.0, abs(raw)) else raw


class Converter:
    """What one poll class needs to turn a read into a sample, compiled so that a plain value costs one comparison."""

    __slots__ = ("_plain", "_rules", "_scaled")

    def __init__(self, points: Mapping[str, tuple[Scaling, Rule]]) -> None:
        self._rules = {name: rule for name, (_, rule) in points.items()}
        self._plain = {name: (rule.types, rule.low, rule.high) for name, rule in self._rules.items() if rule.plain}
        self._scaled = [
            (name, scaling.factor, scaling.divisor, scaling.offset, scaling)
            for name, (scaling, _) in points.items()
            if not scaling.identity
        ]

    def sample(self, readings: Readings, *, whole: bool = True) -> Sample:
        """Convert and check one read, in which a point that is missing is a fault if it is ``whole``.

        The readings are left as they are.
        """
        values = self._converted(readings.values) if self._scaled else readings.values
        misfits = self._misfits(values)
        faults = readings.faults
        marks = {name: mark(fault.quality, fault.reason) for name, fault in faults.items()} if faults else {}
        if misfits:
            values = dict(values)
            for name in misfits:
                self._mend(name, values, marks)
        if whole and len(values) + len(marks) != len(self._rules):
            marks |= {name: bad(Reason.DEVICE_FAILURE) for name in self._rules.keys() - values.keys() - marks.keys()}
        return Sample(values, marks, readings.times_ms)

    def _converted(self, raws: Mapping[str, Value]) -> dict[str, Value]:
        values = dict(raws)
        for name, factor, divisor, offset, scaling in self._scaled:
            raw = values.get(name)
            if raw.__class__ is int and not scaling.whole:
                values[name] = raw * factor / divisor + offset
            elif raw is not None:
                values[name] = scaling.reported(raw)
        return values

    def _misfits(self, values: Mapping[str, Value]) -> list[str]:
        """Names whose value needs a closer look: of another type, over a limit, or of a type without a plain check."""
        plain, misfits = self._plain, []
        try:
            for name, value in values.items():
                types, low, high = plain[name]
                if value.__class__ not in types or not low <= value <= high:  # type: ignore[operator]  # a number
                    misfits.append(name)
        except KeyError:  # a point of another type, or one that was never planned
            return [name for name, value in values.items() if name not in plain or not self._is_plain(name, value)]
        return misfits

    def _is_plain(self, name: str, value: Value) -> bool:
        types, low, high = self._plain[name]
        return value.__class__ in types and low <= value <= high  # type: ignore[operator]  # a number

    def _mend(self, name: str, values: dict[str, Value], marks: dict[str, Mark]) -> None:
        rule = self._rules.get(name)
        value = values.pop(name)
        if rule is None:  # a driver that answers more than it was asked
            return
        value = _coerced(rule.spec.type, value)
        if type(value) not in rule.types or _unsendable(value):
            marks[name] = bad(Reason.DECODE_ERROR)
        elif rule.violation(value):
            marks[name] = bad(Reason.OUT_OF_RANGE)
        else:
            values[name] = value


def _coerced(value_type: ValueType, value: Value) -> Value:
    """A whole float for INT, and 0 or 1 for BOOLEAN, as drivers read them from registers of another type."""
    if value_type is ValueType.INT and isinstance(value, float) and math.isfinite(value):
        return round(value)
    if value_type is ValueType.BOOLEAN and isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    return value


def _unsendable(value: Value) -> bool:
    """Whether JSON has no form for it: a number that is not finite, or text with half a surrogate pair."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, str):
        return not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value)
    if isinstance(value, list):
        return any(_unsendable(one) for one in value)
    if isinstance(value, dict):
        return any(_unsendable(name) or _unsendable(one) for name, one in value.items())
    return False
