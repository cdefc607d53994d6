"""Fields and literals of a query, from sqlglot's nodes to the plan's types."""

from __future__ import annotations

import math
from typing import Final

from sqlglot import exp

from twin.model import PROPERTY, PROPERTY_RULE
from twin.query.plan import Column, Count, Desired, Field, Literal, Part, Reported, Tag
from twin.query.syntax import Source, word

MAX_PROPERTIES: Final = 20
"""Different labels and properties of one query: each is looked up for every twin."""

_PARTS: Final = {
    "desired": (Part.AT, Part.BY, Part.UNIT),
    "reported": (Part.QUALITY, Part.REASON, Part.AT, Part.BY, Part.UNIT),
}


class FieldReader:
    """Reads the fields of one query and counts them."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._properties: set[Field] = set()

    def field(self, node: exp.Expr) -> Field:
        """One field. Raises InvalidQuery."""
        if not isinstance(node, exp.Column) or not all(type(part) is exp.Identifier for part in node.parts):
            self._source.refuse(node, f"a field is expected here, not {word(node)}")
        names = [str(part.this) for part in node.parts]
        if len(names) == 1:
            return self._column(node, names[0])
        field = self._nested(node, names)
        self._properties.add(field if isinstance(field, Tag) else type(field)(field.property))
        if len(self._properties) > MAX_PROPERTIES:
            self._source.refuse(node, f"more than {MAX_PROPERTIES} different labels and properties")
        return field

    def string(self, node: exp.Expr | None) -> str:
        """A text in quotes. Raises InvalidQuery."""
        if not isinstance(node, exp.Literal) or not node.is_string:
            self._source.refuse(node, "text in single quotes is expected here")
        return str(node.this)

    def literal(self, node: exp.Expr | None) -> Literal:
        """A number, a text, true or false. Raises InvalidQuery."""
        if isinstance(node, exp.Boolean):
            return bool(node.this)
        if isinstance(node, exp.Null):
            self._source.refuse(node, "a comparison with NULL is never true; use IS NULL")
        if isinstance(node, exp.Column):
            self._source.refuse(node, "a literal is expected here, text in single quotes, not another field")
        inner = node.this if isinstance(node, exp.Neg) else node
        if not isinstance(inner, exp.Literal) or (inner is not node and inner.is_string):
            self._source.refuse(
                node, "a literal is expected here" + (f", not {word(node)}" if node is not None else "")
            )
        if inner.is_string:
            return str(inner.this)
        number = self._number(inner)
        return number if inner is node else -number

    def _column(self, node: exp.Expr, name: str) -> Column:
        if name not in set(Column):
            known = ", ".join((*Column, "tags.LABEL", "reported.PROPERTY", "desired.PROPERTY"))
            self._source.refuse(node, f"there is no field {name[:80]!r}; there are {known}")
        return Column(name)

    def _nested(self, node: exp.Expr, names: list[str]) -> Tag | Desired | Reported:
        root, name, *rest = names
        if root == "tags" and not rest:
            return Tag(name)
        if root == "delta":
            self._source.refuse(
                node, "there is no delta, it follows from the device model; compare desired and reported"
            )
        known = _PARTS.get(root)
        if known is None:
            reason = f"there is no field {'.'.join(names)[:80]!r}; after tags comes one name, others begin with"
            self._source.refuse(node, f"{reason} reported or desired")
        if PROPERTY.fullmatch(name) is None:
            self._source.refuse(node, f"{name[:80]!r} is no property name; it has {PROPERTY_RULE}")
        if len(rest) > 1 or (rest and rest[0] not in known):
            self._source.refuse(node, f"after {root}.{name[:80]} there can be only {', '.join(known)}")
        part = Part(rest[0]) if rest else Part.VALUE
        return Desired(name, part) if root == "desired" else Reported(name, part)

    def _number(self, node: exp.Literal) -> int | float:
        text = str(node.this)
        try:
            number: int | float = int(text) if text.isdecimal() else float(text)
        except ValueError:
            self._source.refuse(node, f"{text[:80]!r} is not a number")
        if isinstance(number, int) and number >= 2**63:
            self._source.refuse(node, "a whole number has at most 63 bits")
        if not math.isfinite(number):
            self._source.refuse(node, "this number is too large")
        return number


def title(what: Field | Count) -> str:
    """How a column is called that has no alias: as it is written."""
    match what:
        case Count():
            return "count"
        case Column():
            return what.value
        case Tag(label):
            return f"tags.{label}"
        case Desired(name, part):
            return f"desired.{name}" + ("" if part is Part.VALUE else f".{part}")
        case Reported(name, part):
            return f"reported.{name}" + ("" if part is Part.VALUE else f".{part}")
