"""A checksum for every row of a store, so that a byte that the disk has changed inside a value is noticed.

SQLite notices broken pages by itself, but not a flipped bit inside a row. A CRC finds every run of up to 32 changed
bits; it is no protection against a person, who can write it anew.
"""

from __future__ import annotations

import struct
from typing import Any, Final
from zlib import crc32

_FLOAT: Final = struct.Struct("<qbbdqqqbq").pack
_OTHER: Final = struct.Struct("<qbbqqqbq").pack


def leaf_sum(row: tuple[Any, ...]) -> int:
    """Checksum of one leaf as it is stored: twin, section, property, site, value, tick, seen, by, at, quality, reason,
    version. Made for every reading, hence its shape. Raises ValueError, TypeError or struct.error for what is no leaf.
    """
    twin, section, name, site, value, tick, seen, by, at, quality, reason, version = row
    if type(value) is float:
        numbers = _FLOAT(twin, section, site, value, tick, seen, at, quality, version)
    else:
        numbers = _OTHER(twin, section, site, tick, seen, at, quality, version) + repr(value).encode()
    return crc32(numbers + f"{name}\0{by}\0{reason}".encode())


def leaf_fits(row: tuple[Any, ...]) -> bool:
    """Whether a leaf, followed by its checksum, is what was written; one without is not."""
    try:
        return leaf_sum(row[:12]) == int(row[12])
    except (ValueError, TypeError, struct.error):
        return False


def row_sum(*columns: object) -> int:
    """Checksum of a row of any other table."""
    return crc32("\0".join(map(str, columns)).encode(errors="surrogateescape"))


def row_fits(*row: object) -> bool:
    """Whether a row, followed by its checksum, is what was written; one without is not."""
    *content, found = row
    return row_sum(*content) == found
