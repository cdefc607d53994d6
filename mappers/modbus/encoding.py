"""How a value lies in registers: its type, its size, and the order of bytes and words."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class RawType(StrEnum):
    """Types a value can have in registers; BOOL is a coil, one bit of a register, or a register that is not 0."""

    BOOL = "bool"
    UINT16 = "uint16"
    INT16 = "int16"
    UINT32 = "uint32"
    INT32 = "int32"
    UINT64 = "uint64"
    INT64 = "int64"
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    STRING = "string"
    BCD16 = "bcd16"
    BCD32 = "bcd32"
    BCD64 = "bcd64"


class Order(StrEnum):
    """Which half comes first, of the bytes in a register or of the registers in a value."""

    BIG = "big"
    LITTLE = "little"


WORD_BITS: Final = 16

REGISTERS: Final[dict[RawType, int]] = {
    RawType.BOOL: 1,
    RawType.UINT16: 1,
    RawType.INT16: 1,
    RawType.FLOAT16: 1,
    RawType.BCD16: 1,
    RawType.UINT32: 2,
    RawType.INT32: 2,
    RawType.FLOAT32: 2,
    RawType.BCD32: 2,
    RawType.UINT64: 4,
    RawType.INT64: 4,
    RawType.FLOAT64: 4,
    RawType.BCD64: 4,
}
"""Registers that a value of the type fills; a string says its own length."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """Type, length in registers and orders of one value.

    ``bit`` picks one bit of a register, 0 the lowest; with ``bits`` a field of so many from there on.

    For the value 0x11223344 the registers hold, by (byte order, word order):

        big, big        11 22  33 44    the Modbus way
        little, big     22 11  44 33
        big, little     33 44  11 22
        little, little  44 33  22 11
    """

    type: RawType
    registers: int
    byte_order: Order = Order.BIG
    word_order: Order = Order.BIG
    bit: int | None = None
    bits: int | None = None

    @property
    def mask(self) -> int:
        """The bits of the register that are the value's."""
        return (1 << (self.bits or 1)) - 1 << self.bit if self.bit is not None else (1 << WORD_BITS) - 1

    @property
    def sent_mask(self) -> int:
        """The same in the register as sent."""
        return self.mask if self.byte_order is Order.BIG else (self.mask << 8 | self.mask >> 8) & 0xFFFF

    @classmethod
    def of(cls, raw_type: RawType, byte_order: Order = Order.BIG, word_order: Order = Order.BIG) -> Encoding:
        """Return the encoding of a type that has a size of its own, so not of a string."""
        return cls(raw_type, REGISTERS[raw_type], byte_order, word_order)

    def byte_positions(self) -> tuple[int, ...]:
        """Positions of the value's bytes in the registers as sent, most significant first."""
        words = range(self.registers) if self.word_order is Order.BIG else range(self.registers - 1, -1, -1)
        first, second = (0, 1) if self.byte_order is Order.BIG else (1, 0)
        return tuple(2 * word + half for word in words for half in (first, second))
