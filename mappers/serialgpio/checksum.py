"""Checksums of serial protocols: sums, and cyclic redundancy checks by their catalogued parameters. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, reduce
from operator import xor
from typing import Final


class Checksum(StrEnum):
    """Which check follows a payload."""

    NONE = "none"
    SUM8 = "sum8"  # the low byte of the sum
    XOR8 = "xor8"
    LRC = "lrc"  # what makes the sum zero
    CRC8 = "crc8"
    CRC8_MAXIM = "crc8-maxim"
    CRC16_MODBUS = "crc16-modbus"
    CRC16_CCITT = "crc16-ccitt"  # begins at FFFF
    CRC16_XMODEM = "crc16-xmodem"  # begins at 0
    CRC32 = "crc32"

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        if self is Checksum.NONE:
            return 0
        return _MODELS[self].width // 8 if self in _MODELS else 1

    @property
    def little(self) -> bool:
        """Whether its low byte usually comes first."""
        return self is Checksum.CRC16_MODBUS


def checksum(kind: Checksum, given: bytes) -> int:
    """The check of these bytes; 0 of none."""
    if kind in _MODELS:
        return _crc(_MODELS[kind], given)
    return _SUMS[kind](given)


@dataclass(frozen=True, slots=True)
class _Model:
    """Parameters as catalogues of CRCs name them; ``reflected`` is for input and output."""

    width: int
    polynomial: int
    initial: int = 0
    reflected: bool = False
    final: int = 0


_SUMS: Final[dict[Checksum, Callable[[bytes], int]]] = {
    Checksum.NONE: lambda _: 0,
    Checksum.SUM8: lambda given: sum(given) & 0xFF,
    Checksum.XOR8: lambda given: reduce(xor, given, 0),
    Checksum.LRC: lambda given: -sum(given) & 0xFF,
}
_MODELS: Final = {
    Checksum.CRC8: _Model(8, 0x07),
    Checksum.CRC8_MAXIM: _Model(8, 0x31, reflected=True),
    Checksum.CRC16_MODBUS: _Model(16, 0x8005, 0xFFFF, reflected=True),
    Checksum.CRC16_CCITT: _Model(16, 0x1021, 0xFFFF),
    Checksum.CRC16_XMODEM: _Model(16, 0x1021),
    Checksum.CRC32: _Model(32, 0x04C11DB7, 0xFFFFFFFF, reflected=True, final=0xFFFFFFFF),
}


def _crc(model: _Model, given: bytes) -> int:
    table = _table(model)
    crc = model.initial  # all ones or zero, so the same reflected
    if model.reflected:
        for byte in given:
            crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    else:
        for byte in given:
            crc = crc << 8 & (1 << model.width) - 1 ^ table[crc >> model.width - 8 ^ byte]
    return crc ^ model.final


@cache
def _table(model: _Model) -> tuple[int, ...]:
    """What each byte does to the check."""
    top = 1 << model.width - 1
    mask = 2 * top - 1
    if model.reflected:
        reversed_ = int(f"{model.polynomial:0{model.width}b}"[::-1], 2)
        return tuple(
            reduce(lambda crc, _: crc >> 1 ^ reversed_ if crc & 1 else crc >> 1, range(8), byte) for byte in range(256)
        )
    return tuple(
        reduce(
            lambda crc, _: (crc << 1 ^ model.polynomial if crc & top else crc << 1) & mask,
            range(8),
            byte << model.width - 8,
        )
        for byte in range(256)
    )
