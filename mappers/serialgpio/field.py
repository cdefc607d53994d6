"""A value within a message: text found by a pattern, or bytes at a place. Pure."""

from __future__ import annotations

import base64
import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mappers.sdk import Value, ValueType

_ON: Final = frozenset({"1", "on", "true", "high", "yes"})
_OFF: Final = frozenset({"0", "off", "false", "low", "no"})


class NotDecodable(ValueError):
    """The message has no such value."""


class FieldType(StrEnum):
    """What bytes mean."""

    UINT8 = "uint8"
    INT8 = "int8"
    UINT16 = "uint16"
    INT16 = "int16"
    UINT32 = "uint32"
    INT32 = "int32"
    UINT64 = "uint64"
    INT64 = "int64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    TEXT = "text"
    BYTES = "bytes"

    @property
    def code(self) -> str:
        """Its letter in a struct; empty for those of any length."""
        return _CODES.get(self, "")

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return "int" in self

    @property
    def size(self) -> int:
        """Bytes; 0 for those of any length."""
        return struct.calcsize(self.code)


_CODES: Final = dict(zip(FieldType, "BbHhIiQqfd", strict=False))


@dataclass(frozen=True, slots=True)
class Field:
    """Either ``match``, whose group is the value, or ``type``. ``starts`` are a message's first bytes.

    ``base`` is of whole numbers in text; ``full`` divides a number into a part of the whole.
    """

    starts: bytes = b""
    match: re.Pattern[str] | None = None
    type: FieldType | None = None
    at: int = 0
    length: int = 0
    big: bool = True
    bit: int | None = None
    words: tuple[str, str] = ("", "")
    base: int = 10
    full: int = 0

    def accepts(self, payload: bytes) -> bool:
        """Whether the message is one that has the value."""
        return payload.startswith(self.starts) and (self.match is None or self.match.search(_text(payload)) is not None)

    def decode(self, payload: bytes, value_type: ValueType) -> Value:
        """The value. Raises NotDecodable."""
        if self.match is None:
            return self._of_bytes(payload)
        found = self.match.search(_text(payload))
        if found is None:
            message = f"{payload[:40]!r} does not match {self.match.pattern!r}"
            raise NotDecodable(message)
        text = (found[1] if self.match.groups else found[0]) or ""
        try:
            return self._of_text(text.strip(), value_type)
        except (ValueError, OverflowError) as error:
            message = f"{text[:40]!r} is no {value_type}: {error}"
            raise NotDecodable(message) from None

    def _of_text(self, text: str, value_type: ValueType) -> Value:
        if self.bit is not None:
            return bool(int(text, self.base) >> self.bit & 1)
        match value_type:
            case ValueType.BOOLEAN:
                return self._switched(text)
            case ValueType.INT if not self.full:
                return int(text, self.base) if _is_whole(text, self.base) else float(text)
            case ValueType.INT | ValueType.FLOAT | ValueType.DOUBLE:
                return int(text, self.base) / self.full if self.full else float(text)
        return text

    def _switched(self, text: str) -> bool:
        on, off = self.words
        if text in (on, off) and on != off:
            return text == on
        if text.lower() not in _ON | _OFF:
            message = "neither on nor off"
            raise ValueError(message)
        return text.lower() in _ON

    def _of_bytes(self, payload: bytes) -> Value:
        assert self.type is not None
        size = self.type.size or self.length or max(0, len(payload) - self.at)
        part = payload[self.at : self.at + size]
        if len(part) < size:
            message = f"{payload[:40]!r} has {len(payload)} bytes, the value ends at {self.at + size}"
            raise NotDecodable(message)
        if self.type is FieldType.TEXT:
            return part.rstrip(b"\0").decode("utf-8", "replace")
        if self.type is FieldType.BYTES:
            return base64.b64encode(part).decode()
        (number,) = struct.unpack((">" if self.big else "<") + self.type.code, part)
        value: int | float = number
        return bool(int(value) >> self.bit & 1) if self.bit is not None else value


def _is_whole(text: str, base: int) -> bool:
    try:
        int(text, base)
    except ValueError:
        return False
    return True


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "replace")
