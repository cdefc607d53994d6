"""Puts files onto the boot partition of an image on its way to a disk; the file of the image stays as it is."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from hardware.errors import InvalidImage
from hardware.flash.blockmap import BLOCK_BYTES, BlockMap, Range
from hardware.media.fat import Change, FatVolume
from hardware.media.table import Extent, extents


class ImageFile(Protocol):
    """What is read of an image: a file open for reading has it."""

    def seek(self, offset: int, /) -> object:
        """Go to an offset."""

    def read(self, length: int, /) -> bytes:
        """Read from there on."""


class ChangedImage:
    """An image as it will be: what was changed lies over what the file has."""

    def __init__(self, image: ImageFile, changes: Mapping[int, bytes]) -> None:
        """``changes``: whole blocks by their offset."""
        self._image = image
        self._changes = changes
        self._at = 0

    def seek(self, offset: int, /) -> object:
        self._at = offset
        return offset

    def read(self, length: int, /) -> bytes:
        self._image.seek(self._at)
        piece = bytearray(self._image.read(length))
        length = len(piece)
        first = self._at - self._at % BLOCK_BYTES
        for block in range(first, self._at + length, BLOCK_BYTES):
            if changed := self._changes.get(block):
                start, skip = max(block - self._at, 0), max(self._at - block, 0)
                piece[start : start + len(changed) - skip] = changed[skip:]
        self._at += length
        return bytes(piece[:length])


def boot_partition(image: ImageFile, number: int) -> Extent:
    """Where a partition of an image lies. Raises InvalidImage."""
    found = next((one for one in extents(lambda at, length: _read(image, at, length)) if one.number == number), None)
    if found is None:
        message = f"the image has no partition {number}"
        raise InvalidImage(message, remedy="Its manifest is of another image; fetch or build both again.")
    return found


def with_files(
    image: ImageFile, block_map: BlockMap, boot: Extent, files: Mapping[str, bytes], at_s: int
) -> tuple[ChangedImage, BlockMap]:
    """The image with files on its boot partition, and its block map. What is changed is checked first.

    Raises InvalidImage: the image is not what its block map says, or there is no room.
    """
    volume = FatVolume(lambda at, length: _read(image, at, length), boot.offset)
    for name, content in files.items():
        volume.write_file(name, content, at_s)
    blocks = _blocks(image, volume.changes())
    held = {block: _holder(block_map, block) for block in blocks}
    touched = {one for one in held.values() if one is not None}
    for one in touched:
        if hashlib.sha256(_read(image, one.offset, one.length)).hexdigest() != one.sha256:
            message = f"the image is not what its block map says, at byte {one.offset}"
            raise InvalidImage(message, remedy="Fetch or build the image again; nothing was written.")
    changed = ChangedImage(image, blocks)
    fresh = [(block, len(blocks[block])) for block, holder in held.items() if holder is None]
    again = [(one.offset, one.length) for one in touched]
    remade = [_range(changed, offset, length) for offset, length in itertools.chain(fresh, again)]
    kept = (one for one in block_map.ranges if one not in touched)
    ranges = tuple(sorted((*kept, *remade), key=lambda one: one.offset))
    return changed, BlockMap(image_bytes=block_map.image_bytes, ranges=ranges)


def _blocks(image: ImageFile, changes: Iterable[Change]) -> dict[int, bytes]:
    blocks: dict[int, bytearray] = {}
    for one in changes:
        for at in range(one.offset, one.offset + len(one.content), _STEP_BYTES):
            block = at - at % BLOCK_BYTES
            if block not in blocks:
                blocks[block] = bytearray(_read(image, block, BLOCK_BYTES))
            blocks[block][at - block : at - block + _STEP_BYTES] = one.content[at - one.offset :][:_STEP_BYTES]
    return {block: bytes(content) for block, content in blocks.items()}


_STEP_BYTES: Final = 512
"""Sectors have multiples of this, blocks too; so no step lies in two blocks."""


def _holder(block_map: BlockMap, block: int) -> Range | None:
    return next((one for one in block_map.ranges if one.offset <= block < one.end), None)


def _range(image: ChangedImage, offset: int, length: int) -> Range:
    image.seek(offset)
    return Range(offset=offset, length=length, sha256=hashlib.sha256(image.read(length)).hexdigest())


def _read(image: ImageFile, offset: int, length: int) -> bytes:
    image.seek(offset)
    return image.read(length)
