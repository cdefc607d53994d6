"""A Firmata board without hardware: what StandardFirmata 2.5 on an Uno does, as a function of bytes. Pure.

For tests, demonstrations and the bench; ``mappers.serialgpio.virtual_line`` puts it behind a pty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mappers.serialgpio.firmata import (
    CAPABILITY_QUERY,
    FIRMWARE_QUERY,
    MAPPING_QUERY,
    Analog,
    AnalogMapping,
    Capabilities,
    ExtendedAnalog,
    Firmware,
    Message,
    Mode,
    PinState,
    PinStateQuery,
    Ports,
    ReportAnalog,
    ReportPort,
    Reset,
    Sampling,
    SetMode,
    SetPin,
    Text,
    Version,
    VersionQuery,
)
from mappers.serialgpio.firmata_decoder import Decoder, Side

_IO: Final[dict[int, int]] = {Mode.INPUT: 1, Mode.PULLUP: 1, Mode.OUTPUT: 1}
_PWM: Final = frozenset({3, 5, 6, 9, 10, 11})
_FIRST_ANALOG: Final = 14


def uno_pins() -> tuple[Mapping[int, int], ...]:
    """What the twenty pins of an Uno can do; its line has 0 and 1."""
    pins: list[Mapping[int, int]] = []
    for number in range(20):
        modes: dict[int, int] = {} if number < 2 else {**_IO, Mode.SERVO: 14}
        if number in _PWM:
            modes[Mode.PWM] = 8
        if number >= _FIRST_ANALOG:
            modes = {**_IO, Mode.ANALOG: 10}
        pins.append(modes)
    return tuple(pins)


@dataclass(slots=True)
class _PinNow:
    mode: int
    state: int = 0


@dataclass(slots=True)
class VirtualBoard:
    """``levels`` are what is wired to pins, ``voltages`` to analog channels; ``wire`` and ``volt`` set them."""

    pins: tuple[Mapping[int, int], ...] = field(default_factory=uno_pins)
    version: Version = field(default_factory=lambda: Version(2, 5))
    name: str = "StandardFirmata.ino"
    levels: dict[int, bool] = field(default_factory=dict)
    voltages: dict[int, int] = field(default_factory=dict)
    sampling_ms: int = 19
    now: list[_PinNow] = field(init=False)
    _decoder: Decoder = field(init=False)
    _ports: set[int] = field(default_factory=set)
    _channels: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._begin()

    def boot(self) -> bytes:
        """Begin anew; what it says then."""
        self._begin()
        return self.version.wire() + self._firmware().wire()

    def received(self, chunk: bytes) -> bytes:
        """Take bytes of the host; what it answers."""
        return b"".join(answer.wire() for one in self._decoder.feed(chunk) for answer in self._answers(one))

    def wire(self, pin: int, level: bool) -> bytes:
        """Change what is wired to a pin; what it says then."""
        self.levels[pin] = level
        return self._port(pin // 8).wire() if pin // 8 in self._ports else b""

    def volt(self, channel: int, count: int) -> None:
        """Change what is wired to an analog channel; it says so with its next sample."""
        self.voltages[channel] = count

    def sampled(self) -> bytes:
        """What it says each sampling interval."""
        return b"".join(self._analog(channel).wire() for channel in sorted(self._channels))

    def _begin(self) -> None:
        self.now = [_PinNow(Mode.ANALOG if Mode.ANALOG in modes else Mode.OUTPUT) for modes in self.pins]
        self._decoder = Decoder(Side.HOST)
        self._ports = set()
        self._channels = set()
        self.sampling_ms = 19

    def _answers(self, message: Message) -> list[Message]:
        asked = self._asked(message)
        if asked is None:
            asked = self._told(message)
        return asked

    def _asked(self, message: Message) -> list[Message] | None:
        """The answers to a question; None if it is none."""
        if message == FIRMWARE_QUERY:
            return [self._firmware()]
        if message == CAPABILITY_QUERY:
            return [Capabilities(self.pins)]
        if message == MAPPING_QUERY:
            return [self._mapping()]
        match message:
            case VersionQuery():
                return [self.version]
            case PinStateQuery(pin):
                return [PinState(pin, self.now[pin].mode, self.now[pin].state)] if pin < len(self.pins) else []
            case ReportPort(port, on):
                (self._ports.add if on else self._ports.discard)(port)
                return [self._port(port)] if on else []
            case ReportAnalog(channel, on):
                (self._channels.add if on else self._channels.discard)(channel)
                return [self._analog(channel)] if on else []
        return None

    def _told(self, message: Message) -> list[Message]:
        """Do what a message says."""
        match message:
            case SetMode(pin, mode):
                if pin >= len(self.pins) or mode not in self.pins[pin]:
                    return [Text("Unknown pin mode")]
                self.now[pin] = _PinNow(mode, int(mode == Mode.PULLUP))
            case SetPin(pin, high):
                self._set(pin, int(high))
            case Ports(port, mask):
                for pin in range(8 * port, min(8 * port + 8, len(self.pins))):
                    self._set(pin, mask >> pin % 8 & 1)
            case Analog(pin, count) | ExtendedAnalog(pin, count):
                if pin < len(self.pins) and self.now[pin].mode in (Mode.PWM, Mode.SERVO):
                    self.now[pin].state = count
            case Sampling(interval_ms):
                self.sampling_ms = max(1, interval_ms)
            case Reset():
                self._begin()
        return []

    def _set(self, pin: int, level: int) -> None:
        """A level; of an input its pull-up."""
        if pin < len(self.pins) and self.now[pin].mode in (Mode.OUTPUT, Mode.INPUT):
            self.now[pin].state = level

    def _firmware(self) -> Firmware:
        return Firmware(self.version.major, self.version.minor, self.name)

    def _mapping(self) -> AnalogMapping:
        channels = [pin for pin, modes in enumerate(self.pins) if Mode.ANALOG in modes]
        return AnalogMapping(tuple(channels.index(pin) if pin in channels else None for pin in range(len(self.pins))))

    def _analog(self, channel: int) -> Analog:
        return Analog(channel, self.voltages.get(channel, 0))

    def _port(self, port: int) -> Ports:
        """Levels of a port's inputs, as StandardFirmata tells no others."""
        mask = 0
        for pin in range(8 * port, min(8 * port + 8, len(self.pins))):
            now = self.now[pin]
            if now.mode in (Mode.INPUT, Mode.PULLUP) and self.levels.get(pin, bool(now.state)):
                mask |= 1 << pin % 8
        return Ports(port, mask)
