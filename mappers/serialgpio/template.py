"""Bytes as people write them: text, or ``hex:`` and digits; with ``{value}`` and ``{unit}`` where these go. Pure."""

from __future__ import annotations

from string import Formatter
from typing import Final

from mappers.sdk import Value

HEX: Final = "hex:"
_LONGEST: Final = 1024


class NotEncodable(ValueError):
    """The value does not go into the template."""


def literal(text: str) -> bytes:
    """The bytes of a text. Raises ValueError."""
    if not text.startswith(HEX):
        return text.encode()
    try:
        return bytes.fromhex(text.removeprefix(HEX))
    except ValueError:
        message = f"{text!r} is not hexadecimal; for example 'hex:0D 0A'"
        raise ValueError(message) from None


def check_template(text: str, names: frozenset[str]) -> None:
    """Raise ValueError if it is no template with these names."""
    try:
        for _, name, spec, conversion in Formatter().parse(text):
            if name is not None and name not in names:
                known = " and ".join(f"{{{one}}}" for one in sorted(names)) or "nothing"
                message = f"{{{name}}} in {text!r} is not known; {known} can be filled in"
                raise ValueError(message)
            if conversion or "{" in (spec or ""):
                message = f"{text!r} has more than a format; for example {{value:03d}}"
                raise ValueError(message)
    except ValueError as error:
        if "; " in str(error):
            raise
        message = f"{text!r} is no template: {error}; write {{{{ for a brace"
        raise ValueError(message) from None


def filled(text: str, **values: Value) -> bytes:
    """The bytes of a template. Raises NotEncodable."""
    try:
        given = {name: _plain(value) for name, value in values.items()}
        return literal(_Bounded().vformat(text, (), given))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        shown = ", ".join(f"{name} {value!r}" for name, value in values.items())
        message = f"{shown} cannot be written as {text!r}: {error}"
        raise NotEncodable(message) from None


class _Bounded(Formatter):
    """Fills in without letting a format ask for megabytes."""

    def format_field(self, value: Value, format_spec: str) -> str:
        digits = "".join(one if one.isdigit() else " " for one in format_spec).split()
        if any(int(one) > _LONGEST for one in digits):
            message = f"format {format_spec!r} is too wide"
            raise ValueError(message)
        return format(value, format_spec)


def _plain(value: Value) -> Value:
    """A whole float as an int, which all formats take."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
