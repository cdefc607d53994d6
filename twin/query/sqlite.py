"""Plan -> parameterised SQL for the store's tables. Pure: every name and literal of the query is a parameter.

Values are SQLite's own numbers and text; anything else is a BLOB of JSON, and NULL is a tombstone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from twin.model import TwinKey
from twin.query.plan import (
    AllOf,
    AnyOf,
    Column,
    Compare,
    Condition,
    Count,
    Desired,
    Field,
    IsDefined,
    IsNull,
    Like,
    Literal,
    Not,
    OneOf,
    Part,
    Plan,
    Reported,
    StartsWith,
    Tag,
)
from twin.spec_text import NO_SPEC

Parameter: TypeAlias = int | float | str | bytes

_NULL_SQL: Final = "x'6e756c6c'"  # the JSON of null
_BOOLEANS_SQL: Final = "(x'74727565', x'66616c7365')"  # the JSON of true and false
_DOCUMENTED: Final = f"t.spec <> '{NO_SPEC}'"  # rows of the peer's that no document names yet wait aside
_KEY: Final = "t.kind, t.namespace, t.name"
_COLUMNS: Final = {
    **{column: f"t.{column}" for column in Column},
    Column.TWIN: "(t.kind || '/' || t.namespace || '/' || t.name)",
    # The twin's row keeps the version of its last definition, each leaf that of its last change.
    Column.VERSION: "max(t.version, coalesce((SELECT max(v.version) FROM leaf v WHERE v.twin = t.id), 0))",
}
_QUALITY_SQL: Final = "(CASE {0}.quality WHEN 0 THEN 'good' WHEN 1 THEN 'uncertain' WHEN 2 THEN 'bad' END)"
_TO_GLOB: Final = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with numbered parameters."""

    sql: str
    parameters: tuple[Parameter, ...]


def compile_plan(plan: Plan, *, rows: int, after: TwinKey | None = None) -> Statement:
    """Give at most ``rows`` rows of the columns asked for.

    The units of the columns that ``measured`` names follow, then kind, namespace, name if the plan is pageable.
    """
    return _Compiler().statement(plan, rows, after)


@dataclass(slots=True)
class _Compiler:
    parameters: list[Parameter] = field(default_factory=list)
    joins: dict[Field, str] = field(default_factory=dict)
    """The alias of each label and property that is looked up."""
    join_sql: list[str] = field(default_factory=list)
    policies: dict[str, str] = field(default_factory=dict)
    """By alias, the parameter with the place of a property's conflict policy."""
    paths: dict[str, str] = field(default_factory=dict)
    """The parameter of each place in the spec that is looked up."""

    def statement(self, plan: Plan, rows: int, after: TwinKey | None) -> Statement:
        columns = [self._shown(one.what) for one in plan.selected]
        where = [_DOCUMENTED]
        if plan.where is not None:
            where.append(self._condition(plan.where))
        if after is not None:
            where.append(f"({_KEY}) > ({self._bind_all((after.kind.value, after.namespace, after.name))})")
        groups = [self._value(one) for one in plan.group]
        order = [self._shown(one.what) + (" DESC" if one.descending else "") for one in plan.order]
        # The last keys make the order of equal rows the same at every time.
        order += groups if plan.grouped else [_KEY]
        columns += [self._unit(name) for name in plan.measured if name is not None]
        if plan.pageable:
            columns.append(_KEY)
        sql = f"SELECT {', '.join(columns)} FROM twin t{''.join(self.join_sql)}"
        sql += f" WHERE {' AND '.join(where)}"
        sql += f" GROUP BY {', '.join(groups)}" if groups else ""
        sql += f" ORDER BY {', '.join(order)}" if order else ""
        return Statement(f"{sql} LIMIT {self._bind(rows)}", tuple(self.parameters))

    def _bind(self, value: Parameter) -> str:
        self.parameters.append(value)
        return f"?{len(self.parameters)}"

    def _bind_all(self, values: Iterable[Parameter]) -> str:
        return ", ".join(map(self._bind, values))

    def _shown(self, what: Field | Count) -> str:
        return "count(*)" if isinstance(what, Count) else self._value(what)

    # -- conditions ----------------------------------------------------------------------------------------------

    def _condition(self, condition: Condition) -> str:
        match condition:
            case AllOf(conditions):
                return f"({' AND '.join(map(self._condition, conditions))})"
            case AnyOf(conditions):
                return f"({' OR '.join(map(self._condition, conditions))})"
            case Not(inner):
                return f"(NOT {self._condition(inner)})"
            case IsNull(of):
                value = self._value(of)
                return f"({value} IS NULL OR {value} = {_NULL_SQL})"
            case IsDefined(of):
                return f"({self._value(of)} IS NOT NULL)"
            case Compare(of, operator, literal):
                return self._typed(of, literal, f"{operator} {self._bind(_stored(literal))}")
            case OneOf():
                return self._one_of(condition)
            case Like(of, pattern):
                return self._typed(of, pattern, f"GLOB {self._bind(pattern.translate(_TO_GLOB))}")
            case StartsWith(of, prefix):
                head = f"substr({self._value(of)}, 1, {len(prefix)})"
                return f"CASE WHEN {_type_test(self._value(of), '')} THEN {head} = {self._bind(prefix)} END"

    def _typed(self, of: Field, literal: Literal, rest: str) -> str:
        value = self._value(of)
        if isinstance(literal, str) and (isinstance(of, Tag) or (isinstance(of, Column) and of is not Column.VERSION)):
            return f"({value} {rest})"  # text whatever happens; bare, so that SQLite may begin with an index on it
        return f"CASE WHEN {_type_test(value, literal)} THEN {value} {rest} END"

    def _one_of(self, condition: OneOf) -> str:
        by_type: dict[type, list[Literal]] = {}
        for literal in condition.literals:
            by_type.setdefault(_family(literal), []).append(literal)
        if len(by_type) == 1:
            bound = self._bind_all(map(_stored, condition.literals))
            return self._typed(condition.field, condition.literals[0], f"IN ({bound})")
        value = self._value(condition.field)
        branches = [
            f"WHEN {_type_test(value, some[0])} THEN {value} IN ({self._bind_all(map(_stored, some))})"
            for some in by_type.values()
        ]
        return f"CASE {' '.join(branches)} END"

    # -- fields --------------------------------------------------------------------------------------------------

    def _value(self, of: Field) -> str:
        match of:
            case Column():
                return _COLUMNS[of]
            case Tag():
                return f"{self._joined(of)}.value"
            case Reported(name, Part.UNIT) | Desired(name, Part.UNIT):
                return self._unit(name)
            case Reported(name, part):
                alias = self._joined(Reported(name))
                return _QUALITY_SQL.format(alias) if part is Part.QUALITY else f"{alias}.{part}"
            case Desired(name, part):
                alias = self._joined(Desired(name))
                value = self._standing(alias, Part.VALUE)
                if part is Part.VALUE:
                    return value
                return f"(CASE WHEN {value} IS NOT NULL THEN {self._standing(alias, part)} END)"

    def _unit(self, name: str) -> str:
        # Property names have neither quotes nor backslashes, so the path cannot be left.
        path = f'$.properties."{name}".unit'
        if path not in self.paths:
            self.paths[path] = self._bind(path)
        unit = f"nullif(json_extract(t.spec, {self.paths[path]}), {self._bind('')})"
        return f"(CASE WHEN json_valid(t.spec) THEN {unit} END)"

    def _joined(self, of: Tag | Desired | Reported) -> str:
        if of in self.joins:
            return self.joins[of]
        alias = self.joins[of] = f"j{len(self.joins)}"
        match of:
            case Tag(label):
                on = f"{alias}.twin = t.id AND {alias}.name = {self._bind(label)}"
                self.join_sql.append(f" LEFT JOIN label {alias} ON {on}")
            case Reported(name):
                self._join_leaf(alias, section=0, name=self._bind(name), site=0)
                self.join_sql[-1] += f" AND {alias}.value IS NOT NULL"  # a deleted reading has no quality either
            case Desired(name):
                bound = self._bind(name)
                self._join_leaf(f"{alias}e", section=1, name=bound, site=0)
                self._join_leaf(f"{alias}c", section=1, name=bound, site=1)
                self.policies[alias] = self._bind(f'$.properties."{name}".conflict')
        return alias

    def _join_leaf(self, alias: str, *, section: int, name: str, site: int) -> None:
        self.join_sql.append(
            f" LEFT JOIN leaf {alias} ON {alias}.twin = t.id AND {alias}.section = {section}"
            f" AND {alias}.property = {name} AND {alias}.site = {site}"
        )

    def _standing(self, alias: str, part: Part) -> str:
        """Say twin.merge.winner in SQL."""
        edge, cloud, policy = f"{alias}e", f"{alias}c", f"json_extract(t.spec, {self.policies[alias]})"
        return (
            f"(CASE WHEN {cloud}.tick IS NULL THEN {edge}.{part} WHEN {edge}.tick IS NULL THEN {cloud}.{part}"
            f" WHEN {edge}.seen >= {cloud}.tick THEN {edge}.{part} WHEN {cloud}.seen >= {edge}.tick THEN {cloud}.{part}"
            f" WHEN {policy} = 'edge' THEN {edge}.{part} WHEN {policy} = 'cloud' THEN {cloud}.{part}"
            f" WHEN {edge}.at > {cloud}.at THEN {edge}.{part} ELSE {cloud}.{part} END)"
        )


def _family(literal: Literal) -> type:
    return float if type(literal) is int else type(literal)


def _type_test(value: str, literal: Literal) -> str:
    """Whether a stored value is of the literal's type."""
    if isinstance(literal, bool):
        return f"{value} IN {_BOOLEANS_SQL}"
    return f"typeof({value}) = 'text'" if isinstance(literal, str) else f"typeof({value}) IN ('integer', 'real')"


def _stored(literal: Literal) -> Parameter:
    """A literal as the store writes such a value."""
    return (b"true" if literal else b"false") if isinstance(literal, bool) else literal
