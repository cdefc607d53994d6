"""The number formats of Bluetooth that Python has none for: IEEE 11073 floats, and integers of any width. Pure.

medfloat16 (SFLOAT)   | exponent 4 bits | mantissa 12 bits |    value = mantissa * 10 ** exponent,
medfloat32 (FLOAT)    | exponent 8 bits | mantissa 24 bits |    both in two's complement

Some mantissas around the largest are no numbers; they mean so only with exponent 0.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Final

_SPECIAL: Final = {-2: "infinite", -1: "not a number", 0: "not at this resolution", 1: "reserved", 2: "infinite"}
"""Mantissas around the largest, by their distance from 2 ** (bits - 1): IEEE 11073-20601, 6.2."""
_EXPONENT_BITS: Final = {16: 4, 32: 8}


class NoValue(Exception):
    """The device sends a code that says that it has no value."""


def signed(raw: int, bits: int) -> int:
    """Two's complement of so many bits."""
    return raw - (1 << bits) if raw >> (bits - 1) else raw


def medfloat(raw: int, bits: int) -> float:
    """IEEE 11073 float of 16 or 32 bits. Raises NoValue for NaN, NRes, infinities and the reserved code."""
    mantissa_bits = bits - _EXPONENT_BITS[bits]
    mantissa = raw & ((1 << mantissa_bits) - 1)
    exponent = signed(raw >> mantissa_bits, _EXPONENT_BITS[bits])
    special = _SPECIAL.get(mantissa - (1 << (mantissa_bits - 1)))
    if special and not exponent:
        message = f"the device says that its value is {special}"
        raise NoValue(message)
    return float(f"{signed(mantissa, mantissa_bits)}e{exponent}")


def medfloat_raw(value: float, bits: int) -> int:
    """Nearest IEEE 11073 float, with as few digits as say it. Raises ValueError if it has none."""
    exponent_bits = _EXPONENT_BITS[bits]
    mantissa_bits = bits - exponent_bits
    if not math.isfinite(value):
        message = f"{value} has no medfloat{bits}"
        raise ValueError(message)
    sign, digits, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    assert isinstance(exponent, int)
    mantissa = int("".join(map(str, digits))) * (-1 if sign else 1)
    lowest, most = -(1 << (exponent_bits - 1)), (1 << (mantissa_bits - 1)) - 3  # the three above are special
    while exponent >= -lowest and abs(mantissa) * 10 <= most:
        mantissa, exponent = mantissa * 10, exponent - 1
    shift = max(lowest - exponent, 0)
    while abs(_rounded(mantissa, shift)) > most:
        shift += 1
    mantissa, exponent = _rounded(mantissa, shift), exponent + shift
    if not mantissa:
        exponent = 0
    if exponent >= -lowest:
        message = f"{value:g} is beyond a medfloat{bits}"
        raise ValueError(message)
    return (exponent & ((1 << exponent_bits) - 1)) << mantissa_bits | mantissa & ((1 << mantissa_bits) - 1)


def _rounded(mantissa: int, digits: int) -> int:
    """Drop so many decimal digits; half goes away from zero."""
    unit: int = 10 ** min(digits, 400)
    return (abs(mantissa) + unit // 2) // unit * (-1 if mantissa < 0 else 1)
