"""Bytes of a Firmata line as messages, whatever their chunks. Pure.

What is no message is left out and counted; receiving never raises.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from mappers.serialgpio.firmata import (
    END,
    START,
    Analog,
    AnalogMapping,
    Capabilities,
    ExtendedAnalog,
    Firmware,
    Message,
    PinState,
    PinStateQuery,
    Ports,
    ReportAnalog,
    ReportPort,
    Reset,
    Sampling,
    SetMode,
    SetPin,
    Sysex,
    Text,
    Version,
    VersionQuery,
)

_LONGEST_BYTES: Final = 4096


class NotDecodable(ValueError):
    """A whole sysex message whose payload is none of its kind."""


class Side(Enum):
    """Who sent bytes: some mean another thing from the board than to it."""

    BOARD = "board"
    HOST = "host"


class Decoder:
    """Bytes of one side as messages. ``dropped`` counts what was none."""

    def __init__(self, side: Side) -> None:
        self.dropped = 0
        self._side = side
        self._message = bytearray()
        self._noise = False

    def feed(self, chunk: bytes) -> list[Message]:
        """Take what came; the messages that are whole now."""
        found: list[Message] = []
        for byte in chunk:
            if byte >= 0x80 and not (byte == END and self._message[:1] == b"\xf0"):
                self._abandon()
                self._message.append(byte)
            elif self._message:
                self._message.append(byte)
            else:
                self._drop()
                continue
            if self._whole():
                self._take(found)
        return found

    def _whole(self) -> bool:
        first = self._message[0]
        if first == START:
            return self._message[-1] == END or len(self._message) > _LONGEST_BYTES
        return len(self._message) == _size(first, self._side)

    def _take(self, found: list[Message]) -> None:
        message = bytes(self._message)
        self._message.clear()
        try:
            found.append(decode(message, self._side))
            self._noise = False
        except NotDecodable:
            self._drop()

    def _abandon(self) -> None:
        if self._message:
            self._message.clear()
            self._drop()

    def _drop(self) -> None:
        """Count noise, many bytes of it as one."""
        if not self._noise:
            self.dropped += 1
        self._noise = True


def decode(message: bytes, side: Side) -> Message:
    """One whole message. Raises NotDecodable."""
    if not message or message[0] < 0x80 or any(byte >= 0x80 for byte in message[1:-1]):
        text = f"{message[:16].hex(' ')} is no Firmata message"
        raise NotDecodable(text)
    if message[0] == START:
        return _sysex(message, side)
    if len(message) != _size(message[0], side) or (len(message) > 1 and message[-1] >= 0x80):
        text = f"{message[:16].hex(' ')} is no Firmata message"
        raise NotDecodable(text)
    return _short(message)


def _short(message: bytes) -> Message:
    first, low = message[0], message[0] & 0x0F
    wide = message[1] | message[2] << 7 if len(message) == 3 else 0
    match first & 0xF0:
        case 0x90:
            return Ports(low, wide)
        case 0xE0:
            return Analog(low, wide)
        case 0xC0:
            return ReportAnalog(low, bool(message[1]))
        case 0xD0:
            return ReportPort(low, bool(message[1]))
    match first:
        case 0xF4:
            return SetMode(message[1], message[2])
        case 0xF5:
            return SetPin(message[1], bool(message[2]))
        case 0xF9:
            return Version(message[1], message[2]) if len(message) == 3 else VersionQuery()
    return Reset()


def _size(first: int, side: Side) -> int:
    """Bytes of a message that begins so; 1 of those that mean nothing, too."""
    if first == 0xF9:
        return 3 if side is Side.BOARD else 1
    return _SIZES.get(first & 0xF0 if first < 0xF0 else first, 1)


_SIZES: Final = {0x90: 3, 0xE0: 3, 0xC0: 2, 0xD0: 2, 0xF4: 3, 0xF5: 3}


def _sysex(message: bytes, side: Side) -> Message:
    if len(message) < 3 or message[-1] != END:
        text = f"{message[:16].hex(' ')} is no whole sysex message"
        raise NotDecodable(text)
    command, payload = message[1], message[2:-1]
    read = _READ.get(command)
    if read is None or (not payload and side is Side.HOST):
        return Sysex(command, payload)
    return read(payload)


def _read_capabilities(payload: bytes) -> Capabilities:
    if payload[-1:] not in (b"", b"\x7f"):
        message = "the capabilities of the last pin have no end"
        raise NotDecodable(message)
    pins = []
    at = 0
    while at < len(payload):
        modes: dict[int, int] = {}
        while payload[at] != 0x7F:
            if at + 2 >= len(payload):
                message = "a capability has no resolution"
                raise NotDecodable(message)
            modes[payload[at]] = payload[at + 1]
            at += 2
        pins.append(modes)
        at += 1
    return Capabilities(tuple(pins))


def _read_firmware(payload: bytes) -> Firmware:
    if len(payload) < 2:
        message = "a firmware report without a version"
        raise NotDecodable(message)
    return Firmware(payload[0], payload[1], _pairs_text(payload[2:]))


def _read_pin_state(payload: bytes) -> PinState | PinStateQuery:
    if len(payload) < 3:
        message = "a pin state without pin, mode and state"
        raise NotDecodable(message)
    return PinState(payload[0], payload[1], _number(payload[2:]))


def _read_pin_query(payload: bytes) -> PinStateQuery:
    if len(payload) != 1:
        message = "a pin state query is for one pin"
        raise NotDecodable(message)
    return PinStateQuery(payload[0])


def _read_extended(payload: bytes) -> ExtendedAnalog:
    if len(payload) < 2:
        message = "an extended analog value without pin and value"
        raise NotDecodable(message)
    return ExtendedAnalog(payload[0], _number(payload[1:]))


def _read_sampling(payload: bytes) -> Sampling:
    if len(payload) != 2:
        message = "a sampling interval has two bytes"
        raise NotDecodable(message)
    return Sampling(_number(payload))


_READ: Final[dict[int, Callable[[bytes], Message]]] = {
    0x6A: lambda payload: AnalogMapping(tuple(None if one == 127 else one for one in payload)),
    0x6C: _read_capabilities,
    0x6D: _read_pin_query,
    0x6E: _read_pin_state,
    0x6F: _read_extended,
    0x71: lambda payload: Text(_pairs_text(payload)),
    0x79: _read_firmware,
    0x7A: _read_sampling,
}


def _number(sevens: bytes) -> int:
    return sum(one << 7 * at for at, one in enumerate(sevens))


def _pairs_text(pairs: bytes) -> str:
    own = bytes((low | high << 7) & 0xFF for low, high in zip(pairs[::2], pairs[1::2], strict=False))
    return own.decode("utf-8", "replace")
