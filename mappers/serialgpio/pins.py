"""A line as a pin of a Firmata board: which pin, whether it can do what is asked, and raw values as counts. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mappers.sdk import Fault, Reason, Value
from mappers.serialgpio.firmata import (
    Analog,
    AnalogMapping,
    Capabilities,
    ExtendedAnalog,
    Message,
    Mode,
    SetPin,
)
from mappers.serialgpio.point import Bias, Kind, SerialgpioPoint

_LINE: Final = re.compile(r"(?:D?(\d{1,3})|A(\d{1,2}))")
_SERVO_DEGREES: Final = 180
_CHANNELS: Final = 16
"""What a short analog message can name."""


class NotEncodable(ValueError):
    """The value cannot be written to such a pin."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A pin in its mode. ``channel`` is of analog ones, ``full`` the count of the whole scale."""

    number: int
    mode: Mode
    full: int = 1
    channel: int | None = None

    @property
    def port(self) -> int:
        """The port whose reports have it."""
        return self.number // 8

    def high(self, mask: int) -> bool:
        """Its level in its port's mask."""
        return bool(mask >> self.number % 8 & 1)

    def raw(self, count: int) -> float:
        """A count as a part of the whole, or the degrees of a servo."""
        return float(count) if self.mode is Mode.SERVO else min(1.0, count / self.full)

    def count(self, value: Value) -> int:
        """The count for a part of the whole, or degrees. Raises NotEncodable."""
        most = _SERVO_DEGREES if self.mode is Mode.SERVO else 1
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            message = f"{value!r} is not a number from 0 to {most}"
            raise NotEncodable(message)
        return round(value if self.mode is Mode.SERVO else value * self.full)

    def set_to(self, count: int) -> Message:
        """What sets an output to a count."""
        if self.mode is Mode.OUTPUT:
            return SetPin(self.number, bool(count))
        if self.number < _CHANNELS and count < 1 << 14:
            return Analog(self.number, count)
        return ExtendedAnalog(self.number, count)


def wanted_mode(address: SerialgpioPoint) -> Mode:
    """The mode that a line needs."""
    if address.kind is Kind.DIGITAL:
        if address.output:
            return Mode.OUTPUT
        return Mode.PULLUP if address.bias is Bias.PULL_UP else Mode.INPUT
    return {Kind.ANALOG: Mode.ANALOG, Kind.PWM: Mode.PWM, Kind.SERVO: Mode.SERVO}[address.kind]


def unusable(address: SerialgpioPoint) -> str:
    """Why no Firmata board can have such a line; empty if one may."""
    if not address.line:
        return "a Firmata board has lines, no messages; for example line: 13"
    if not _LINE.fullmatch(address.line):
        return f"line {address.line!r} is no pin of a Firmata board; for example line: 13, or line: A0"
    if address.bias is Bias.PULL_DOWN:
        return "Firmata knows no pull-down; use bias: pullUp with activeLow, or a resistor"
    return ""


def pin_of(address: SerialgpioPoint, board: Capabilities, mapping: AnalogMapping) -> Pin | Fault:
    """The pin that a line means on this board, or why it has none."""
    found = _LINE.fullmatch(address.line)
    if found is None:
        return Fault(Reason.CONFIG_ERROR, unusable(address))
    mode = wanted_mode(address)
    if found[2] is not None:
        channel = int(found[2])
        if channel not in mapping.channels:
            return Fault(Reason.ILLEGAL_ADDRESS, f"the board has no analog channel {channel}")
        number = mapping.channels.index(channel)
    else:
        number = int(found[1])
    if number >= len(board.pins):
        return Fault(Reason.ILLEGAL_ADDRESS, f"the board has pins 0 to {len(board.pins) - 1}, not {number}")
    modes = board.pins[number]
    own = mapping.channels[number] if number < len(mapping.channels) else None
    if mode not in modes and not (mode is Mode.PULLUP and Mode.INPUT in modes):
        can = ", ".join(Mode(one).name.lower() for one in modes if one in tuple(Mode)) or "nothing"
        return Fault(Reason.ILLEGAL_ADDRESS, f"pin {number} of the board cannot be {mode.name.lower()}, only {can}")
    if mode is Mode.ANALOG and own is None:
        return Fault(Reason.ILLEGAL_ADDRESS, f"pin {number} of the board has no analog channel")
    full = (1 << modes.get(mode, 1)) - 1 if mode in (Mode.ANALOG, Mode.PWM) else 1
    return Pin(number, mode, full, own if mode is Mode.ANALOG else None)
