"""Values from the bytes of a block of registers, and back; pure.

A block is compiled once and then decoded in three steps of C code, whatever the mix of types and orders:

    bytes as sent ──gather──> big-endian bytes, grouped ──one unpack──> values ──zip──> by name
                              numbers │ floats │ rest              (the rest: bits, fields, BCD, strings, one by one)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from mappers.modbus.encoding import Encoding, RawType
from mappers.sdk import Fault, Readings, Reason, Value

MAX_REGISTERS: Final = 125
"""Registers in one answer: its byte count is one byte."""


class Undecodable(ValueError):
    """Registers that hold no value of the type."""


class NotEncodable(ValueError):
    """A value that the type cannot hold."""


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a block: its name, its first register counted from the block's start, and its encoding."""

    name: str
    start: int
    encoding: Encoding


class Block:
    """A compiled block of at most 125 registers; its fields may leave gaps and overlap."""

    __slots__ = ("_finishers", "_first_float", "_gather", "_names", "_struct", "registers")

    def __init__(self, fields: Sequence[Field], registers: int) -> None:
        """Compile the fields. Raises ValueError when one does not fit the block."""
        if not 0 < registers <= MAX_REGISTERS:
            message = f"a block has 1 to {MAX_REGISTERS} registers, not {registers}"
            raise ValueError(message)
        for field in fields:
            if field.start < 0 or field.start + field.encoding.registers > registers:
                message = f"{field.name} does not fit into a block of {registers} registers"
                raise ValueError(message)
        ordered = sorted(fields, key=_group)
        self.registers = registers
        self._names = tuple(field.name for field in ordered if _group(field) < _REST)
        self._first_float = sum(_group(field) == _NUMBERS for field in ordered)
        self._finishers = tuple((field.name, _finisher(field.encoding)) for field in ordered if _group(field) == _REST)
        self._struct = struct.Struct(">" + "".join(_format(field.encoding) for field in ordered))
        gather = bytes(2 * field.start + at for field in ordered for at in field.encoding.byte_positions())
        self._gather = None if gather == bytes(range(2 * registers)) else gather

    def decode_into(self, raw: bytes, readings: Readings) -> None:
        """Add value or fault of each field. raw: the registers as sent, two bytes each."""
        if self._gather is not None:
            # translate() replaces each position by the byte that stands there: one pass in C.
            raw = self._gather.translate(raw.ljust(256, b"\0"))
        found = self._struct.unpack(raw)
        names, values = self._names, readings.values
        values.update(zip(names, found, strict=False))
        # One sum tells whether any float is not finite; it may also overflow, then the loop finds nothing.
        if self._first_float < len(names) and not isfinite(sum(found[self._first_float : len(names)])):
            for name in names[self._first_float :]:
                number = values[name]
                if isinstance(number, float) and not isfinite(number):
                    del values[name]
                    readings.faults[name] = Fault(Reason.DECODE_ERROR, f"{name} holds {number}, not a number")
        for (name, finish), rest in zip(self._finishers, found[len(names) :], strict=True):
            try:
                values[name] = finish(rest)
            except Undecodable as error:
                readings.faults[name] = Fault(Reason.DECODE_ERROR, f"{name} {error}")


def decode(words: Sequence[int], encoding: Encoding) -> Value:
    """Decode one value. words: 16-bit registers as sent. Raises Undecodable."""
    readings = Readings()
    block = Block([Field("value", 0, encoding)], encoding.registers)
    block.decode_into(struct.pack(f">{len(words)}H", *words), readings)
    if fault := readings.faults.get("value"):
        raise Undecodable(fault.text)
    return readings.values["value"]


def encode(value: Value, encoding: Encoding) -> list[int]:
    """Encode one value as 16-bit registers as sent, the inverse of decode. Raises NotEncodable.

    Of an encoding with a ``bit`` only its bits are set; the caller keeps the others.
    """
    big_endian = _packed(value, encoding)
    sent = bytearray(len(big_endian))
    for byte, at in zip(big_endian, encoding.byte_positions(), strict=True):
        sent[at] = byte
    return list(struct.unpack(f">{encoding.registers}H", sent))


_NUMBERS, _FLOATS, _REST = range(3)

_FORMATS: Final = {
    RawType.BOOL: "H",
    RawType.UINT16: "H",
    RawType.INT16: "h",
    RawType.UINT32: "I",
    RawType.INT32: "i",
    RawType.UINT64: "Q",
    RawType.INT64: "q",
    RawType.FLOAT16: "e",
    RawType.FLOAT32: "f",
    RawType.FLOAT64: "d",
    RawType.BCD16: "H",
    RawType.BCD32: "I",
    RawType.BCD64: "Q",
}
_FLOAT_TYPES: Final = frozenset({RawType.FLOAT16, RawType.FLOAT32, RawType.FLOAT64})
_BCD_TYPES: Final = frozenset({RawType.BCD16, RawType.BCD32, RawType.BCD64})
_REST_TYPES: Final = _BCD_TYPES | {RawType.BOOL, RawType.STRING}


def _group(field: Field) -> int:
    if field.encoding.type in _FLOAT_TYPES:
        return _FLOATS
    is_rest = field.encoding.type in _REST_TYPES or field.encoding.bits is not None
    return _REST if is_rest else _NUMBERS


def _format(encoding: Encoding) -> str:
    return _FORMATS.get(encoding.type) or f"{2 * encoding.registers}s"


def _finisher(encoding: Encoding) -> Callable[[Any], Value]:
    """Return what makes the value out of the unpacked integer, or bytes of a string."""
    if encoding.type is RawType.STRING:
        return _text
    if encoding.type in _BCD_TYPES:
        return _bcd
    if encoding.bit is None:
        return bool
    mask, lowest = encoding.mask, encoding.bit
    if encoding.bits is not None:
        return lambda word: (word & mask) >> lowest
    return lambda word: word & mask != 0


def _text(raw: bytes) -> str:
    try:
        return raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        message = f"holds bytes that are not UTF-8 text: {raw.hex()}"
        raise Undecodable(message) from None


def _bcd(number: int) -> int:
    """Read the hexadecimal digits as decimal ones."""
    try:
        return int(f"{number:x}")
    except ValueError:
        message = f"holds 0x{number:x}, which has a digit over 9 and so is not BCD"
        raise Undecodable(message) from None


def _packed(value: Value, encoding: Encoding) -> bytes:
    """Encode most significant byte first."""
    raw_type = encoding.type
    if raw_type is RawType.STRING:
        return _packed_text(value, encoding)
    if raw_type is RawType.BOOL:
        return struct.pack(">H", _bit(value) << (encoding.bit or 0))
    if raw_type in _FLOAT_TYPES:
        return _packed_float(value, raw_type)
    number = _whole(value, raw_type)
    if encoding.bits is not None and encoding.bit is not None:
        _in_range(number, 0, (1 << encoding.bits) - 1, f"a field of {encoding.bits} bits")
        return struct.pack(">H", number << encoding.bit)
    if raw_type in _BCD_TYPES:
        _in_range(number, 0, 10 ** (4 * encoding.registers) - 1, raw_type)
        return int(str(number), 16).to_bytes(2 * encoding.registers, "big")
    bits = 16 * encoding.registers
    low, high = (0, 2**bits - 1) if raw_type.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    _in_range(number, low, high, raw_type)
    return struct.pack(">" + _FORMATS[raw_type], number)


def _packed_text(value: Value, encoding: Encoding) -> bytes:
    if not isinstance(value, str):
        raise _wrong(value, "text")
    try:
        raw = value.encode()
    except UnicodeEncodeError:
        raise _wrong(value, "text that UTF-8 can hold") from None
    room = 2 * encoding.registers
    if len(raw) > room or raw.endswith(b"\0"):
        raise _wrong(value, f"text of at most {room} bytes that does not end with NUL")
    return raw.ljust(room, b"\0")


def _packed_float(value: Value, raw_type: RawType) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, f"a number for {raw_type}")
    try:
        number = float(value)
        if isfinite(number):
            return struct.pack(">" + _FORMATS[raw_type], number)
    except OverflowError:
        pass
    raise _wrong(value, f"a finite number in the range of {raw_type}")


def _bit(value: Value) -> int:
    if isinstance(value, bool | int | float) and value in (0, 1):
        return int(value)
    raise _wrong(value, "true or false")


def _whole(value: Value, raw_type: RawType) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise _wrong(value, f"a whole number for {raw_type}")


def _in_range(number: int, low: int, high: int, what: str) -> None:
    if not low <= number <= high:
        raise _wrong(number, f"in the range of {what}, {low} to {high}")


def _wrong(value: object, wanted: str) -> NotEncodable:
    return NotEncodable(f"{value!r} is not {wanted}")
