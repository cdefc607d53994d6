"""KubeEdge's value types: which text is a value of which. Pure."""

from __future__ import annotations

import re
from typing import Final


def kind_of(type_: str) -> str:
    """Which of int, float, boolean, string, deleted a type name means outside strict mode; empty if none."""
    return _KINDS.get(type_.lower(), "")


def flaw_of(type_: str, value: str, *, strict: bool) -> str:
    """What KubeEdge says of a value that is none of its type; empty if it is one."""
    kind = _STRICT_KINDS.get(type_, "") if strict else kind_of(type_)
    if kind in ("string", "deleted"):
        return ""
    if kind == "int":
        whole = len(value) <= 512 and _INT.fullmatch(value) and -(2**63) <= int(value) < 2**63
        return "" if whole else "the value is not int or integer"
    if kind == "float":
        return "" if is_float(value) else "the value is not float"
    if kind == "boolean":
        return "" if value in ("true", "false") else "the bool value must be true or false"
    return "the value type is not allowed"


def is_float(text: str) -> bool:
    """Whether Go's ParseFloat reads it: hexadecimal too, but nothing beyond the range of a double."""
    if _PLAIN.fullmatch(text) is not None:
        return True
    if len(text) > 512 or _FLOAT.fullmatch(text) is None:
        return False
    return "n" in text.lower() or "x" in text.lower() or abs(float(text)) != float("inf")


_PLAIN: Final = re.compile(r"-?[0-9]{1,300}(\.[0-9]{1,200})?")
"""Most numbers, which a double can hold whatever their digits; the rest takes five times as long to match."""
_INT: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(
    r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|0x([0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?[0-9]+|inf(inity)?|nan)",
    re.IGNORECASE,
)
_STRICT_KINDS: Final = {
    **{name: name for name in ("string", "int", "float", "boolean", "deleted")},
    **{"": "string", "integer": "int"},
}
_KINDS: Final = {**_STRICT_KINDS, "double": "float", "bool": "boolean", "bytes": "string", "stream": "string"}
