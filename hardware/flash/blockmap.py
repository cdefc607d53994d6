"""What of an image holds something: mapped ranges, each with a hash; kept beside the image as ``IMAGE.map.json``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hardware.errors import InvalidImage

BLOCK_BYTES: Final = 4096
RANGE_BYTES: Final = 4 * 2**20
"""The longest range: what is read, hashed and written at a time."""
TABLE_BYTES: Final = 2**20
"""How much at each end may hold a partition table or boot code: GPT keeps 34 sectors at both."""
_ZEROS: Final = bytes(RANGE_BYTES)
_COMPRESSED: Final = {
    b"\x1f\x8b": "gunzip",
    b"\xfd7zXZ\x00": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"BZh": "bunzip2",
    b"PK\x03\x04": "unzip",
}

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Range(BaseModel):
    """One mapped range of an image."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offset: Annotated[int, Field(ge=0, multiple_of=BLOCK_BYTES)]
    length: Annotated[int, Field(gt=0, le=RANGE_BYTES)]
    sha256: Sha256

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + self.length


class BlockMap(BaseModel):
    """All mapped ranges of an image, in order; what lies between them is zeros and is not written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    image_bytes: Annotated[int, Field(gt=0)]
    ranges: tuple[Range, ...]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        end = 0
        for one in self.ranges:
            if one.offset < end or one.end > self.image_bytes:
                message = f"the range at {one.offset} overlaps another, or lies outside the image"
                raise ValueError(message)
            end = one.end
        return self

    @property
    def mapped_bytes(self) -> int:
        """How much is written."""
        return sum(one.length for one in self.ranges)


def map_path(image: Path) -> Path:
    """Where the block map of an image is kept."""
    return image.with_name(f"{image.name}.map.json")


def scan(image: Path, told: Callable[[int, int], None] = lambda _done, _of: None) -> BlockMap:
    """Read an image and say what of it holds something. ``told`` hears how far it is. Raises InvalidImage."""
    try:
        with image.open("rb") as file:
            size = _size(file, image)
            ranges = tuple(_ranges(file.fileno(), size, told))
    except OSError as error:
        message = f"the image {image} cannot be read: {error.strerror or error}"
        raise InvalidImage(message, remedy="Name the file of a disk image.") from None
    if not ranges:
        message = f"the image {image} holds nothing but zeros"
        raise InvalidImage(message, remedy="Build it again.")
    return BlockMap(image_bytes=size, ranges=ranges)


def load(image: Path) -> BlockMap | None:
    """The block map beside an image; None: it has none. Raises InvalidImage if it is not this image's."""
    path = map_path(image)
    try:
        found = BlockMap.model_validate_json(path.read_bytes())
        size = image.stat().st_size
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        message = f"the block map {path} cannot be used: {said}"
        raise InvalidImage(message, remedy=f"Remove it: rm {path}") from None
    if found.image_bytes != size:
        message = f"the block map {path} is of an image of {found.image_bytes} bytes, {image} has {size}"
        raise InvalidImage(message, remedy="Fetch both again; one of them is cut short or of another build.")
    return found


def _size(file: BinaryIO, image: Path) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(8)
    for magic, program in _COMPRESSED.items():
        if head.startswith(magic):
            message = f"the image {image} is compressed"
            raise InvalidImage(message, remedy=f"Unpack it first: {program} {image}")
    if size == 0 or size % 512:
        message = f"the image {image} has {size} bytes, which is no number of sectors"
        raise InvalidImage(message, remedy="It was cut short, or is no disk image.")
    return size


def _ranges(fd: int, size: int, told: Callable[[int, int], None]) -> Iterator[Range]:
    for start, end in _runs(fd, size):
        offset = start
        while offset < end:
            # What may hold a partition table is a range of its own, since it is written last.
            stops = (one for one in (TABLE_BYTES, size - size % BLOCK_BYTES - TABLE_BYTES, end) if one > offset)
            length = min(RANGE_BYTES, min(stops) - offset)
            piece = os.pread(fd, length, offset)
            if piece != _ZEROS[:length]:
                yield Range(offset=offset, length=length, sha256=hashlib.sha256(piece).hexdigest())
            offset += length
            told(offset, size)
    told(size, size)


def _runs(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """What the file system has of the file: holes are left out, each run begins and ends with a block."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return  # a hole to the end
        end = os.lseek(fd, start, os.SEEK_HOLE)
        start -= start % BLOCK_BYTES
        end = min(size, end + -end % BLOCK_BYTES)
        yield max(start, at), end
        at = end
