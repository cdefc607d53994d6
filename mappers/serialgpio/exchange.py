"""How a point is read and written by messages: what is asked, where the answer has it, what sets it. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mappers.sdk import Value
from mappers.serialgpio.field import Field
from mappers.serialgpio.point import SerialgpioPoint
from mappers.serialgpio.template import NotEncodable, filled, literal


@dataclass(frozen=True, slots=True)
class Exchange:
    """``request`` is None where messages come by themselves, ``field`` where nothing can be read.

    Messages that match ``refusal`` say no; without ``confirm`` a write has no answer.
    """

    request: bytes | None = None
    field: Field | None = None
    write: Callable[[Value], bytes] | None = None
    confirm: re.Pattern[str] | None = None
    refusal: re.Pattern[str] | None = None
    inverted: bool = False

    def accepts(self, payload: bytes) -> bool:
        """Whether a message is the answer to a read."""
        return (self.field is not None and self.field.accepts(payload)) or self.refuses(payload)

    def refuses(self, payload: bytes) -> bool:
        """Whether a message says no."""
        return self.refusal is not None and self.refusal.search(_text(payload)) is not None

    def confirms(self, payload: bytes) -> bool:
        """Whether a message is the answer to a write."""
        said = self.confirm is not None and self.confirm.search(_text(payload)) is not None
        return said or self.refuses(payload)


def exchange_of(address: SerialgpioPoint, unit: str) -> Exchange:
    """What a point says of messages. Raises NotEncodable, and ValueError for a unit that does not go into it."""
    field = None
    if address.match or address.type is not None:
        field = Field(
            starts=filled(address.starts, unit=unit),
            match=re.compile(address.match) if address.match else None,
            type=address.type,
            at=address.at,
            length=address.length,
            big=address.byte_order == "big",
            bit=address.bit,
            words=(address.on, address.off),
        )
    return Exchange(
        request=filled(address.request, unit=unit) if address.request else None,
        field=field,
        write=_writer(address, unit) if address.write else None,
        confirm=re.compile(address.confirm) if address.confirm else None,
    )


def _writer(address: SerialgpioPoint, unit: str) -> Callable[[Value], bytes]:
    words = (address.on or "1", address.off or "0")
    as_text = "{value:" not in address.write

    def write(value: Value) -> bytes:
        if isinstance(value, bool):
            value = (words[0] if value else words[1]) if as_text else int(value)
        elif not isinstance(value, int | float | str):
            message = f"{value!r} is neither a number nor a text"
            raise NotEncodable(message)
        return filled(address.write, unit=unit, value=value)

    return write


def switch(on: str, off: str, *, inverted: bool) -> Callable[[Value], bytes]:
    """What sets an output by one of two messages. The result raises NotEncodable."""
    messages = literal(on), literal(off)

    def write(value: Value) -> bytes:
        if not isinstance(value, bool):
            message = f"{value!r} is neither true nor false"
            raise NotEncodable(message)
        return messages[value is inverted]

    return write


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "replace")
