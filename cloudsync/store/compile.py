"""Plan -> parameterised SQL for the cloud's tables. Pure: every name and literal of the query is a parameter.

The semantics are those of twin.query.sqlite; the same tests ask both. A value here is several columns (cells.py), so a
comparison with a literal of another type is unknown by itself: the columns of its type are NULL.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cloudsync.store.cells import escaped, exact, number
from cloudsync.store.database import Dialect
from cloudsync.store.fields import CellsSql, Fields, IntegerSql, TextSql, ValueSql, there
from twin.model import TwinKey
from twin.query.plan import (
    AllOf,
    AnyOf,
    Compare,
    Condition,
    Count,
    Field,
    IsDefined,
    IsNull,
    Like,
    Literal,
    Not,
    OneOf,
    Operator,
    Plan,
    StartsWith,
)

_KEY: Final = ("t.kind", "t.namespace", "t.name")
_SHORT: Final = 64
_WORD: Final = 5
"""Characters of the texts, and of the JSON, that have an index."""
_PARAMETER: Final = re.compile(r"\$(\d+)")
_BOOLEANS_SQL: Final = "('true', 'false')"


class Shown(Enum):
    """How one column of the answer is read from the columns of SQL."""

    TEXT = "text"
    INTEGER = "integer"
    CELLS = "cells"
    """num, rest, txt, json."""


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with numbered parameters, and how to read its rows.

    The units of the columns that ``measured`` names follow, then kind, namespace, name if the plan is pageable.
    """

    sql: str
    parameters: tuple[object, ...]
    shown: tuple[Shown, ...]


def compile_plan(
    plan: Plan,
    dialect: Dialect,
    *,
    rows: int,
    after: TwinKey | None = None,
    only: Collection[TwinKey] | None = None,
) -> Statement:
    """Give at most ``rows`` rows of the columns asked for, of ``only`` these twins if given."""
    return _Compiler(dialect, Fields(dialect)).statement(plan, rows, after, only)


@dataclass(slots=True)
class _Compiler:
    dialect: Dialect
    fields: Fields
    denied: bool = False
    """Whether what is compiled stands inside a NOT, where unknown and false are not the same."""

    def statement(self, plan: Plan, rows: int, after: TwinKey | None, only: Collection[TwinKey] | None) -> Statement:
        columns: list[str] = []
        shown = [self._select(one.what, columns, grouped=plan.grouped) for one in plan.selected]
        where = ["t.documented"]
        if plan.where is not None:
            where.append(self._condition(plan.where))
        if after is not None:
            where.append(f"({', '.join(_KEY)}) > ({self._bind_all(_names(after))})")
        if only is not None:
            source, parameters = self.dialect.table(
                len(self.fields.parameters) + 1, ("text",) * 3, [_names(key) for key in sorted(only)]
            )
            self.fields.parameters += parameters
            where.append(f"({', '.join(_KEY)}) IN {source}")
        groups = [sql for one in plan.group for sql in self._compared(self.fields.value(one))]
        order = [sql for one in plan.order for sql in self._order(one.what, descending=one.descending)]
        # The last keys make the order of equal rows the same at every time.
        order += [sql for one in plan.group for sql in self._order(one, descending=False)] if plan.grouped else _KEY
        columns += [self.fields.unit(name) for name in plan.measured if name is not None]
        if plan.pageable:
            columns += _KEY
        sql = f"SELECT {', '.join(columns)} FROM twin t{''.join(self.fields.join_sql)} WHERE {' AND '.join(where)}"
        sql += f" GROUP BY {', '.join(groups)}" if groups else ""
        sql += f" ORDER BY {', '.join(order)}" if order else ""
        sql = f"{sql} LIMIT {self.fields.bind(rows)}"
        # What was unknown from the start is not in the text, and PostgreSQL wants no parameter that is not used.
        used = sorted({int(number) for number in _PARAMETER.findall(sql)})
        places = {number: place for place, number in enumerate(used, 1)}
        sql = _PARAMETER.sub(lambda found: f"${places[int(found[1])]}", sql)
        return Statement(sql, tuple(self.fields.parameters[number - 1] for number in used), tuple(shown))

    def _bind_all(self, values: Iterable[object]) -> str:
        return ", ".join(map(self.fields.bind, values))

    # -- what is shown, grouped and ordered ----------------------------------------------------------------------

    def _select(self, what: Field | Count, columns: list[str], *, grouped: bool) -> Shown:
        if isinstance(what, Count):
            columns.append("count(*)")
            return Shown.INTEGER
        value = self.fields.value(what)
        match value:
            case TextSql(sql):
                columns.append(sql)
                return Shown.TEXT
            case IntegerSql(sql):
                columns.append(sql)
                return Shown.INTEGER
            case CellsSql(alias):
                rest = f"max({alias}.rest)" if grouped else f"{alias}.rest"  # 1 and 1.0 are one group
                columns += [value.num, rest, value.txt, value.json]
                return Shown.CELLS

    def _compared(self, value: ValueSql) -> list[str]:
        """What makes two values equal."""
        if isinstance(value, CellsSql):
            return [value.num, value.rest, value.txt, value.json]
        return [value.sql]

    def _order(self, what: Field | Count, *, descending: bool) -> list[str]:
        direction = " DESC NULLS LAST" if descending else " NULLS FIRST"
        if isinstance(what, Count):
            return [f"count(*){direction}"]
        value = self.fields.value(what)
        keys = self._compared(value)
        if isinstance(value, CellsSql):
            rank = (
                f"CASE WHEN {value.num} IS NOT NULL THEN 1 WHEN {value.txt} IS NOT NULL THEN 2"
                f" WHEN {value.json} IS NOT NULL THEN 3 ELSE 0 END"
            )
            keys = [rank, *keys]
        return [f"{key}{direction}" for key in keys]

    # -- conditions ----------------------------------------------------------------------------------------------

    def _condition(self, condition: Condition) -> str:
        match condition:
            case AllOf(conditions):
                return f"({' AND '.join(map(self._condition, conditions))})"
            case AnyOf(conditions):
                return f"({' OR '.join(map(self._condition, conditions))})"
            case Not(inner):
                return f"(NOT {self._denied(inner)})"
            case IsNull(of):
                return self._is_null(self.fields.value(of))
            case IsDefined(of):
                return self._is_defined(self.fields.value(of))
            case Compare(of, operator, literal):
                return self._compare(self.fields.value(of), operator, literal)
            case OneOf(of, literals):
                return self._one_of(self.fields.value(of), literals)
            case Like(of, pattern):
                text = self._text_of(self.fields.value(of))
                if text is None:
                    return self.dialect.unknown
                one_for_one = f"replace({text}, {self.fields.bind(escaped(chr(1)))}, {self.fields.bind(chr(1))})"
                return f"({self.dialect.like(one_for_one, self.fields.bind(self.dialect.pattern(pattern)))})"
            case StartsWith(of, prefix):
                text, head = self._text_of(self.fields.value(of)), escaped(prefix)
                if text is None:
                    return self.dialect.unknown
                return f"(substr({text}, 1, {len(head)}) = {self.fields.bind(head)})"

    def _denied(self, condition: Condition) -> str:
        before, self.denied = self.denied, True
        sql = self._condition(condition)
        self.denied = before
        return sql

    def _is_null(self, value: ValueSql) -> str:
        if isinstance(value, CellsSql):
            nothing = f"{value.num} IS NULL AND {value.txt} IS NULL"
            return f"({nothing} AND ({value.json} IS NULL OR {value.json} = 'null'))"
        return f"({value.sql} IS NULL)"

    def _is_defined(self, value: ValueSql) -> str:
        if isinstance(value, CellsSql):
            return there(value.alias)
        return f"({value.sql} IS NOT NULL)"

    def _text_of(self, value: ValueSql) -> str | None:
        match value:
            case TextSql(sql):
                return sql
            case CellsSql():
                return value.txt
            case IntegerSql():
                return None

    def _compare(self, value: ValueSql, operator: Operator, literal: Literal) -> str:
        if isinstance(literal, str):
            text = self._text_of(value)
            if text is None:
                return self.dialect.unknown
            told = escaped(literal)
            short = operator is Operator.EQUAL and isinstance(value, CellsSql) and len(told) <= _SHORT
            return f"({text} {operator} {self.fields.bind(told)}{_of_index(text, _SHORT) if short else ''})"
        match value:
            case TextSql():
                return self.dialect.unknown
            case IntegerSql(sql):
                if isinstance(literal, bool):
                    return self.dialect.unknown
                return f"({sql} {operator} {self._bind_exactly(literal)})"
            case CellsSql():
                if isinstance(literal, bool):
                    word = "true" if literal else "false"
                    if operator is Operator.EQUAL and not self.denied:  # false will do where it is unknown
                        return f"({value.json} = '{word}'{_of_index(value.json, _WORD)})"
                    return f"(CASE WHEN {value.json} IN {_BOOLEANS_SQL} THEN {value.json} {operator} '{word}' END)"
                num, rest = number(literal)
                if exact(literal):  # bare, so that a database may begin with an index on it
                    return f"({value.num} {operator} {self.fields.bind(num)})"
                pair = f"({value.num}, {value.rest}) {operator} ({self.fields.bind(num)}, {self.fields.bind(rest)})"
                return f"(CASE WHEN {value.num} IS NOT NULL THEN {pair} END)"

    def _one_of(self, value: ValueSql, literals: tuple[Literal, ...]) -> str:
        """Equal to one of the literals of the value's own type; unknown if there are none."""
        texts = [escaped(one) for one in literals if isinstance(one, str)]
        numbers = [one for one in literals if not isinstance(one, str | bool)]
        words = [f"'{str(one).lower()}'" for one in literals if isinstance(one, bool)]
        text = self._text_of(value)
        choices = []
        if texts and text is not None:
            short = isinstance(value, CellsSql) and max(map(len, texts)) <= _SHORT
            equal = f"{text} IN ({self._bind_all(texts)}){_of_index(text, _SHORT) if short else ''}"
            choices.append((f"{text} IS NOT NULL", f"({equal})"))
        if numbers and isinstance(value, IntegerSql):
            bound = ", ".join(map(self._bind_exactly, numbers))
            choices.append((f"{value.sql} IS NOT NULL", f"{value.sql} IN ({bound})"))
        if numbers and isinstance(value, CellsSql):
            if all(map(exact, numbers)):
                equal = f"{value.num} IN ({self._bind_all(number(one).num for one in numbers)})"
            else:  # each of these is unknown where there is no number
                equal = " OR ".join(self._compare(value, Operator.EQUAL, one) for one in numbers)
            choices.append((f"{value.num} IS NOT NULL", f"({equal})"))
        if words and isinstance(value, CellsSql):
            choices.append((f"{value.json} IN {_BOOLEANS_SQL}", f"{value.json} IN ({', '.join(words)})"))
        if not choices:
            return self.dialect.unknown
        if len(choices) == 1 and not words:  # bare, so that a database may begin with an index on it
            return f"({choices[0][1]})"
        return f"(CASE {' '.join(f'WHEN {test} THEN {found}' for test, found in choices)} END)"

    def _bind_exactly(self, literal: float) -> str:
        """A number to compare with an integer column."""
        return self.fields.bind(self.dialect.exact(literal))


def _of_index(column: str, length: int) -> str:
    """What tells a database that the condition fits the index on short values; it follows from the condition."""
    return f" AND length({column}) <= {length}"


def _names(key: TwinKey) -> tuple[str, str, str]:
    return key.kind.value, key.namespace, key.name
