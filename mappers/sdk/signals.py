"""Plausible moving values for a property, from what its model says of it. Pure: same seed and time, same value."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from typing import Final

from twin.model import PropertySpec, Value, ValueType
from twin.validate import Rule

_USUAL: Final[dict[str, tuple[float, float]]] = {
    "°c": (15.0, 35.0),
    "°f": (60.0, 95.0),
    "k": (288.0, 308.0),
    "%": (20.0, 80.0),
    "bar": (1.0, 6.0),
    "mbar": (980.0, 1040.0),
    "hpa": (980.0, 1040.0),
    "kpa": (98.0, 104.0),
    "v": (220.0, 240.0),
    "a": (0.5, 12.0),
    "ma": (4.0, 20.0),
    "hz": (49.9, 50.1),
    "rpm": (900.0, 1500.0),
    "1/min": (900.0, 1500.0),
    "w": (100.0, 900.0),
    "kw": (1.0, 9.0),
    "ppm": (400.0, 1200.0),
    "lx": (50.0, 900.0),
    "ph": (6.5, 7.5),
    "m/s": (0.0, 12.0),
    "mm": (0.0, 300.0),
    "m": (0.5, 4.0),
}
"""Where values usually lie, by unit in lower case; without one it is 0 to 100."""

_WAVES: Final = ((0.6, 60.0, 180.0), (0.3, 15.0, 45.0), (0.1, 3.0, 9.0))
"""Share of the swing, shortest and longest period in seconds."""
_MARGIN: Final = 0.05  # of the range, that a value stays away from its limits
_STEPS: Final = 1000  # a range has about so many steps, as a sensor's resolution
_HOLD_S: Final = 20.0  # how long a text or a choice stays
_MOST_WHOLE: Final = 2.0**63


@dataclass(frozen=True, slots=True)
class Signal:
    """One property's simulated course."""

    spec: PropertySpec
    seed: int

    def at(self, time_s: float) -> Value:
        """The value at a time; it fits the property's type, limits and enum, if anything does."""
        spec = self.spec
        if spec.enum:
            return spec.enum[self._drawn(math.floor(time_s / _HOLD_S)) % len(spec.enum)]
        if spec.type is ValueType.BOOLEAN:
            return self._swing(time_s) > 0
        if spec.type in (ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE):
            low, high = usual_range(spec)
            margin = _MARGIN * (high - low)
            middle, half = (low + high) / 2, (high - low) / 2 - margin
            return self._fitting(middle + half * self._swing(time_s), (high - low) / _STEPS)
        drawn = self._drawn(math.floor(time_s / _HOLD_S))
        if spec.type is ValueType.BYTES:
            return base64.b64encode(drawn.to_bytes(4, "big")).decode()
        if spec.type is ValueType.JSON:
            return {"simulated": True, "value": round(50 + 40 * self._swing(time_s), 1)}
        return f"simulated {drawn % 1000}"

    def near(self, value: Value, time_s: float) -> Value:
        """The value a while after it was written: a number wanders within half its tolerance, others stay."""
        spec = self.spec
        if spec.tolerance <= 0 or isinstance(value, bool) or not isinstance(value, int | float) or spec.enum:
            return value
        wandered = self._fitting(value + spec.tolerance / 2 * self._swing(time_s), spec.tolerance / 20)
        assert isinstance(wandered, int | float)
        return wandered if abs(wandered - value) <= spec.tolerance else value

    def _fitting(self, value: float, step: float) -> Value:
        rule = Rule(self.spec)
        if self.spec.type is ValueType.INT:
            return int(min(max(round(value), math.ceil(rule.low)), math.floor(rule.high)))
        digits = max(0, -math.floor(math.log10(step))) if step > 0 else 3
        return float(min(max(round(value, min(digits, 12)), rule.low), rule.high))

    def _swing(self, time_s: float) -> float:
        """A smooth course between -1 and 1."""
        total = 0.0
        for number, (share, shortest_s, longest_s) in enumerate(_WAVES):
            part = self._drawn(-1 - number) / 2**32
            period_s = shortest_s + part * (longest_s - shortest_s)
            total += share * math.sin(2 * math.pi * (time_s / period_s + part))
        return total

    def _drawn(self, number: int) -> int:
        """A number of 32 bits that looks random."""
        return zlib.crc32(f"{self.seed}:{number}".encode())


def seed_of(*words: str) -> int:
    """A seed from names; the same in every process."""
    return zlib.crc32("\n".join(words).encode())


def usual_range(spec: PropertySpec) -> tuple[float, float]:
    """Between which values a number moves: its limits; where one is missing, what is usual for its unit."""
    low, high = _USUAL.get(spec.unit.strip().lower(), (0.0, 100.0))
    span = high - low
    if spec.minimum is not None and spec.maximum is not None:
        low, high = spec.minimum, spec.maximum
    elif spec.minimum is not None:
        low, high = (max(low, spec.minimum), high) if spec.minimum < high else (spec.minimum, spec.minimum + span)
    elif spec.maximum is not None:
        low, high = (low, min(high, spec.maximum)) if spec.maximum > low else (spec.maximum - span, spec.maximum)
    if spec.type is ValueType.INT:
        low, high = max(low, -_MOST_WHOLE), min(high, _MOST_WHOLE)
    return low, high
