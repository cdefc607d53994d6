"""Bodies of HTTP/1.1 messages: where they end, and chunks taken apart and put together.

    chunk = size-in-hex [;extension] CRLF  data CRLF        last = "0" CRLF *(trailer CRLF) CRLF

Chunks are read and written anew, never passed on as they came, so that both sides read the same.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, Protocol

from mesh.planes.http.bad_message import BadMessage
from mesh.planes.http.head import MAX_HEAD_BYTES

LAST_CHUNK: Final = b"0\r\n\r\n"
_MAX_SIZE_LINE: Final = 256
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t\x20-\x7e\x80-\xff]*")
_NOT_IN_TRAILERS: Final = frozenset(
    b"transfer-encoding content-length host connection trailer te upgrade authorization content-encoding content-type "
    b"content-range cookie set-cookie expect cache-control".split()
)


class BodyReader(Protocol):
    """Finds the end of one body."""

    ended: bool
    rest: bytes
    """What came after the end."""
    trailers: bytes

    def take(self, piece: bytes) -> bytes:
        """Return what of a piece belongs to the body, unwrapped. Raises BadMessage."""


class LengthReader:
    """A body of known length."""

    __slots__ = ("ended", "left", "rest", "trailers")

    def __init__(self, length: int) -> None:
        self.left = length
        self.ended = not length
        self.rest = b""
        self.trailers = b""

    def take(self, piece: bytes) -> bytes:
        """Return what of a piece belongs to the body."""
        if len(piece) > self.left:
            piece, self.rest = piece[: self.left], piece[self.left :]
        self.left -= len(piece)
        self.ended = not self.left
        return piece


class UntilCloseReader:
    """A body that ends with its connection."""

    __slots__ = ("ended", "rest", "trailers")

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        self.trailers = b""

    def take(self, piece: bytes) -> bytes:
        """Return the piece: all of it is body."""
        return piece


class _Part(Enum):
    SIZE = 1
    CONTENT = 2
    CONTENT_END = 3
    TRAILERS = 4


class ChunkReader:
    """A chunked body; ``trailers`` are lines that may be sent on, each with its line end."""

    __slots__ = ("_left", "_line", "_part", "_trailer_bytes", "ended", "rest", "trailers")

    def __init__(self) -> None:
        self.ended = False
        self.rest = b""
        self.trailers = b""
        self._part = _Part.SIZE
        self._left = 0
        self._line = b""
        """The beginning of a line whose end has not come."""
        self._trailer_bytes = 0

    def take(self, piece: bytes) -> bytes:
        """Return the contents of the chunks in a piece. Raises BadMessage for what is no chunk."""
        contents: list[bytes] = []
        at, end = 0, len(piece)
        while at < end and not self.ended:
            if self._part is _Part.CONTENT:
                taken = piece[at : at + self._left]
                contents.append(taken)
                at += len(taken)
                self._left -= len(taken)
                if not self._left:
                    self._part = _Part.CONTENT_END
            else:
                at = self._take_line(piece, at)
        if self.ended:
            self.rest = piece[at:]
        return b"".join(contents) if len(contents) != 1 else contents[0]

    def _take_line(self, piece: bytes, at: int) -> int:
        stop = piece.find(b"\n", at)
        came = piece[at:] if stop < 0 else piece[at : stop + 1]
        line = self._line + came
        if len(line) > (MAX_HEAD_BYTES if self._part is _Part.TRAILERS else _MAX_SIZE_LINE):
            msg = "A line between chunks is too long"
            raise BadMessage(msg)
        if stop < 0:
            if self._part is _Part.CONTENT_END and line != b"\r":
                msg = "A chunk is longer than its size"
                raise BadMessage(msg)
            self._line = line
            return len(piece)
        if line[-2:] != b"\r\n":
            msg = "A line between chunks does not end with CRLF"
            raise BadMessage(msg)
        self._line = b""
        self._take_whole_line(line[:-2])
        return stop + 1

    def _take_whole_line(self, line: bytes) -> None:
        if self._part is _Part.SIZE:
            found = _SIZE.fullmatch(line)
            if found is None:
                msg = "A chunk does not begin with its size"
                raise BadMessage(msg)
            self._left = int(found[1], 16)
            self._part = _Part.CONTENT if self._left else _Part.TRAILERS
        elif self._part is _Part.CONTENT_END:
            if line:
                msg = "A chunk is longer than its size"
                raise BadMessage(msg)
            self._part = _Part.SIZE
        elif line:
            self._take_trailer(line)
        else:
            self.ended = True

    def _take_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        found = _TRAILER.fullmatch(line)
        if found is None or self._trailer_bytes > MAX_HEAD_BYTES:
            msg = "The trailers are malformed or too long"
            raise BadMessage(msg)
        if found[1].lower() not in _NOT_IN_TRAILERS:
            self.trailers += line + b"\r\n"


def chunk(content: bytes) -> bytes:
    """Return some content, which is not empty, as a chunk."""
    return b"%x\r\n%b\r\n" % (len(content), content)


def last_chunk(trailers: bytes) -> bytes:
    """Return the end of a chunked body."""
    return b"0\r\n%b\r\n" % trailers if trailers else LAST_CHUNK
