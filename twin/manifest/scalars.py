"""What a plain YAML scalar means: the core schema of YAML 1.2, in which yes, on, 012 and dates hold no surprise."""

from __future__ import annotations

import math
import re
from typing import Final

_CONSTANTS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT: Final = re.compile(r"[-+]?[0-9]+")
_OCTAL: Final = re.compile(r"0o[0-7]+")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class NotFinite(ValueError):
    """A number that JSON cannot carry: infinite, not a number, or beyond 1.8e308."""


def resolve(text: str) -> bool | int | float | str | None:
    """Read a plain scalar (YAML 1.2 section 10.3.2). Raises NotFinite."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _NOT_FINITE.fullmatch(text):
        raise NotFinite(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise NotFinite(text)
        return int(text) if _INT.fullmatch(text) else number
    for pattern, base in ((_OCTAL, 8), (_HEX, 16)):
        if pattern.fullmatch(text):
            return _bounded(int(text, base), text)
    return text


def _bounded(number: int, text: str) -> int:
    if number.bit_length() > 1023:  # no float of 64 bits reaches further
        raise NotFinite(text)
    return number
