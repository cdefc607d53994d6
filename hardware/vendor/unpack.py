"""A vendor's image from the file that it was fetched as, plain or .xz, piece by piece, into a file with holes."""

from __future__ import annotations

import lzma
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from hardware.errors import InvalidImage

MAX_BYTES: Final = 32 * 2**30
"""Of the unpacked image: few bytes of .xz may become any number."""
_XZ: Final = b"\xfd7zXZ\x00"
_PIECE_BYTES: Final = 2**20
_MEMORY_BYTES: Final = 256 * 2**20
"""What xz itself takes at its highest level is a third of this."""


def unpack(source: Path, out: Path, limit_bytes: int = MAX_BYTES) -> int:
    """Write the image to a file; returns its size. Raises InvalidImage: unreadable, damaged, cut short or too large."""
    done = 0
    try:
        with source.open("rb") as file, out.open("wb") as made:
            for piece in _pieces(file, source):
                done += len(piece)
                if done > limit_bytes:
                    message = f"{source} has more than {limit_bytes} bytes, unpacked"
                    raise InvalidImage(message, remedy="Is it the image of a card? Then it is too large to be adapted.")
                if piece.count(0) == len(piece):
                    made.seek(len(piece), os.SEEK_CUR)
                else:
                    made.write(piece)
            made.truncate(done)
    except OSError as error:
        message = f"{source} cannot be unpacked: {error.strerror or error}"
        raise InvalidImage(message, remedy="Look whether the file is there and the disk has room.") from None
    if done == 0 or done % 512:
        message = f"{source} has {done} bytes, unpacked, which is no number of sectors"
        raise InvalidImage(message, remedy="It was cut short, or is no disk image.")
    return done


def _pieces(file: BinaryIO, source: Path) -> Iterator[bytes]:
    head = file.read(len(_XZ))
    file.seek(0)
    if head != _XZ:
        while piece := file.read(_PIECE_BYTES):
            yield piece
        return
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES)
    try:
        while not decoder.eof:
            fed = file.read(_PIECE_BYTES) if decoder.needs_input else b""
            if decoder.needs_input and not fed:
                message = f"{source} was cut short"
                raise InvalidImage(message, remedy="Fetch it again.")
            yield decoder.decompress(fed, _PIECE_BYTES)
    except lzma.LZMAError as error:
        message = f"{source} is damaged: {error}"
        raise InvalidImage(message, remedy="Fetch it again.") from None
