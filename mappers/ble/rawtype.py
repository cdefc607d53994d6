"""The types of raw values, by the names of the GATT specification."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

_DIGITS: Final = re.compile(r"\d+$")


class RawType(StrEnum):
    """Types of the GATT specification. ``auto`` follows from the property's type and the number of bytes."""

    AUTO = "auto"
    BOOLEAN = "boolean"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT24 = "uint24"
    UINT32 = "uint32"
    UINT40 = "uint40"
    UINT48 = "uint48"
    UINT56 = "uint56"
    UINT64 = "uint64"
    INT8 = "int8"
    INT16 = "int16"
    INT24 = "int24"
    INT32 = "int32"
    INT40 = "int40"
    INT48 = "int48"
    INT56 = "int56"
    INT64 = "int64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    MEDFLOAT16 = "medfloat16"
    MEDFLOAT32 = "medfloat32"
    UTF8 = "utf8"
    BYTES = "bytes"

    @property
    def size(self) -> int:
        """Bytes that it takes; 0 if any number."""
        return _SIZES[self]

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.startswith(("uint", "int"))


def _size(name: RawType) -> int:
    if name is RawType.BOOLEAN:
        return 1
    digits = None if name is RawType.UTF8 else _DIGITS.search(name)
    return int(digits[0]) // 8 if digits else 0


_SIZES: Final = {name: _size(name) for name in RawType}

OTHER_NAMES: Final = {
    "bool": "boolean",
    "sfloat": "medfloat16",
    "medfloat": "medfloat32",
    "utf8s": "utf8",
    "string": "utf8",
    **{f"sint{bits}": f"int{bits}" for bits in range(8, 65, 8)},
}
"""How the GATT specification and others call the same types."""
