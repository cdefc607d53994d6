"""The condition of a query, from sqlglot's nodes to the plan's types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from sqlglot import exp

from twin.query.fields import FieldReader
from twin.query.plan import (
    AllOf,
    AnyOf,
    Compare,
    Condition,
    Field,
    IsDefined,
    IsNull,
    Like,
    Literal,
    Not,
    OneOf,
    Operator,
    StartsWith,
)
from twin.query.syntax import Source, word

MAX_WILDCARDS: Final = 8
"""Times % in one pattern; each may be tried at every character."""

_OPERATORS: Final[dict[type[exp.Expr], Operator]] = {
    exp.EQ: Operator.EQUAL,
    exp.NEQ: Operator.NOT_EQUAL,
    exp.LT: Operator.LESS,
    exp.LTE: Operator.AT_MOST,
    exp.GT: Operator.GREATER,
    exp.GTE: Operator.AT_LEAST,
}
_MIRRORED: Final = {
    Operator.LESS: Operator.GREATER,
    Operator.AT_MOST: Operator.AT_LEAST,
    Operator.GREATER: Operator.LESS,
    Operator.AT_LEAST: Operator.AT_MOST,
}


class ConditionReader:
    """Reads what stands after WHERE."""

    def __init__(self, source: Source, fields: FieldReader) -> None:
        self._source = source
        self._fields = fields
        self._readers: dict[type[exp.Expr], Callable[[exp.Expr], Condition]] = {
            exp.Between: self._between,
            exp.In: self._in,
            exp.Is: self._is_null,
            exp.Like: self._like,
            exp.StartsWith: self._starts_with,
            exp.Anonymous: self._is_defined,
            **dict.fromkeys(_OPERATORS, self._compare),
        }

    def condition(self, node: exp.Expr) -> Condition:
        """One condition with all inside it. Raises InvalidQuery."""
        if isinstance(node, exp.Paren):
            return self.condition(node.this)
        if isinstance(node, exp.Not):
            return Not(self.condition(node.this))
        if isinstance(node, exp.And | exp.Or):
            made = tuple(map(self.condition, _members(node)))
            return AllOf(made) if isinstance(node, exp.And) else AnyOf(made)
        reader = self._readers.get(type(node))
        if reader is None:
            hint = "; to ask for true, write = true" if isinstance(node, exp.Column) else ""
            self._source.refuse(node, f"a condition is expected here, not {word(node)}{hint}")
        return reader(node)

    def _compare(self, node: exp.Expr) -> Condition:
        left, right, operator = node.this, node.expression, _OPERATORS[type(node)]
        if isinstance(right, exp.Column) and not isinstance(left, exp.Column):
            left, right, operator = right, left, _MIRRORED.get(operator, operator)
        field, literal = self._fields.field(left), self._fields.literal(right)
        if isinstance(literal, bool) and operator not in (Operator.EQUAL, Operator.NOT_EQUAL):
            self._source.refuse(node, "true and false have no order")
        return Compare(field, operator, literal)

    def _between(self, node: exp.Expr) -> Condition:
        field = self._fields.field(node.this)
        low, high = (self._bound(node.args[name]) for name in ("low", "high"))
        return AllOf((Compare(field, Operator.AT_LEAST, low), Compare(field, Operator.AT_MOST, high)))

    def _bound(self, node: exp.Expr) -> Literal:
        literal = self._fields.literal(node)
        if isinstance(literal, bool):
            self._source.refuse(node, "true and false have no order")
        return literal

    def _in(self, node: exp.Expr) -> Condition:
        if not node.expressions:
            self._source.refuse(node, "IN takes a list of literals in parentheses")
        return OneOf(self._fields.field(node.this), tuple(map(self._fields.literal, node.expressions)))

    def _is_null(self, node: exp.Expr) -> Condition:
        if not isinstance(node.expression, exp.Null):
            self._source.refuse(node, "IS is followed by NULL or NOT NULL only")
        return IsNull(self._fields.field(node.this))

    def _is_defined(self, node: exp.Expr) -> Condition:
        if str(node.this).upper() != "IS_DEFINED" or len(node.expressions) != 1:
            self._source.refuse(node, "functions are IS_DEFINED(field), STARTSWITH(field, 'text') and COUNT(*)")
        return IsDefined(self._fields.field(node.expressions[0]))

    def _like(self, node: exp.Expr) -> Condition:
        field, pattern = self._pattern(node)
        if pattern.count("%") > MAX_WILDCARDS:
            self._source.refuse(node, f"% comes more than {MAX_WILDCARDS} times")
        return Not(Like(field, pattern)) if node.args.get("negate") else Like(field, pattern)

    def _starts_with(self, node: exp.Expr) -> Condition:
        return StartsWith(*self._pattern(node))

    def _pattern(self, node: exp.Expr) -> tuple[Field, str]:
        return self._fields.field(node.this), self._fields.string(node.expression)


def _members(node: exp.And | exp.Or) -> Iterator[exp.Expr]:
    """Members of a AND b AND c ..., which sqlglot nests to the left."""
    kind, members = type(node), []
    inner: exp.Expr = node
    while type(inner) is kind:
        members.append(inner.expression)
        inner = inner.this
    yield inner
    yield from reversed(members)
