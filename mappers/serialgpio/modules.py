"""Common modules on serial lines: their framing, and each line of theirs as messages. Pure.

numato        gpio read 0 -> echo, 1, >      gpio set 0, gpio clear 0, adc read 0          numato.com
numato-relay  relay read 0 -> echo, on, >    relay on 0, relay off 0                        numato.com
dcon          $016 -> !(out)(in)00           #011201 -> >         #010 -> >+01.234          ADAM-4000, I-7000
kmtronic-N    FF 01 03 -> FF 01 01 (N 1, 2), FF 09 00 -> N bytes (N 4, 8)    FF 01 01       kmtronic.com
lcus          A0 01 01 A2                    cannot be read                                 relays with a CH340
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mappers.serialgpio.checksum import Checksum
from mappers.serialgpio.exchange import Exchange, switch
from mappers.serialgpio.field import Field, FieldType
from mappers.serialgpio.framing_config import Framing, FramingConfig
from mappers.serialgpio.point import Bias, Kind, SerialgpioPoint


class Module(StrEnum):
    """Which module."""

    NUMATO = "numato"
    NUMATO_RELAY = "numato-relay"
    DCON = "dcon"
    KMTRONIC_2 = "kmtronic-2"
    KMTRONIC_4 = "kmtronic-4"
    KMTRONIC_8 = "kmtronic-8"
    LCUS = "lcus"


class NotOffered(ValueError):
    """The module has no such line, or cannot use it so."""


@dataclass(frozen=True, slots=True)
class Template:
    """One kind of module. ``exchange`` takes a point and the device's unit, and raises NotOffered."""

    framing: FramingConfig
    exchange: Callable[[SerialgpioPoint, str], Exchange]
    kinds: frozenset[Kind]
    outputs: bool = True
    inputs: bool = True


def module_exchange(module: Module, address: SerialgpioPoint, unit: str) -> Exchange:
    """A line of a module as messages. Raises NotOffered."""
    template = TEMPLATES[module]
    offered = " and ".join(sorted(template.kinds))
    for wrong, text in (
        (not address.line, "a point of a module has a line; for example line: 0"),
        (address.kind not in template.kinds, f"{module} has {offered} lines, not {address.kind}; use another kind"),
        (address.output and not template.outputs, f"{module} has no outputs; leave direction out"),
        (not address.output and not template.inputs, f"{module} has only outputs; add direction: output"),
        (address.bias is not Bias.NONE, f"{module} has no bias to set; leave bias out"),
    ):
        if wrong:
            raise NotOffered(text)
    return template.exchange(address, unit)


def _numato(address: SerialgpioPoint, _: str) -> Exchange:
    line = _one_of(address.line, r"[0-9A-V]|\d{2,3}", "0 to 9, A to V, or 3 digits")
    if address.kind is Kind.ANALOG:
        field = Field(match=_echoed(f"adc read {line}", r"(\d+)"), full=1023)
        return Exchange(f"adc read {line}".encode(), field)
    if address.output:  # reading one would make it an input
        on, off = f"gpio set {line}", f"gpio clear {line}"
        confirm = re.compile(rf"(?i)gpio (?:set|clear) {line}\s*$")
        return Exchange(write=switch(on, off, inverted=address.active_low), confirm=confirm)
    field = Field(match=_echoed(f"gpio read {line}", "([01])"))
    return Exchange(f"gpio read {line}".encode(), field, inverted=address.active_low)


def _numato_relay(address: SerialgpioPoint, _: str) -> Exchange:
    line = _one_of(address.line, r"[0-9A-V]|\d{2,3}", "0 to 9, A to V, or 3 digits")
    on, off = f"relay on {line}", f"relay off {line}"
    return Exchange(
        f"relay read {line}".encode(),
        Field(match=_echoed(f"relay read {line}", "(on|off)")),
        switch(on, off, inverted=address.active_low),
        re.compile(rf"(?i)relay (?:on|off) {line}\s*$"),
        inverted=address.active_low,
    )


def _dcon(address: SerialgpioPoint, unit: str) -> Exchange:
    _one_of(unit, r"[0-9A-F]{2}", "two digits, as unit: '01' of the device")
    refusal = re.compile(rf"^\?{unit}")
    number = int(_one_of(address.line, r"\d|1[0-5]", "0 to 15"))
    if address.kind is Kind.ANALOG:
        field = Field(match=re.compile(r"^>([+-]\d+\.?\d*)"))
        return Exchange(f"#{unit}{number:X}".encode(), field, refusal=refusal)
    _one_of(address.line, "[0-7]", "0 to 7")
    place = "([0-9A-F]{2})" if address.output else "[0-9A-F]{2}([0-9A-F]{2})"
    field = Field(match=re.compile(f"^!{place}"), base=16, bit=number)
    write = None
    if address.output:
        write = switch(f"#{unit}1{number}01", f"#{unit}1{number}00", inverted=address.active_low)
    confirm = re.compile("^>")
    return Exchange(f"${unit}6".encode(), field, write, confirm, refusal, address.active_low)


def _kmtronic(relays: int) -> Callable[[SerialgpioPoint, str], Exchange]:
    def exchange(address: SerialgpioPoint, _: str) -> Exchange:
        number = int(_one_of(address.line, f"[1-{relays}]", f"1 to {relays}"))
        head = bytes((0xFF, number))
        write = switch(f"hex:{head.hex()}01", f"hex:{head.hex()}00", inverted=address.active_low)
        if relays <= 2:
            field = Field(head, type=FieldType.UINT8, at=2)
            return Exchange(head + b"\x03", field, write, inverted=address.active_low)
        field = Field(type=FieldType.UINT8, at=number - 1)
        return Exchange(b"\xff\x09\x00", field, write, inverted=address.active_low)

    return exchange


def _lcus(address: SerialgpioPoint, _: str) -> Exchange:
    number = int(_one_of(address.line, r"[1-9]|1\d", "1 to 19"))
    on, off = f"hex:A0{number:02X}01", f"hex:A0{number:02X}00"
    return Exchange(write=switch(on, off, inverted=address.active_low))


def _one_of(text: str, pattern: str, words: str) -> str:
    if not re.fullmatch(pattern, text):
        message = f"{text!r} is not {words}; see docs/serialgpio.md"
        raise NotOffered(message)
    return text


def _echoed(command: str, value: str) -> re.Pattern[str]:
    """The value on the line after the module's echo of a command."""
    return re.compile(rf"(?i){command}\s+{value}\s*$")


_DIGITAL: Final = frozenset({Kind.DIGITAL})
_PROMPTED: Final = FramingConfig(type=Framing.LINE, end=">", send_end="\r")
_RETURNED: Final = FramingConfig(type=Framing.LINE, end="\r")

TEMPLATES: Final[dict[Module, Template]] = {
    Module.NUMATO: Template(_PROMPTED, _numato, _DIGITAL | {Kind.ANALOG}),
    Module.NUMATO_RELAY: Template(_PROMPTED, _numato_relay, _DIGITAL, inputs=False),
    Module.DCON: Template(_RETURNED, _dcon, _DIGITAL | {Kind.ANALOG}),
    Module.KMTRONIC_2: Template(FramingConfig(type=Framing.FIXED, length=3), _kmtronic(2), _DIGITAL, inputs=False),
    Module.KMTRONIC_4: Template(FramingConfig(type=Framing.FIXED, length=4), _kmtronic(4), _DIGITAL, inputs=False),
    Module.KMTRONIC_8: Template(FramingConfig(type=Framing.FIXED, length=8), _kmtronic(8), _DIGITAL, inputs=False),
    Module.LCUS: Template(
        FramingConfig(type=Framing.FIXED, length=3, crc=Checksum.SUM8), _lcus, _DIGITAL, inputs=False
    ),
}
