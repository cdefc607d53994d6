"""Fields of a query as expressions of SQL, and the tables that have to be joined for them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cloudsync.store.cells import escaped
from cloudsync.store.database import Dialect
from twin.query.plan import Column, Desired, Field, Part, Reported, Tag

_COLUMNS: Final = {
    **{column: f"t.{column}" for column in Column},
    Column.TWIN: "(t.kind || '/' || t.namespace || '/' || t.name)",
}
_QUALITY_SQL: Final = "(CASE {0}.quality WHEN 0 THEN 'good' WHEN 1 THEN 'uncertain' WHEN 2 THEN 'bad' END)"


@dataclass(frozen=True, slots=True)
class TextSql:
    """Always text, or missing."""

    sql: str


@dataclass(frozen=True, slots=True)
class IntegerSql:
    """Always an integer of 64 bits, or missing."""

    sql: str


@dataclass(frozen=True, slots=True)
class CellsSql:
    """Any value, in the columns of a slot (cells.py)."""

    alias: str

    @property
    def num(self) -> str:
        return f"{self.alias}.num"

    @property
    def rest(self) -> str:
        return f"coalesce({self.alias}.rest, 0)"

    @property
    def txt(self) -> str:
        return f"{self.alias}.txt"

    @property
    def json(self) -> str:
        return f"{self.alias}.json"


ValueSql: TypeAlias = TextSql | IntegerSql | CellsSql


@dataclass(slots=True)
class Fields:
    """The fields of one query. Names are parameters, as all that comes from a query is."""

    dialect: Dialect
    parameters: list[object] = field(default_factory=list)
    """Of the whole query."""
    join_sql: list[str] = field(default_factory=list)
    _joins: dict[Field, str] = field(default_factory=dict)
    """The alias of each label and property that is looked up."""
    _names: dict[str, str] = field(default_factory=dict)
    """The parameter of each name of a label or property."""

    def bind(self, value: object) -> str:
        """One more parameter."""
        sql, passed = self.dialect.parameter(len(self.parameters) + 1, value)
        self.parameters.append(passed)
        return sql

    def value(self, of: Field) -> ValueSql:
        """What a field is."""
        match of:
            case Column.VERSION:
                return IntegerSql(_COLUMNS[of])
            case Column():
                return TextSql(_COLUMNS[of])
            case Tag():
                return TextSql(f"{self._joined(of)}.value")
            case Reported(name, Part.UNIT) | Desired(name, Part.UNIT):
                return TextSql(self.unit(name))
            case Reported(name, part):
                alias = self._joined(Reported(name))
            case Desired(name, part):
                alias = self._joined(Desired(name))
        match part:
            case Part.VALUE:
                return CellsSql(alias)
            case Part.QUALITY:
                return TextSql(f"{_QUALITY_SQL.format(alias)}{self.dialect.by_code_point}")
            case Part.AT:
                return IntegerSql(f"{alias}.at")
            case _:
                return TextSql(f"{alias}.{part}")

    def unit(self, name: str) -> str:
        """What the model says of a property; unknown if it has none."""
        found = f"SELECT unit FROM shape_property WHERE shape = t.shape AND property = {self._name(escaped(name))}"
        return f"nullif(({found}), '')"

    def _name(self, name: str) -> str:
        """The parameter of a name; one for all its uses, so that what is equal looks equal."""
        if name not in self._names:
            self._names[name] = self.bind(name)
        return self._names[name]

    def _joined(self, of: Tag | Desired | Reported) -> str:
        if of in self._joins:
            return self._joins[of]
        alias = self._joins[of] = f"j{len(self._joins)}"
        name = self._name(escaped(of.label if isinstance(of, Tag) else of.property))
        match of:
            case Tag():
                self.join_sql.append(f" LEFT JOIN label {alias} ON {alias}.twin = t.id AND {alias}.name = {name}")
            case Reported():
                self._join_slot("reported", alias, name, there(alias))  # a deleted reading has no quality either
            case Desired():
                edge, cloud = f"{alias}e", f"{alias}c"
                # Three tables for each of at most 20 properties: SQLite joins 64.
                policy = f"(SELECT conflict FROM shape_property WHERE shape = t.shape AND property = {name})"
                self._join_slot("desired", edge, name, f"{edge}.site = 0")
                self._join_slot("desired", cloud, name, f"{cloud}.site = 1")
                stands = f"{alias}.site = {_winner(edge, cloud, policy)}"
                self._join_slot("desired", alias, name, stands, there(alias))
        return alias

    def _join_slot(self, table: str, alias: str, name: str, *more: str) -> None:
        on = " AND ".join((f"{alias}.twin = t.id", f"{alias}.property = {name}", *more))
        self.join_sql.append(f" LEFT JOIN {table} {alias} ON {on}")


def there(alias: str) -> str:
    """Whether a slot is no tombstone."""
    return f"({alias}.num IS NOT NULL OR {alias}.txt IS NOT NULL OR {alias}.json IS NOT NULL)"


def _winner(edge: str, cloud: str, policy: str) -> str:
    """Say twin.merge.winner in SQL, with the site's number."""
    return (
        f"(CASE WHEN {cloud}.tick IS NULL THEN 0 WHEN {edge}.tick IS NULL THEN 1"
        f" WHEN {edge}.seen >= {cloud}.tick THEN 0 WHEN {cloud}.seen >= {edge}.tick THEN 1"
        f" WHEN {policy} = 'edge' THEN 0 WHEN {policy} = 'cloud' THEN 1"
        f" WHEN {edge}.at > {cloud}.at THEN 0 ELSE 1 END)"
    )
