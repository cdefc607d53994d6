"""Where a message begins and ends in a stream of bytes, and whether it came whole. Pure.

line     payload check end
fixed    start payload check                       always the same length
length   start length payload check
stx      start payload check end                   with an escape byte before those that mean something
slip     C0 payload check C0                       RFC 1055

What is no frame is left out and counted; receiving never raises.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal

from mappers.serialgpio.checksum import Checksum, checksum

LONGEST_BYTES: Final = 4096
"""Of a frame; more without an end is noise."""


class NotFramable(ValueError):
    """These bytes cannot be sent in such frames."""


@dataclass(frozen=True, slots=True)
class Check:
    """Check at the end of a payload: raw bytes, or hexadecimal digits where raw ones could mean an end."""

    kind: Checksum = Checksum.NONE
    order: Literal["big", "little"] = "big"
    as_text: bool = False

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return self.kind.size * (2 if self.as_text else 1)

    def sealed(self, payload: bytes) -> bytes:
        """The payload with its check."""
        check = checksum(self.kind, payload).to_bytes(self.kind.size, self.order)
        return payload + (check.hex().upper().encode() if self.as_text else check)

    def opened(self, body: bytes) -> bytes | None:
        """The payload of a body whose check is right."""
        payload = body[: len(body) - self.size]
        sealed = self.sealed(payload)
        return (
            payload if sealed == body or (self.as_text and sealed == payload + body[len(payload) :].upper()) else None
        )


class Framer(ABC):
    """One direction of a stream. ``dropped`` counts what was no frame."""

    def __init__(self, check: Check) -> None:
        """Store how payloads are checked."""
        self.dropped = 0
        self._check = check
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take what came; the payloads that are whole now."""
        self._buffer += chunk
        found = []
        while (payload := self._next()) is not None:
            found.append(payload)
        return found

    def reset(self) -> None:
        """Forget a frame that has begun."""
        self._buffer.clear()

    def silent(self) -> None:  # noqa: B027  # framings with an end have nothing to do
        """Note that the line was silent; framings without an end forget what has begun."""

    @abstractmethod
    def frame(self, payload: bytes) -> bytes:
        """The bytes that carry a payload. Raises NotFramable."""

    @abstractmethod
    def _next(self) -> bytes | None:
        """Cut the next good payload out of the buffer."""

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self.dropped += 1

    def _checked(self, body: bytes) -> bytes | None:
        payload = self._check.opened(body) if len(body) >= self._check.size else None
        if payload is None:
            self.dropped += 1
        return payload


class LineFramer(Framer):
    """Payloads with an end, mostly text. What is empty is no frame."""

    def __init__(self, end: bytes, check: Check | None = None) -> None:
        super().__init__(check or Check())
        self._end = end
        self._searched = 0

    def reset(self) -> None:
        """Forget a line that has begun."""
        super().reset()
        self._searched = 0

    def frame(self, payload: bytes) -> bytes:
        """The payload and its end. Raises NotFramable if it has the end within, or is empty."""
        body = self._check.sealed(payload)
        if not body or (body + self._end).index(self._end) != len(body):
            message = f"{payload!r} is empty or has the end of a line within"
            raise NotFramable(message)
        return body + self._end

    def _next(self) -> bytes | None:
        buffer, end = self._buffer, self._end
        while (at := buffer.find(end, self._searched)) >= 0:
            body = bytes(buffer[:at])
            del buffer[: at + len(end)]
            self._searched = 0
            if body and (payload := self._checked(body)) is not None:
                return payload
        if len(buffer) > LONGEST_BYTES:
            self._drop(len(buffer) - len(end) + 1)
        self._searched = max(0, len(buffer) - len(end) + 1)
        return None


class FixedFramer(Framer):
    """Payloads of one length, found by a start, by a right check, or after silence."""

    def __init__(self, length: int, start: bytes = b"", check: Check | None = None) -> None:
        super().__init__(check or Check())
        self._length = length
        self._start = start

    def silent(self) -> None:
        """Begin anew."""
        if self._buffer:
            self._drop(len(self._buffer))

    def frame(self, payload: bytes) -> bytes:
        """The start and the payload. Raises NotFramable if its length is another."""
        if len(payload) != self._length:
            message = f"a payload has {self._length} bytes here, this one has {len(payload)}"
            raise NotFramable(message)
        return self._start + self._check.sealed(payload)

    def _next(self) -> bytes | None:
        whole = len(self._start) + self._length + self._check.size
        while _find_start(self, self._buffer, self._start) and len(self._buffer) >= whole:
            payload = self._check.opened(bytes(self._buffer[len(self._start) : whole]))
            if payload is not None:
                del self._buffer[:whole]
                return payload
            self._drop(1)
        return None


class LengthFramer(Framer):
    """Payloads with their length before them; ``extra`` is what the number counts beside the payload."""

    def __init__(
        self,
        size: int,
        order: Literal["big", "little"] = "big",
        *,
        start: bytes = b"",
        extra: int = 0,
        check: Check | None = None,
    ) -> None:
        super().__init__(check or Check())
        self._size = size
        self._order = order
        self._start = start
        self._extra = extra

    def silent(self) -> None:
        """Begin anew."""
        if self._buffer:
            self._drop(len(self._buffer))

    def frame(self, payload: bytes) -> bytes:
        """The length and the payload. Raises NotFramable if the number has no room for it."""
        number = len(payload) + self._extra
        if not 0 <= number < 1 << 8 * self._size or len(payload) > LONGEST_BYTES:
            message = f"a payload of {len(payload)} bytes is too long, or too short, for its length field"
            raise NotFramable(message)
        return self._start + number.to_bytes(self._size, self._order) + self._check.sealed(payload)

    def _next(self) -> bytes | None:
        head = len(self._start) + self._size
        while _find_start(self, self._buffer, self._start) and len(self._buffer) >= head:
            length = int.from_bytes(self._buffer[len(self._start) : head], self._order) - self._extra
            whole = head + length + self._check.size
            if not 0 <= length <= LONGEST_BYTES:
                self._drop(1)
                continue
            if len(self._buffer) < whole:
                return None
            payload = self._check.opened(bytes(self._buffer[head:whole]))
            if payload is not None:
                del self._buffer[:whole]
                return payload
            self._drop(1)
        return None


class StxFramer(Framer):
    """Payloads between a start and an end byte; an escape byte stands before those that are meant as they are."""

    def __init__(self, start: int = 2, end: int = 3, escape: int | None = None, check: Check | None = None) -> None:
        super().__init__(check or Check())
        self._start = start
        self._end = end
        self._escape = escape

    def frame(self, payload: bytes) -> bytes:
        """Between start and end. Raises NotFramable if it has one of them and there is no escape."""
        body = self._check.sealed(payload)
        meant = {self._start, self._end} | ({self._escape} if self._escape is not None else set())
        if self._escape is None and meant & set(body):
            message = f"{payload!r} has a start or end byte, and these frames have no escape"
            raise NotFramable(message)
        stuffed = b"".join(bytes((self._escape or 0, one)) if one in meant else bytes((one,)) for one in body)
        return bytes((self._start,)) + stuffed + bytes((self._end,))

    def _next(self) -> bytes | None:
        while _find_start(self, self._buffer, bytes((self._start,))):
            scanned = self._scan()
            if scanned is None:
                if len(self._buffer) > 2 * LONGEST_BYTES:
                    self._drop(len(self._buffer))
                return None
            at, body = scanned
            if body is None:
                self._drop(at)
                continue
            del self._buffer[:at]
            if (payload := self._checked(body)) is not None:
                return payload
        return None

    def _scan(self) -> tuple[int, bytes | None] | None:
        """Where the frame at the start of the buffer ends, and its body; none if another start came before the end."""
        body = bytearray()
        escaped = False
        for at, byte in enumerate(self._buffer):
            if at == 0:
                continue
            if not escaped and byte == self._escape:
                escaped = True
            elif not escaped and byte == self._end:
                return at + 1, bytes(body)
            elif not escaped and byte == self._start:
                return at, None
            else:
                body.append(byte)
                escaped = False
        return None


class SlipFramer(Framer):
    """RFC 1055: payloads between C0, in which C0 is DB DC and DB is DB DD. What is empty is no frame."""

    def frame(self, payload: bytes) -> bytes:
        """Between two ends, the first of which ends noise. Raises NotFramable if it is empty."""
        body = self._check.sealed(payload)
        if not body:
            message = "SLIP has no empty frames"
            raise NotFramable(message)
        return b"\xc0" + body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"

    def _next(self) -> bytes | None:
        while (at := self._buffer.find(b"\xc0")) >= 0:
            stuffed = bytes(self._buffer[:at])
            del self._buffer[: at + 1]
            if not stuffed:
                continue
            parts = stuffed.split(b"\xdb")
            if any(part[:1] not in (b"\xdc", b"\xdd") for part in parts[1:]):
                self.dropped += 1
                continue
            body = parts[0] + b"".join((b"\xc0" if part[0] == 0xDC else b"\xdb") + part[1:] for part in parts[1:])
            if (payload := self._checked(body)) is not None:
                return payload
        if len(self._buffer) > 2 * LONGEST_BYTES:
            self._drop(len(self._buffer))
        return None


def _find_start(framer: Framer, buffer: bytearray, start: bytes) -> bool:
    """Let go of what is before a start; whether there is one."""
    at = buffer.find(start)
    if at < 0:
        kept = next(size for size in range(min(len(start) - 1, len(buffer)), -1, -1) if buffer.endswith(start[:size]))
        at = len(buffer) - kept
        if at:
            framer.dropped += 1
            del buffer[:at]
        return False
    if at:
        framer.dropped += 1
        del buffer[:at]
    return True
