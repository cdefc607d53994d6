"""What a query asks for, as types: made by the parser, read by every backend's compiler."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

Literal: TypeAlias = bool | int | float | str

MAX_ROWS: Final = 10_000


class Column(StrEnum):
    """What a twin itself has."""

    TWIN = "twin"
    KIND = "kind"
    NAMESPACE = "namespace"
    NAME = "name"
    UID = "uid"
    MODEL = "model"
    GATEWAY = "gateway"
    VERSION = "version"


class Part(StrEnum):
    """What a property has."""

    VALUE = "value"
    QUALITY = "quality"
    REASON = "reason"
    AT = "at"
    BY = "by"
    UNIT = "unit"
    """What the device model says; there without a value too."""


@dataclass(frozen=True, slots=True)
class Tag:
    """``tags.<label>``."""

    label: str


@dataclass(frozen=True, slots=True)
class Desired:
    """``desired.<property>``: of the write that stands. It has no quality and no reason."""

    property: str
    part: Part = Part.VALUE


@dataclass(frozen=True, slots=True)
class Reported:
    """``reported.<property>``."""

    property: str
    part: Part = Part.VALUE


Field: TypeAlias = Column | Tag | Desired | Reported


@dataclass(frozen=True, slots=True)
class Count:
    """``COUNT(*)``: the twins of a group, or all that fit."""


class Operator(StrEnum):
    """How a field is compared with a literal."""

    EQUAL = "="
    NOT_EQUAL = "<>"
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="


@dataclass(frozen=True, slots=True)
class Compare:
    """Unknown, neither true nor false, unless both are of one type."""

    field: Field
    operator: Operator
    literal: Literal


@dataclass(frozen=True, slots=True)
class OneOf:
    """``IN``: equal to one of them; unknown if none is of the field's type."""

    field: Field
    literals: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """Text with ``%`` and ``_``, upper and lower case apart; unknown for anything but text."""

    field: Field
    pattern: str


@dataclass(frozen=True, slots=True)
class StartsWith:
    """Text with these first characters; unknown for anything but text."""

    field: Field
    prefix: str


@dataclass(frozen=True, slots=True)
class IsNull:
    """No value, or JSON's null."""

    field: Field


@dataclass(frozen=True, slots=True)
class IsDefined:
    """Any value, null too."""

    field: Field


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; unknown stays unknown."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class AllOf:
    """AND."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """OR."""

    conditions: tuple[Condition, ...]


Condition: TypeAlias = Compare | OneOf | Like | StartsWith | IsNull | IsDefined | Not | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Selected:
    """One column of the answer."""

    what: Field | Count
    title: str


@dataclass(frozen=True, slots=True)
class Order:
    """One key of ORDER BY. Missing values come first, then numbers, text, and all else; descending, last."""

    what: Field | Count
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole query. With ``group`` or a Count a row is a group of twins, else a twin."""

    selected: tuple[Selected, ...]
    where: Condition | None = None
    group: tuple[Field, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None

    @property
    def grouped(self) -> bool:
        """Whether a row stands for many twins."""
        asked = [*(one.what for one in self.selected), *(one.what for one in self.order)]
        return bool(self.group) or any(isinstance(what, Count) for what in asked)

    @property
    def measured(self) -> tuple[str | None, ...]:
        """By column, the property whose values it shows, which may have a unit; none where a row is of many twins."""
        return tuple(
            what.property
            if isinstance(what, Desired | Reported) and what.part is Part.VALUE and not self.grouped
            else None
            for what in (one.what for one in self.selected)
        )

    @property
    def pageable(self) -> bool:
        """Whether the answer comes in the order of the keys, as long as it is."""
        return not (self.grouped or self.order or self.limit is not None)
