"""Firmata 2.5: what a board with pins and its host say to each other (github.com/firmata/protocol). Pure.

E0 + channel  value            analog value, 14 bits as 7 + 7
90 + port     mask             levels of eight pins
C0 + channel  on               have an analog channel told
D0 + port     on               have the changes of a port told
F4 pin mode,  F5 pin level,  F9 [major minor],  FF
F0 command payload F7          sysex: the rest; all bytes within are below 80
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Protocol

START: Final = 0xF0
END: Final = 0xF7


class Mode(IntEnum):
    """What a pin does. A board may have others."""

    INPUT = 0
    OUTPUT = 1
    ANALOG = 2
    PWM = 3
    SERVO = 4
    PULLUP = 11


class Message(Protocol):
    """Anything that is sent."""

    def wire(self) -> bytes:
        """Its bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Levels of the eight pins of a port, pin 0 in bit 0."""

    port: int
    mask: int

    def wire(self) -> bytes:
        """Three bytes."""
        return bytes((0x90 | self.port, self.mask & 0x7F, self.mask >> 7 & 0x7F))


@dataclass(frozen=True, slots=True)
class Analog:
    """Value of an analog channel, or, to a board, of a PWM or servo pin; 14 bits."""

    channel: int
    value: int

    def wire(self) -> bytes:
        """Three bytes."""
        return bytes((0xE0 | self.channel, self.value & 0x7F, self.value >> 7 & 0x7F))


@dataclass(frozen=True, slots=True)
class ReportAnalog:
    """Have an analog channel told from now on, or no more."""

    channel: int
    on: bool

    def wire(self) -> bytes:
        """Two bytes."""
        return bytes((0xC0 | self.channel, self.on))


@dataclass(frozen=True, slots=True)
class ReportPort:
    """Have a port told now and at every change, or no more."""

    port: int
    on: bool

    def wire(self) -> bytes:
        """Two bytes."""
        return bytes((0xD0 | self.port, self.on))


@dataclass(frozen=True, slots=True)
class SetMode:
    """What a pin is to do; an int for modes that this module does not know."""

    pin: int
    mode: int

    def wire(self) -> bytes:
        """Three bytes."""
        return bytes((0xF4, self.pin, self.mode))


@dataclass(frozen=True, slots=True)
class SetPin:
    """Level of one output; known to boards since 2.5."""

    pin: int
    high: bool

    def wire(self) -> bytes:
        """Three bytes."""
        return bytes((0xF5, self.pin, self.high))


@dataclass(frozen=True, slots=True)
class VersionQuery:
    """Ask for the version of the protocol."""

    def wire(self) -> bytes:
        """One byte."""
        return b"\xf9"


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Of the protocol."""

    major: int
    minor: int

    def wire(self) -> bytes:
        """Three bytes."""
        return bytes((0xF9, self.major, self.minor))


@dataclass(frozen=True, slots=True)
class Reset:
    """Have a board begin anew, all pins as after power-on."""

    def wire(self) -> bytes:
        """One byte."""
        return b"\xff"


@dataclass(frozen=True, slots=True)
class Sysex:
    """Any other command with a payload of bytes below 80."""

    command: int
    payload: bytes = b""

    def wire(self) -> bytes:
        """Between F0 and F7."""
        return bytes((START, self.command)) + self.payload + bytes((END,))


FIRMWARE_QUERY: Final = Sysex(0x79)
CAPABILITY_QUERY: Final = Sysex(0x6B)
MAPPING_QUERY: Final = Sysex(0x69)


@dataclass(frozen=True, slots=True)
class Firmware:
    """Name and version of the sketch; boards also send it when they start."""

    major: int
    minor: int
    name: str

    def wire(self) -> bytes:
        """Sysex 79."""
        return Sysex(0x79, bytes((self.major, self.minor)) + _text_pairs(self.name)).wire()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """For each pin its modes, and the bits of each."""

    pins: tuple[Mapping[int, int], ...]

    def wire(self) -> bytes:
        """Sysex 6C."""
        listed = b"".join(bytes(one for pair in pin.items() for one in pair) + b"\x7f" for pin in self.pins)
        return Sysex(0x6C, listed).wire()


@dataclass(frozen=True, slots=True)
class AnalogMapping:
    """For each pin its analog channel, or None."""

    channels: tuple[int | None, ...]

    def wire(self) -> bytes:
        """Sysex 6A."""
        return Sysex(0x6A, bytes(127 if one is None else one for one in self.channels)).wire()


@dataclass(frozen=True, slots=True)
class PinStateQuery:
    """Ask what a pin does and what was written to it."""

    pin: int

    def wire(self) -> bytes:
        """Sysex 6D."""
        return Sysex(0x6D, bytes((self.pin,))).wire()


@dataclass(frozen=True, slots=True)
class PinState:
    """What a pin does, and what was written to it; of inputs, whether they are pulled up."""

    pin: int
    mode: int
    state: int

    def wire(self) -> bytes:
        """Sysex 6E."""
        return Sysex(0x6E, bytes((self.pin, self.mode)) + _sevens(self.state)).wire()


@dataclass(frozen=True, slots=True)
class ExtendedAnalog:
    """Value of any pin, of any number of bits."""

    pin: int
    value: int

    def wire(self) -> bytes:
        """Sysex 6F."""
        return Sysex(0x6F, bytes((self.pin,)) + _sevens(self.value, 2)).wire()


@dataclass(frozen=True, slots=True)
class Text:
    """Words of a board for people, mostly of an error."""

    text: str

    def wire(self) -> bytes:
        """Sysex 71."""
        return Sysex(0x71, _text_pairs(self.text)).wire()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How often analog channels are told."""

    interval_ms: int

    def wire(self) -> bytes:
        """Sysex 7A."""
        return Sysex(0x7A, bytes((self.interval_ms & 0x7F, self.interval_ms >> 7 & 0x7F))).wire()


def _sevens(number: int, least: int = 1) -> bytes:
    size = max(least, -(-number.bit_length() // 7))
    return bytes(number >> 7 * at & 0x7F for at in range(size))


def _text_pairs(text: str) -> bytes:
    """Two bytes for each of the text's own bytes."""
    return b"".join(bytes((one & 0x7F, one >> 7)) for one in text.encode())
