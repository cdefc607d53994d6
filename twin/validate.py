"""Whether a value fits its property: type, limits and enum of the device model."""

from __future__ import annotations

import base64
import binascii
import json
import math
import sys
from typing import Final

from twin.deadband import absolute, equal
from twin.errors import InvalidValue, Refused, UnknownProperty, shown
from twin.model import PropertySpec, TwinKey, Value, ValueType

# Bounds that no finite number exceeds, so one comparison also refuses inf and NaN.
_MAX_FLOAT: Final = sys.float_info.max
_MIN_INT64: Final = -(2**63)
_MAX_INT64: Final = 2**63 - 1
_MAX_INT_BITS: Final = 14_000  # 4200 digits; Python prints and parses at most 4300
_TYPES: Final[dict[ValueType, frozenset[type]]] = {
    ValueType.INT: frozenset({int}),
    ValueType.FLOAT: frozenset({int, float}),
    ValueType.DOUBLE: frozenset({int, float}),
    ValueType.BOOLEAN: frozenset({bool}),
    ValueType.STRING: frozenset({str}),
    ValueType.BYTES: frozenset({str}),
    ValueType.STREAM: frozenset({str}),
    ValueType.JSON: frozenset({type(None), bool, int, float, str, list, dict}),
}
_WANTED: Final = {
    ValueType.INT: "a whole number, such as 42",
    ValueType.FLOAT: "a number, such as 41.5",
    ValueType.DOUBLE: "a number, such as 41.5",
    ValueType.BOOLEAN: "true or false",
    ValueType.STRING: 'a string, such as "on"',
    ValueType.BYTES: 'base64 text, such as "AAEC"',
    ValueType.STREAM: "a string",
    ValueType.JSON: "a JSON value",
}
_NUMERIC: Final = frozenset({ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE})


class Rule:
    """A property's spec made ready for many checks.

    ``types``, ``low`` and ``high`` are public so that a hot loop may test a plain number or boolean without a call;
    that is allowed when ``plain`` is true. ``deadband`` is in the property's unit.
    """

    __slots__ = ("deadband", "high", "low", "plain", "spec", "types")

    def __init__(self, spec: PropertySpec) -> None:
        self.spec = spec
        self.types = _TYPES[spec.type]
        self.deadband = absolute(spec)
        whole = spec.type is ValueType.INT
        lowest, highest = (_MIN_INT64, _MAX_INT64) if whole else (-_MAX_FLOAT, _MAX_FLOAT)
        self.low: float = lowest if spec.minimum is None else max(spec.minimum, lowest)
        self.high: float = highest if spec.maximum is None else min(spec.maximum, highest)
        self.plain = (spec.type in _NUMERIC or spec.type is ValueType.BOOLEAN) and not spec.enum

    def violation(self, value: Value) -> str:
        """Name the rule that the value breaks, with what would fit; empty if it fits."""
        spec = self.spec
        if type(value) not in self.types:
            return f"{_short(value)} is not {_WANTED[spec.type]} (type {spec.type})"
        if spec.type in _NUMERIC:
            assert isinstance(value, int | float)
            if not math.isfinite(value) if isinstance(value, float) else abs(value) > _MAX_FLOAT:
                return f"{_short(value)} is not a finite number (type {spec.type})"
            if spec.type is ValueType.INT and not _MIN_INT64 <= value <= _MAX_INT64:
                return f"{_short(value)} is outside 64 bits (type {spec.type})"
            if not self.low <= value <= self.high:
                return f"{_short(value)} is outside {self._range()}"
        if spec.type is ValueType.BYTES and not _is_base64(value):
            return f"{_short(value)} is not {_WANTED[spec.type]} (type {spec.type})"
        if (spec.type is ValueType.JSON or isinstance(value, str)) and (flaw := _flaw(value)):
            return f"it holds {flaw}"
        if spec.enum and not any(equal(value, one) for one in spec.enum):
            return f"{_short(value)} is not one of {', '.join(_short(one) for one in spec.enum)}"
        return ""

    def _range(self) -> str:
        unit = f" {self.spec.unit}" if self.spec.unit else ""
        if self.spec.minimum is None:
            return f"the limit: at most {self.high:g}{unit}"
        if self.spec.maximum is None:
            return f"the limit: at least {self.low:g}{unit}"
        return f"the limits {self.low:g} to {self.high:g}{unit}"


def violation(spec: PropertySpec, value: Value) -> str:
    """Name the rule that the value breaks, with what would fit; empty if it fits."""
    return Rule(spec).violation(value)


def _short(value: Value) -> str:
    try:
        return shown(json.dumps(value, ensure_ascii=False), 60).strip("'")
    except ValueError:  # an int of more digits than Python prints
        return "a number of thousands of digits"


def _is_base64(value: Value) -> bool:
    try:
        base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _flaw(value: Value) -> str:
    """What keeps a JSON value from being written as UTF-8 and read back; empty if nothing does."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "a number that is not finite"
    if isinstance(value, int):
        return "" if value.bit_length() <= _MAX_INT_BITS else "a number of thousands of digits"
    if isinstance(value, str):
        return "" if _is_text(value) else "half a surrogate pair, which is not text"
    if isinstance(value, list):
        return next(filter(None, map(_flaw, value)), "")
    if isinstance(value, dict):
        return next(filter(None, map(_flaw, [*value, *value.values()])), "")
    return ""


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def refusal(key: TwinKey, broken: list[str]) -> Refused:
    """The error that names every property of a twin that is wrong."""
    text = f"{key}: " + "; ".join(broken)
    if any("no such property" in one for one in broken):
        return UnknownProperty(text, remedy="`edgetwin get` shows the twin's properties.")
    return InvalidValue(text, remedy="The device model says what fits; nothing of it was stored.")
