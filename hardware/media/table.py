"""Where the partitions of a disk image lie: a GPT, or the MBR that Raspberry Pi OS has. Pure but for the reading.

MBR  bytes 446..509: four entries of 16: status, CHS, type, CHS, first sector, sectors; then 55 AA
GPT  sector 1: "EFI PART", at 72 the first sector of the entries, at 80 their number, at 84 the size of each
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hardware.errors import InvalidImage

SECTOR_BYTES: Final = 512
_PROTECTIVE: Final = 0xEE
_EXTENDED: Final = (0x05, 0x0F, 0x85)
FAT_TYPES: Final = (0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E)
LINUX_TYPE: Final = 0x83
_MOST_ENTRIES: Final = 256

ReadAt = Callable[[int, int], bytes]
"""Offset and length in bytes; the answer is shorter at the end."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A partition: its number from 1 on, and where it lies, in bytes. ``mbr_type`` 0: it is of a GPT."""

    number: int
    offset: int
    length: int
    mbr_type: int = 0


def extents(read: ReadAt) -> tuple[Extent, ...]:
    """The partitions of a disk, by number. Raises InvalidImage if there is no table that can be read."""
    first = read(0, SECTOR_BYTES)
    if len(first) < SECTOR_BYTES or first[510:] != b"\x55\xaa":
        message = "the image has no partition table"
        raise InvalidImage(message, remedy="Name the image of a whole disk, unpacked.")
    entries = [struct.unpack_from("<B3xB3xII", first, 446 + 16 * number) for number in range(4)]
    if any(kind == _PROTECTIVE for _, kind, _, _ in entries):
        return _gpt(read)
    return tuple(
        Extent(number, start * SECTOR_BYTES, count * SECTOR_BYTES, kind)
        for number, (_, kind, start, count) in enumerate(entries, 1)
        if kind and count and kind not in _EXTENDED
    )


def _gpt(read: ReadAt) -> tuple[Extent, ...]:
    head = read(SECTOR_BYTES, SECTOR_BYTES)
    at, count, size = struct.unpack_from("<QII", head, 72)
    if head[:8] != b"EFI PART" or size < 128 or count > _MOST_ENTRIES:
        message = "the image's GPT cannot be read"
        raise InvalidImage(message, remedy="It was cut short; fetch or build it again.")
    listed = read(at * SECTOR_BYTES, count * size)
    found = []
    for number in range(len(listed) // size):
        kind, first, last = struct.unpack_from("<16s16xQQ", listed, number * size)
        if any(kind) and last >= first:
            found.append(Extent(number + 1, first * SECTOR_BYTES, (last - first + 1) * SECTOR_BYTES))
    return tuple(found)
