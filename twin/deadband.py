"""The smallest change of a number worth reporting (OPC 10000-4 7.22.2: absolute, or percent of the range)."""

from __future__ import annotations

from typing import Final

from twin.model import PropertySpec, Value


def absolute(spec: PropertySpec) -> float:
    """The property's deadband in its own unit: the larger of the absolute one and the percentage of its range.

    A percentage without both limits has no range to refer to and counts as 0.
    """
    policy = spec.report
    if not policy.deadband_percent or spec.minimum is None or spec.maximum is None:
        return policy.deadband
    return max(policy.deadband, (spec.maximum - spec.minimum) * policy.deadband_percent / 100)


def same(last: Value, value: Value, deadband: float) -> bool:
    """Whether the value is no change worth reporting; anything but two numbers is compared whole."""
    if deadband and type(last) in _NUMBERS and type(value) in _NUMBERS:
        assert isinstance(last, int | float)
        assert isinstance(value, int | float)
        try:
            return abs(value - last) <= deadband
        except OverflowError:  # a float, and an int beyond all floats
            return False
    return last == value and equal(last, value)  # most readings differ: saves them a call


def equal(a: Value, b: Value) -> bool:
    """Whether two JSON values are the same: 1 is 1.0, but at no depth is it true."""
    if a != b:
        return False
    if isinstance(a, list) and isinstance(b, list):
        return all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return all(equal(value, b[key]) for key, value in a.items())
    return (type(a) is bool) is (type(b) is bool)


_NUMBERS: Final = frozenset({int, float})
