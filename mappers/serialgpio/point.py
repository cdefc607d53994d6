"""What people write about a point: one model of a line for every board.

{line: 2, bias: pullUp, activeLow: true, debounceMs: 20}      a button
{line: 2, edge: rising}                                       its presses, counted
{line: 13, direction: output}                                 a lamp
{line: A0, kind: analog, scale: 5}                            volts of 5
{line: 9, kind: pwm, scale: 100}                              percent
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel

from mappers.sdk import PointConfig, ValueType
from mappers.serialgpio.contact import Contact, Edge

_NUMBERS: Final = frozenset({ValueType.INT, ValueType.FLOAT, ValueType.DOUBLE})


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
    """A line, and how it is used."""

    model_config = ConfigDict(alias_generator=to_camel)

    line: str
    kind: Kind = Kind.DIGITAL
    direction: Direction = Direction.INPUT
    bias: Bias = Bias.NONE
    active_low: bool = False
    debounce_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    edge: Edge | None = None

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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for check in (self._check_kind, self._check_direction):
            if problem := check():
                raise ValueError(problem)
        return self

    @property
    def output(self) -> bool:
        """Whether it is written."""
        return self.direction is Direction.OUTPUT

    def contact(self) -> Contact:
        """What makes of its levels its value."""
        return Contact(active_low=self.active_low, debounce_s=self.debounce_ms / 1000, edge=self.edge)

    def mismatch(self, value_type: ValueType) -> str:
        """Why this cannot be a property of that type."""
        if self.kind is not Kind.DIGITAL:
            fits = value_type in _NUMBERS
            wanted = f"a line of kind {self.kind} gives numbers; make the property DOUBLE"
        elif self.edge is not None:
            fits = value_type in _NUMBERS
            wanted = "counted edges are whole numbers; make the property INT"
        else:
            fits = value_type is ValueType.BOOLEAN
            wanted = "a digital line is on or off; make the property BOOLEAN"
        return "" if fits else f"the property is {value_type}, {wanted}"

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
