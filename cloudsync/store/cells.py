"""Values of leaves as columns that either database compares exactly, and back. Pure.

81      num 81.0, rest 0         numbers are compared as (num, rest): an integer of 64 bits is the float nearest to
81.5    num 81.5                 it and what is missing, so integers and floats have one exact order
"on"    txt                      ordered by code point; U+0000, which PostgreSQL's text cannot hold, is escaped
true    json                     anything else: booleans, null, arrays, objects, larger integers
DELETED none of them
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, TypeAlias

from twin.document import DELETED, Slot, SlotValue
from twin.model import Quality, Reason, Section, Site, Value

Cells: TypeAlias = tuple[float | None, int | None, str | None, str | None]
"""num, rest, txt, json."""

CELLS: Final = ("num", "rest", "txt", "json")
CELL_TYPES: Final = ("float8", "int2", "text", "text")
SLOT: Final = (*CELLS, "tick", "seen", "by", "at", "quality", "reason")
SLOT_TYPES: Final = (*CELL_TYPES, "int8", "int8", "text", "int8", "int2", "text")

SITES: Final = (Site.EDGE, Site.CLOUD)
SECTIONS: Final = (Section.REPORTED, Section.DESIRED)
QUALITIES: Final = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD)

_MAX_INT64: Final = 2**63 - 1
_EXACT: Final = 2**53
_QUALITY_NUMBERS: Final = {quality: number for number, quality in enumerate(QUALITIES)}
_REASONS: Final = {reason.value: reason for reason in Reason}
_NONE: Final = (None, None, None, None)


class Number(NamedTuple):
    """A number in the order that the columns have."""

    num: float
    rest: int


def number(value: float) -> Number:
    """A number of at most 64 bits, integer or float."""
    if type(value) is not int:
        return Number(value, 0)
    num = float(value)
    return Number(num, 0 if -_EXACT <= value <= _EXACT else value - int(num))


def exact(value: float) -> bool:
    """Whether the float alone says how a stored number compares with this one: beyond, integers have a rest."""
    return -_EXACT < value < _EXACT


def to_cells(value: SlotValue) -> Cells:
    """The columns of a value."""
    kind = type(value)
    if kind is float:
        return value, None, None, None  # type: ignore[return-value]  # kind is float
    if kind is int and -_MAX_INT64 <= value <= _MAX_INT64:  # type: ignore[operator]  # kind is int
        return *number(value), None, None  # type: ignore[arg-type]  # kind is int
    if kind is str:
        return None, None, escaped(value), None  # type: ignore[arg-type]  # kind is str
    if value is DELETED:
        return _NONE
    return None, None, None, json.dumps(value, ensure_ascii=False)


def from_cells(num: float | None, rest: int | None, txt: str | None, text: str | None) -> SlotValue:
    """Read back what ``to_cells`` made."""
    if num is not None:
        return num if rest is None else int(num) + rest
    if txt is not None:
        return unescaped(txt)
    if text is None:
        return DELETED
    value: Value = json.loads(text)
    return value


def to_slot_columns(slot: Slot) -> tuple[Any, ...]:
    """The columns of a slot, in the order of SLOT."""
    by = slot.by
    return (
        *to_cells(slot.value),
        slot.tick,
        slot.seen,
        escaped(by),
        slot.at,
        _QUALITY_NUMBERS[slot.quality],
        slot.reason.value,
    )


def from_slot_columns(columns: Any) -> Slot:
    """Read back what ``to_slot_columns`` made."""
    num, rest, txt, text, tick, seen, by, at, quality, reason = columns
    return Slot(
        from_cells(num, rest, txt, text),
        tick,
        seen,
        unescaped(by),
        at,
        QUALITIES[quality],
        _REASONS.get(reason, Reason.NONE),
    )


def escaped(text: str) -> str:
    """Text without U+0000, in the same order as before."""
    if "\0" in text or "\1" in text:
        return text.replace("\1", "\1\2").replace("\0", "\1\1")
    return text


def unescaped(text: str) -> str:
    """Read back what ``escaped`` made."""
    if "\1" in text:
        return text.replace("\1\1", "\0").replace("\1\2", "\1")
    return text
