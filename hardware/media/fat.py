"""Files in the root folder of a FAT16 or FAT32 partition, read and written without mounting it.

reserved sectors (BPB in the first) | FAT, twice | FAT16: root folder | clusters, from number 2 on

Nothing is written here: changed sectors are kept, and given out by ``changes``. Microsoft's fatgen103 is the format.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hardware.errors import InvalidImage
from hardware.media.table import ReadAt

_ENTRY_BYTES: Final = 32
_LONG: Final = 0x0F
_FREE: Final = 0xE5
_MOST_BYTES: Final = 16 * 2**20
"""Of a file that is read or written: these are files for people."""
_UNKNOWN: Final = 0xFFFFFFFF
"""In place of the number of free clusters."""
_NAME_FIELDS: Final = ((1, 10), (14, 12), (28, 4))
"""Where a slot of a long name keeps its 13 characters: offset and length in bytes."""


@dataclass(frozen=True, slots=True)
class Change:
    """Bytes that belong at an offset of the image."""

    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class _Shape:
    sector_bytes: int
    cluster_bytes: int
    fat_at: int
    fat_bytes: int
    fats: int
    root_at: int
    root_bytes: int
    """Of FAT16's root folder; 0: it is a chain of clusters, as any folder."""
    root_cluster: int
    clusters_at: int
    clusters: int
    notes_at: int
    """Where FAT32 keeps the number of free clusters; 0: nowhere."""

    @property
    def wide(self) -> bool:
        return self.root_bytes == 0

    @property
    def end_mark(self) -> int:
        return 0x0FFFFFFF if self.wide else 0xFFFF


@dataclass(frozen=True, slots=True)
class _Found:
    places: tuple[int, ...]
    """Where its slots lie, the short name's last."""
    cluster: int
    size_bytes: int


class FatVolume:
    """One FAT partition at an offset of an image."""

    def __init__(self, read: ReadAt, offset: int) -> None:
        """Raises InvalidImage if no FAT16 or FAT32 lies there."""
        self._read_at = read
        self._offset = offset
        self._changed: dict[int, bytearray] = {}
        self._shape = _shape(read(offset, 512))

    def read_file(self, name: str) -> bytes | None:
        """The content of a file of the root folder; None: there is none of this name. Raises InvalidImage."""
        found = self._find(name)
        if found is None:
            return None
        if found.size_bytes > _MOST_BYTES:
            message = f"{name} on the boot partition has {found.size_bytes} bytes"
            raise InvalidImage(message, remedy="That is no file of the kind that is expected there.")
        size = self._shape.cluster_bytes
        pieces = [self._read(self._cluster_at(one), size) for one in self._chain(found.cluster)]
        return b"".join(pieces)[: found.size_bytes]

    def write_file(self, name: str, content: bytes, at_s: int) -> None:
        """Write a file of the root folder, over one of the same name. Raises InvalidImage if there is no room."""
        found = self._find(name)
        if found is not None:
            self._free(found.cluster)
        places = found.places if found is not None else self._new_slots(name)
        clusters = self._allocated(-(-len(content) // self._shape.cluster_bytes))
        for number, one in enumerate(clusters):
            size = self._shape.cluster_bytes
            self._write(self._cluster_at(one), content[number * size :][:size].ljust(size, b"\0"))
        first = clusters[0] if clusters else 0
        when = time.gmtime(max(at_s, 315532800))  # FAT begins in 1980
        clock = when.tm_hour << 11 | when.tm_min << 5 | when.tm_sec // 2
        day = (when.tm_year - 1980) << 9 | when.tm_mon << 5 | when.tm_mday
        last = places[-1]
        self._write(last + 11, b"\x20")
        self._write(
            last + 14, struct.pack("<HHHHHHHI", clock, day, day, first >> 16, clock, day, first & 0xFFFF, len(content))
        )

    def changes(self) -> Iterator[Change]:
        """What differs from the image now, in order."""
        for sector in sorted(self._changed):
            yield Change(self._offset + sector * self._shape.sector_bytes, bytes(self._changed[sector]))

    # -- the folder ----------------------------------------------------------------------------------------------------

    def _slots(self) -> Iterator[int]:
        shape = self._shape
        if not shape.wide:
            yield from range(shape.root_at, shape.root_at + shape.root_bytes, _ENTRY_BYTES)
            return
        for cluster in self._chain(shape.root_cluster):
            start = self._cluster_at(cluster)
            yield from range(start, start + shape.cluster_bytes, _ENTRY_BYTES)

    def _find(self, name: str) -> _Found | None:
        long: dict[int, str] = {}
        places: list[int] = []
        for at in self._slots():
            slot = self._read(at, _ENTRY_BYTES)
            if slot[0] == 0:
                return None
            if slot[0] == _FREE:
                long, places = {}, []
                continue
            places.append(at)
            if slot[11] & 0x3F == _LONG:
                raw = b"".join(slot[start : start + count] for start, count in _NAME_FIELDS)
                long[slot[0] & 0x3F] = raw.decode("utf-16-le", "replace").partition("\0")[0]
                continue
            names = {"".join(long[one] for one in sorted(long)).lower(), _short_text(slot).lower()}
            if not slot[11] & 0x18 and name.lower() in names:  # neither a folder nor the volume's label
                high, low, size = *struct.unpack_from("<H4xH", slot, 20), struct.unpack_from("<I", slot, 28)[0]
                return _Found(tuple(places), high << 16 | low if self._shape.wide else low, size)
            long, places = {}, []
        return None

    def _new_slots(self, name: str) -> tuple[int, ...]:
        """Room for a new name, long and short, the names already in it."""
        short = self._new_short(name)
        units = name.encode("utf-16-le")
        count = -(-len(units) // 26)
        units = (units + b"\0\0").ljust(count * 26, b"\xff")[: count * 26]
        places = self._room(count + 1)
        check = 0
        for one in short:
            check = ((check & 1) << 7 | check >> 1) + one & 0xFF
        for number, at in zip(range(count, 0, -1), places, strict=False):
            text = units[(number - 1) * 26 :][:26]
            order = number | (0x40 if number == count else 0)
            head = bytes([order]) + text[:10] + bytes([_LONG, 0, check])
            self._write(at, head + text[10:22] + b"\0\0" + text[22:])
        self._write(places[-1], short + bytes(_ENTRY_BYTES - 11))
        return places

    def _room(self, count: int) -> tuple[int, ...]:
        run: list[int] = []
        for at in self._slots():
            run = [*run, at] if self._read(at, 1)[0] in (0, _FREE) else []
            if len(run) == count:
                return tuple(run)
        if not self._shape.wide:
            message = "the root folder of the boot partition is full"
            raise InvalidImage(message, remedy="Remove files from it.")
        (fresh,) = self._allocated(1)
        self._write(self._cluster_at(fresh), bytes(self._shape.cluster_bytes))
        *_, last = self._chain(self._shape.root_cluster)
        self._set_link(last, fresh)
        return self._room(count)

    def _new_short(self, name: str) -> bytes:
        stem, _, extension = name.upper().rpartition(".") if "." in name else (name.upper(), "", "")
        plain = ["".join(c for c in part if c.isascii() and (c.isalnum() or c in "_-")) for part in (stem, extension)]
        taken = {self._read(at, 11) for at in self._slots()}
        for number in range(1, 1000):
            tail = f"~{number}"
            short = (plain[0][: 8 - len(tail)] + tail).ljust(8).encode() + plain[1][:3].ljust(3).encode()
            if short not in taken:
                return short
        message = f"the boot partition has too many files that are called like {name}"
        raise InvalidImage(message, remedy="Remove files from it.")

    # -- chains of clusters --------------------------------------------------------------------------------------------

    def _chain(self, first: int) -> Iterator[int]:
        seen = 0
        one = first
        while 2 <= one < self._shape.clusters + 2:
            yield one
            seen += 1
            if seen > self._shape.clusters:
                message = "a chain of clusters of the boot partition goes round"
                raise InvalidImage(message, remedy="Check it: fsck.vfat")
            one = self._link(one)

    def _allocated(self, count: int) -> tuple[int, ...]:
        """Free clusters, chained."""
        found: list[int] = []
        for one in range(2, self._shape.clusters + 2):
            if len(found) == count:
                break
            if self._link(one) == 0:
                found.append(one)
        if len(found) < count:
            message = "the boot partition is full"
            raise InvalidImage(message, remedy="Remove files from it, or use a larger one.")
        for one, following in zip(found, [*found[1:], self._shape.end_mark], strict=False):
            self._set_link(one, following)
        self._count_free(-count)
        return tuple(found)

    def _free(self, first: int) -> None:
        freed = tuple(self._chain(first))
        for one in freed:
            self._set_link(one, 0)
        self._count_free(len(freed))

    def _count_free(self, more: int) -> None:
        if not self._shape.notes_at:
            return
        free, _hint = struct.unpack("<II", self._read(self._shape.notes_at, 8))
        after = free + more if 0 <= free + more <= self._shape.clusters else _UNKNOWN
        if free != _UNKNOWN:
            self._write(self._shape.notes_at, struct.pack("<I", after))

    def _link(self, cluster: int) -> int:
        if self._shape.wide:
            return int(struct.unpack("<I", self._read(self._shape.fat_at + 4 * cluster, 4))[0]) & 0x0FFFFFFF
        return int(struct.unpack("<H", self._read(self._shape.fat_at + 2 * cluster, 2))[0])

    def _set_link(self, cluster: int, value: int) -> None:
        packed = struct.pack("<I" if self._shape.wide else "<H", value)
        for number in range(self._shape.fats):
            start = self._shape.fat_at + number * self._shape.fat_bytes
            self._write(start + len(packed) * cluster, packed)

    def _cluster_at(self, cluster: int) -> int:
        return self._shape.clusters_at + (cluster - 2) * self._shape.cluster_bytes

    # -- bytes of the partition, changed sectors over those of the image -----------------------------------------------

    def _read(self, at: int, length: int) -> bytes:
        size = self._shape.sector_bytes
        pieces = []
        for sector in range(at // size, -(-(at + length) // size)):
            kept = self._changed.get(sector)
            pieces.append(kept if kept is not None else self._sector(sector))
        start = at % size
        return b"".join(pieces)[start : start + length]

    def _write(self, at: int, content: bytes) -> None:
        size = self._shape.sector_bytes
        while content:
            sector, start = divmod(at, size)
            piece = content[: size - start]
            if sector not in self._changed:
                self._changed[sector] = bytearray(self._sector(sector))
            self._changed[sector][start : start + len(piece)] = piece
            at += len(piece)
            content = content[len(piece) :]

    def _sector(self, number: int) -> bytes:
        size = self._shape.sector_bytes
        found = self._read_at(self._offset + number * size, size)
        if len(found) != size:
            message = "the boot partition ends too early"
            raise InvalidImage(message, remedy="The image was cut short: fetch or build it again.")
        return found


def _shape(first: bytes) -> _Shape:
    problem = InvalidImage(
        "the boot partition is neither FAT16 nor FAT32", remedy="Use an image whose first partition can be read."
    )
    if len(first) < 512 or first[510:] != b"\x55\xaa":
        raise problem
    sector, per_cluster, reserved, fats, entries, small, _media, small_fat = struct.unpack_from("<HBHBHHBH", first, 11)
    (large,) = struct.unpack_from("<I", first, 32)
    large_fat, _flags, _version, root_cluster, notes = struct.unpack_from("<IHHIH", first, 36)
    if sector not in (512, 1024, 2048, 4096) or not per_cluster or per_cluster & (per_cluster - 1) or not fats:
        raise problem
    fat_bytes = (small_fat or large_fat) * sector
    root_at = reserved * sector + fats * fat_bytes
    root_bytes = -(-entries * _ENTRY_BYTES // sector) * sector
    count = ((small or large) * sector - root_at - root_bytes) // (per_cluster * sector)
    wide = entries == 0
    if count < 4085 or (count + 2) * (4 if wide else 2) > fat_bytes or (wide and not 2 <= root_cluster < count + 2):
        raise problem
    return _Shape(
        sector_bytes=sector,
        cluster_bytes=per_cluster * sector,
        fat_at=reserved * sector,
        fat_bytes=fat_bytes,
        fats=fats,
        root_at=root_at,
        root_bytes=root_bytes,
        root_cluster=root_cluster,
        clusters_at=root_at + root_bytes,
        clusters=count,
        notes_at=notes * sector + 488 if wide and notes not in (0, 0xFFFF) else 0,
    )


def _short_text(slot: bytes) -> str:
    stem, extension = (part.decode("cp437").rstrip() for part in (slot[:8], slot[8:11]))
    return f"{stem}.{extension}" if extension else stem
