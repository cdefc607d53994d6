"""Writes an image and proves it: the table goes first and comes last, so that half an image never looks bootable.

clear     the first and last MiB of the target are zeroed, which takes any old partition table away
write     every mapped range but those of the new table; each is checked against the block map on its way
verify    every one of them is read back from the medium: after all were written, so that a card which has less room
          than it says, and wraps around, is found out
table     the ranges of the table, written and read back
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hardware.errors import FlashFailed, InvalidImage, WrongReadBack
from hardware.flash.blockmap import BLOCK_BYTES, TABLE_BYTES, BlockMap, Range
from hardware.flash.place import ImageFile
from hardware.flash.target import Target

_SYNC_EVERY_BYTES: Final = 64 * 2**20
"""Else the speed shown is that of the memory, and the end of the writing is one long silence."""


class Stage(StrEnum):
    """What is being done."""

    SCAN = "scan"
    """The image has no block map yet."""
    CLEAR = "clear"
    WRITE = "write"
    VERIFY = "verify"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is."""

    stage: Stage
    done_bytes: int
    of_bytes: int


@dataclass(frozen=True, slots=True)
class Times:
    """How long it took, in seconds."""

    write_s: float
    verify_s: float


Told = Callable[[Progress], None]


def flash(image: ImageFile, block_map: BlockMap, target: Target, told: Told, clock: Callable[[], float]) -> Times:
    """Write an image whole. Blocks.

    Raises FlashFailed, WrongReadBack or InvalidImage; the target has no partition table then.
    """
    table = [one for one in block_map.ranges if _is_table(one, block_map.image_bytes)]
    body = [one for one in block_map.ranges if not _is_table(one, block_map.image_bytes)]
    started = clock()
    _clear(target, told)
    _write(image, body, target, told, Stage.WRITE)
    written = clock()
    _verify(body, target, told, Stage.VERIFY)
    verified = clock()
    _write(image, table, target, told, Stage.TABLE)
    try:
        _verify(table, target, told, Stage.TABLE)
    except FlashFailed:
        _clear(target, told)
        raise
    target.reread_table()
    return Times(written - started, verified - written)


def cleared(target: Target) -> Iterator[tuple[int, int]]:
    """Where the zeros go: offset and length."""
    first = min(TABLE_BYTES, target.size_bytes)
    yield 0, first
    last = max(first, (target.size_bytes - TABLE_BYTES) // 512 * 512)
    if last < target.size_bytes:
        yield last, target.size_bytes - last


def _is_table(one: Range, image_bytes: int) -> bool:
    return one.offset < TABLE_BYTES or one.end > image_bytes - image_bytes % BLOCK_BYTES - TABLE_BYTES


def _clear(target: Target, told: Told) -> None:
    try:
        for offset, length in cleared(target):
            target.write(offset, bytes(length))
        target.sync()
    except OSError as error:
        raise _failed(error, 0) from None
    told(Progress(Stage.CLEAR, 1, 1))


def _write(image: ImageFile, ranges: Iterable[Range], target: Target, told: Told, stage: Stage) -> None:
    ranges = list(ranges)
    of = sum(one.length for one in ranges)
    done = unsynced = 0
    for one in ranges:
        image.seek(one.offset)
        piece = image.read(one.length)
        if hashlib.sha256(piece).hexdigest() != one.sha256:
            message = f"the image is not what its block map says, at byte {one.offset}"
            raise InvalidImage(message, remedy="Fetch or build the image again; the disk has no partition table now.")
        try:
            target.write(one.offset, piece)
            unsynced += one.length
            if unsynced >= _SYNC_EVERY_BYTES:
                target.sync()
                unsynced = 0
        except OSError as error:
            raise _failed(error, one.offset) from None
        done += one.length
        told(Progress(stage, done, of))
    try:
        target.sync()
    except OSError as error:
        raise _failed(error, done) from None


def _verify(ranges: Iterable[Range], target: Target, told: Told, stage: Stage) -> None:
    ranges = list(ranges)
    of = sum(one.length for one in ranges)
    done = 0
    for one in ranges:
        try:
            piece = target.read_back(one.offset, one.length)
        except OSError as error:
            raise _failed(error, one.offset) from None
        found = hashlib.sha256(piece).hexdigest()
        if found != one.sha256:
            message = (
                f"what was read back at bytes {one.offset} to {one.end - 1} is not what was written "
                f"(sha256 {found[:16]}..., should be {one.sha256[:16]}...)"
            )
            raise WrongReadBack(message, remedy="The medium or its reader is bad: try another of each.")
        done += one.length
        told(Progress(stage, done, of))


def _failed(error: OSError, offset: int) -> FlashFailed:
    message = f"the disk failed at byte {offset}: {error.strerror or error}"
    return FlashFailed(message, remedy="It has no partition table now and boots nothing. Try again, or another disk.")
