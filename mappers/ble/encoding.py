"""What the bytes of a value mean: one field of a characteristic or an advertisement, to a value and back. Pure.

bytes   00 01 02 03 04          {type: uint24, at: 1}          bytes 01 02 03
              └─ at ─┘          {type: uint8, at: 1, bit: 4, bits: 2}     bits 4 and 5 of byte 01

Least significant byte first unless it is said to be big.
"""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mappers.ble.numbers import NoValue, medfloat, medfloat_raw, signed
from mappers.ble.rawtype import RawType
from twin.model import Value, ValueType

_FLOATS: Final = {2: "e", 4: "f", 8: "d"}
_LONGEST: Final = 8
_TEXTS: Final = (RawType.UTF8, RawType.BYTES, RawType.AUTO)
_UNSIGNED: Final = frozenset(one for one in RawType if one.startswith("uint"))


class NotDecodable(Exception):
    """The bytes are not a value of the field."""


class NotEncodable(Exception):
    """The value has no form in the field."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One field. The value is raw * multiplier / divisor; ``unknown`` are raw numbers that say that there is none."""

    type: RawType = RawType.AUTO
    at: int = 0
    length: int = 0
    """Bytes of a type of any size; 0 for all that follow."""
    big: bool = False
    bit: int | None = None
    bits: int = 1
    names: Mapping[str, bytes] = field(default_factory=dict)
    """Words for whole values: what is written for a word, and read as it."""
    multiplier: int = 1
    divisor: int = 1
    unknown: tuple[int, ...] = ()
    wider: RawType | None = None
    """The type instead if bit 0 of the first byte is set, as in a heart rate."""

    def decode(self, given: bytes, wanted: ValueType) -> Value:
        """The value in these bytes, for a property of that type. Raises NotDecodable, or NoValue if it says none."""
        at = self.at
        if self.names:
            for word, meant in self.names.items():
                if given[at : at + len(meant)] == meant:
                    return word
        kind = self.type if self.wider is None else self._kind(given)
        size = kind.size or self.length
        part = given[at : at + size] if size else given[at:]
        if len(part) < (size or (0 if kind in _TEXTS else 1)) or len(given) < at:
            message = f"{len(given)} bytes came ({_shown(given)}), {at + (size or 1)} are needed"
            raise NotDecodable(message)
        if kind is RawType.AUTO:
            return _by_property(part, wanted, big=self.big)
        return self._value(kind, part)

    def encode(self, value: Value, wanted: ValueType, held: bytes = b"") -> bytes:
        """The bytes for a value; of a part, put into what the device holds. Raises NotEncodable."""
        named = isinstance(value, str) and value in self.names
        part = self.names[str(value)] if named else self._part(value, wanted, held)
        if not self.partial:
            return part
        padded = held.ljust(self.at + len(part), b"\0")
        return padded[: self.at] + part + padded[self.at + len(part) :]

    @property
    def partial(self) -> bool:
        """Whether it is a part of what is written at once."""
        return self.at > 0 or self.bit is not None

    def _kind(self, given: bytes) -> RawType:
        return self.wider if self.wider is not None and given[:1] and given[0] & 1 else self.type

    def _value(self, kind: RawType, part: bytes) -> Value:
        if kind is RawType.BYTES:
            return base64.b64encode(part).decode("ascii")
        if kind is RawType.UTF8:
            return _read_text(part)
        raw = int.from_bytes(part, "big" if self.big else "little")
        if self.bit is not None:
            raw = raw >> self.bit & ((1 << self.bits) - 1)
        if raw in self.unknown:
            message = f"the device says that it does not know its value ({raw:#x})"
            raise NoValue(message)
        if kind in _UNSIGNED:
            return self._scaled(raw)
        if kind is RawType.BOOLEAN:
            return raw != 0
        if kind.startswith("medfloat"):
            return self._scaled(medfloat(raw, 8 * kind.size))
        if kind.startswith("float"):
            return self._scaled(struct.unpack((">" if self.big else "<") + _FLOATS[kind.size], part)[0])
        if kind.startswith("int"):
            raw = signed(raw, 8 * kind.size if self.bit is None else self.bits)
        return self._scaled(raw)

    def _scaled(self, raw: float) -> float:
        if self.divisor != 1:
            return raw * self.multiplier / self.divisor
        return raw * self.multiplier if self.multiplier != 1 else raw

    def _part(self, value: Value, wanted: ValueType, held: bytes) -> bytes:
        kind = self._kind(held)
        if kind is RawType.AUTO:
            kind = _of_property(wanted, value, self.length or len(held) - self.at)
        if kind is RawType.UTF8:
            return self._fitted(_text(value))
        if kind is RawType.BYTES:
            return self._fitted(_unpacked(value))
        if isinstance(value, bool):
            value = int(value)
        if not isinstance(value, int | float) or not math.isfinite(value):
            message = f"{value!r} is no number"
            raise NotEncodable(message)
        raw = value * self.divisor / self.multiplier if (self.divisor, self.multiplier) != (1, 1) else value
        return self._number(kind, raw, held)

    def _number(self, kind: RawType, value: float, held: bytes) -> bytes:
        size = kind.size
        try:
            if kind.startswith("float"):
                return struct.pack((">" if self.big else "<") + _FLOATS[size], value)
            raw = medfloat_raw(value, 8 * size) if kind.startswith("medfloat") else self._whole(kind, value)
        except (OverflowError, ValueError, struct.error) as error:
            message = f"{value:g} has no {kind}: {error}"
            raise NotEncodable(message) from None
        if self.bit is not None:
            before = int.from_bytes(held[self.at : self.at + size].ljust(size, b"\0"), "big" if self.big else "little")
            mask = ((1 << self.bits) - 1) << self.bit
            raw = before & ~mask | raw << self.bit & mask
        return raw.to_bytes(size, "big" if self.big else "little")

    def _whole(self, kind: RawType, value: float) -> int:
        bits = self.bits if self.bit is not None else 8 * kind.size
        lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind.startswith("int") else (0, (1 << bits) - 1)
        whole = round(value)
        if kind is RawType.BOOLEAN:
            highest = min(highest, 1)
        if not lowest <= whole <= highest:
            message = f"it takes {lowest} to {highest}"
            raise ValueError(message)
        return whole & ((1 << bits) - 1)

    def _fitted(self, part: bytes) -> bytes:
        if not self.length:
            return part
        if len(part) > self.length:
            message = f"{len(part)} bytes are too many for {self.length}"
            raise NotEncodable(message)
        return part.ljust(self.length, b"\0")


def _by_property(part: bytes, wanted: ValueType, *, big: bool) -> Value:
    """The reading of bytes of which only the property's type is known."""
    if wanted is ValueType.STRING:
        return _read_text(part)
    if wanted is ValueType.BYTES:
        return base64.b64encode(part).decode("ascii")
    if wanted is ValueType.BOOLEAN:
        return any(part)
    if wanted is ValueType.INT and 0 < len(part) <= _LONGEST:
        return int.from_bytes(part, "big" if big else "little")
    if wanted in (ValueType.FLOAT, ValueType.DOUBLE) and len(part) in _FLOATS:
        number: float = struct.unpack((">" if big else "<") + _FLOATS[len(part)], part)[0]
        return number
    message = f"{len(part)} bytes ({_shown(part)}) are no {wanted} without a type; give the visitor a type"
    raise NotDecodable(message)


def _of_property(wanted: ValueType, value: Value, size: int) -> RawType:
    """The type to write a value in of which only the property's type is known; ``size`` bytes are held now."""
    if wanted in (ValueType.STRING, ValueType.BYTES, ValueType.BOOLEAN):
        return {ValueType.STRING: RawType.UTF8, ValueType.BYTES: RawType.BYTES}.get(wanted, RawType.BOOLEAN)
    if wanted is ValueType.INT and isinstance(value, int):
        needed = size if 0 < size <= _LONGEST else max(1, (value.bit_length() + 7) // 8)
        if 0 < needed <= _LONGEST:
            return RawType(f"uint{8 * needed}")
    if wanted in (ValueType.FLOAT, ValueType.DOUBLE) and size in _FLOATS:
        return RawType(f"float{8 * size}")
    message = f"{value!r} cannot be written without a type; give the visitor a type"
    raise NotEncodable(message)


def _read_text(part: bytes) -> str:
    try:
        return part.decode("utf-8").rstrip("\0")
    except UnicodeDecodeError:
        message = f"{_shown(part)} is not UTF-8 text"
        raise NotDecodable(message) from None


def _unpacked(value: Value) -> bytes:
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        message = f"{value!r} is not base64 text"
        raise NotEncodable(message) from None


def _text(value: Value) -> bytes:
    if not isinstance(value, str):
        message = f"{value!r} is not text"
        raise NotEncodable(message)
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        message = f"{value!r} has no form in UTF-8"
        raise NotEncodable(message) from None


def _shown(part: bytes) -> str:
    return part[:16].hex(" ") + (" ..." if len(part) > 16 else "")
