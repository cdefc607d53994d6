"""What people write about a point: one model of a line for every board, or a value within messages.

{line: 2, bias: pullUp, activeLow: true, debounceMs: 20}      a button
{line: 2, edge: rising}                                       its presses, counted
{line: 13, direction: output}                                 a lamp
{line: A0, kind: analog, scale: 5}                            volts of 5
{line: 9, kind: pwm, scale: 100}                              percent
{request: "T?", match: "T=([-0-9.]+)"}                        asked for in text
{starts: "hex:A5 01", type: int16, at: 2, scale: 0.1}         in a message that comes by itself
{write: "LED {value}", on: "ON", off: "OFF"}                  only written
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from mappers.sdk import PointConfig, ValueType
from mappers.serialgpio.contact import Contact, Edge
from mappers.serialgpio.field import FieldType
from mappers.serialgpio.template import check_template, literal

_NUMBERS: Final = frozenset({ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE})
_TEXTUAL: Final = _NUMBERS | {ValueType.BOOLEAN, ValueType.STRING}
_LINE_KEYS: Final = ("kind", "direction", "bias", "activeLow", "debounceMs", "edge")
_MESSAGE_KEYS: Final = (
    "request", "match", "starts", "type", "at", "length", "byteOrder", "bit", "write", "confirm", "on", "off",
)  # fmt: skip


class Kind(StrEnum):
    """What a line carries."""

    DIGITAL = "digital"
    ANALOG = "analog"
    PWM = "pwm"
    SERVO = "servo"


class Direction(StrEnum):
    """Who sets the line."""

    INPUT = "input"
    OUTPUT = "output"


class Bias(StrEnum):
    """What an open input rests at."""

    NONE = "none"
    PULL_UP = "pullUp"
    PULL_DOWN = "pullDown"


class SerialgpioPoint(PointConfig):
    """A line and how it is used, or a value within messages."""

    model_config = ConfigDict(alias_generator=to_camel)

    line: str = ""
    kind: Kind = Kind.DIGITAL
    direction: Direction = Direction.INPUT
    bias: Bias = Bias.NONE
    active_low: bool = False
    debounce_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    edge: Edge | None = None

    request: str = ""
    match: str = ""
    starts: str = ""
    type: FieldType | None = None
    at: Annotated[int, Field(ge=0, le=4095)] = 0
    length: Annotated[int, Field(ge=0, le=4096)] = 0
    byte_order: Literal["big", "little"] = "big"
    bit: Annotated[int, Field(ge=0, le=63)] | None = None
    write: str = ""
    confirm: str = ""
    on: str = ""
    off: str = ""

    @model_validator(mode="before")
    @classmethod
    def _kind_says_direction(cls, given: Any) -> Any:
        """A PWM or servo line is an output without saying so."""
        if isinstance(given, dict) and given.get("kind") in (Kind.PWM, Kind.SERVO):
            return {"direction": Direction.OUTPUT, **given}
        return given

    @field_validator("line", mode="before")
    @classmethod
    def _line(cls, line: Any) -> Any:
        if isinstance(line, int) and not isinstance(line, bool):
            line = str(line)
        if isinstance(line, str) and not (0 < len(line) <= 64 and line.isprintable() and not line.startswith("-")):
            message = f"line {line!r} is no line; for example line: 13, or line: A0"
            raise ValueError(message)
        return line

    @field_validator("request", "starts", "write")
    @classmethod
    def _template(cls, text: str, info: Any) -> str:
        names = {"unit", "value"} if info.field_name == "write" else {"unit"}
        check_template(text, frozenset(names))
        if "{" not in text:
            literal(text)
        return text

    @field_validator("match", "confirm")
    @classmethod
    def _pattern(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            message = f"{pattern!r} is no regular expression: {error}; for example match: 'T=([-0-9.]+)'"
            raise ValueError(message) from None
        if groups > 1:
            message = f"{pattern!r} has {groups} groups; keep the one with the value, and write (?:...) for others"
            raise ValueError(message)
        return pattern

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        checks = (
            (self._check_kind, self._check_direction)
            if self.line
            else (self._check_message, self._check_field, self._check_write)
        )
        for check in (self._check_source, *checks):
            if problem := check():
                raise ValueError(problem)
        return self

    @property
    def output(self) -> bool:
        """Whether a line is written."""
        return self.direction is Direction.OUTPUT

    def contact(self) -> Contact:
        """What makes of a line's levels its value."""
        return Contact(active_low=self.active_low, debounce_s=self.debounce_ms / 1000, edge=self.edge)

    def mismatch(self, value_type: ValueType) -> str:
        """Why this cannot be a property of that type."""
        fits, why, wanted = self._fitting()
        return "" if value_type in fits else f"the property is {value_type}, {why}; make the property {wanted}"

    def _fitting(self) -> tuple[frozenset[ValueType], str, ValueType]:
        """Types that fit, why others do not, and the best."""
        boolean = frozenset({ValueType.BOOLEAN})
        if self.line:
            if self.kind is not Kind.DIGITAL:
                return _NUMBERS, f"a line of kind {self.kind} gives numbers", ValueType.DOUBLE
            if self.edge is not None:
                return _NUMBERS, "counted edges are whole numbers", ValueType.INT
            return boolean, "a digital line is on or off", ValueType.BOOLEAN
        if self.bit is not None:
            return boolean, "a bit is on or off", ValueType.BOOLEAN
        if self.type is FieldType.TEXT:
            return frozenset({ValueType.STRING}), "type text gives text", ValueType.STRING
        if self.type is FieldType.BYTES:
            return frozenset({ValueType.BYTES}), "type bytes gives bytes", ValueType.BYTES
        if self.type is not None:
            wanted = ValueType.INT if self.type.whole else ValueType.DOUBLE
            return _NUMBERS | (boolean if self.type.whole else frozenset()), f"type {self.type} gives numbers", wanted
        return _TEXTUAL, "text has numbers, words, on or off", ValueType.STRING

    def _given(self) -> set[str]:
        return {to_camel(name) for name in self.model_fields_set}

    def _check_source(self) -> str:
        given = self._given()
        wrong = [key for key in (_MESSAGE_KEYS if self.line else _LINE_KEYS) if key in given]
        if self.line and wrong:
            return f"{wrong[0]} is for messages, and line is given; keep one of them"
        if not self.line and (wrong or not given & {"match", "type", "write"}):
            return "line is missing; for example line: 13 (or match, type or write, for a value within messages)"
        return ""

    def _check_kind(self) -> str:
        if self.kind is Kind.DIGITAL:
            return ""
        only = {
            "activeLow": self.active_low,
            "bias": self.bias is not Bias.NONE,
            "debounceMs": self.debounce_ms,
            "edge": self.edge,
        }
        wrong = [key for key, given in only.items() if given]
        return f"{wrong[0]} is for digital lines, kind is {self.kind}; leave {wrong[0]} out" if wrong else ""

    def _check_direction(self) -> str:
        if self.kind is Kind.ANALOG and self.output:
            return "an analog line is an input; for example kind: pwm, for an output"
        if self.kind in (Kind.PWM, Kind.SERVO) and not self.output:
            return f"a {self.kind} line is an output; leave direction out"
        if self.output:
            only = {"bias": self.bias is not Bias.NONE, "debounceMs": self.debounce_ms, "edge": self.edge}
            wrong = [key for key, given in only.items() if given]
            return f"{wrong[0]} is for inputs, direction is output; leave {wrong[0]} out" if wrong else ""
        return ""

    def _check_message(self) -> str:
        if self.match and self.type is not None:
            return "match is for text, type for bytes; keep one of them"
        if not (self.match or self.type) and self.request:
            return "request asks, and nothing says where the answer has the value; add match or type"
        return ""

    def _check_field(self) -> str:
        given = self._given()
        if self.type is None:
            wrong = [key for key in ("at", "length", "byteOrder", "bit") if key in given]
            return f"{wrong[0]} is for values in bytes; add type, for example type: uint8" if wrong else ""
        if self.length and self.type.size:
            return f"length is for text and bytes; a {self.type} has {self.type.size}: leave length out"
        if self.bit is not None and (not self.type.whole or self.bit >= 8 * self.type.size):
            return f"a {self.type} has no bit {self.bit}; use a wider whole type, or a lower bit"
        return ""

    def _check_write(self) -> str:
        if self.confirm and not self.write:
            return "confirm is the answer to a write; add write, or leave confirm out"
        if (self.on or self.off) and self.on == self.off:
            return "on and off are the same; use different words"
        return ""
