"""Text -> plan. sqlglot reads SQL; what is not in our subset is refused with its position and the reason.

A plan is made of known fields and literals only, so nothing of the text can reach a database as SQL.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from twin.query.conditions import ConditionReader
from twin.query.fields import FieldReader, title
from twin.query.plan import MAX_ROWS, Column, Count, Field, Order, Plan, Selected
from twin.query.syntax import Source

MAX_COLUMNS: Final = 50

_STAR: Final = tuple(column for column in Column if column is not Column.TWIN)


def parse(text: str) -> Plan:
    """Read one query. Raises InvalidQuery with line, column and reason."""
    source = Source(text)
    return _SelectReader(source).plan(source.tree())


class _SelectReader:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._fields = FieldReader(source)

    def plan(self, select: exp.Select) -> Plan:
        self._check_table(select)
        selected = self._selected(select.expressions)
        where, group, order = (select.args.get(name) for name in ("where", "group", "order"))
        titles = {one.title: one.what for one in selected}
        plan = Plan(
            selected,
            where=ConditionReader(self._source, self._fields).condition(where.this) if where is not None else None,
            group=tuple(self._group(one, titles) for one in group.expressions) if group is not None else (),
            order=tuple(self._order(one, titles) for one in order.expressions) if order is not None else (),
            limit=self._limit(select.args.get("limit")),
        )
        self._check_groups(plan, select)
        return plan

    def _check_table(self, select: exp.Select) -> None:
        source = select.args.get("from_")
        if source is None:
            self._source.refuse(select, "FROM twins is missing")
        table = source.this
        if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier) or table.name != "twins":
            self._source.refuse(table, "only FROM twins is known")

    def _selected(self, nodes: list[exp.Expr]) -> tuple[Selected, ...]:
        found: list[Selected] = []
        for node in nodes:
            if isinstance(node, exp.Star):
                found += [Selected(column, column.value) for column in _STAR]
                continue
            what = self._field_or_count(node.this if isinstance(node, exp.Alias) else node)
            found.append(Selected(what, node.alias if isinstance(node, exp.Alias) else title(what)))
            if any(found[-1].title == one.title for one in found[:-1]):
                self._source.refuse(node, f"two columns are called {found[-1].title[:80]!r}; give one an alias")
        if not 1 <= len(found) <= MAX_COLUMNS:
            self._source.refuse(nodes[-1] if nodes else None, f"a query has 1 to {MAX_COLUMNS} columns")
        return tuple(found)

    def _field_or_count(self, node: exp.Expr) -> Field | Count:
        if not isinstance(node, exp.Count):
            return self._fields.field(node)
        if not isinstance(node.this, exp.Star):
            self._source.refuse(node, "only COUNT(*) is known")
        return Count()

    def _group(self, node: exp.Expr, titles: dict[str, Field | Count]) -> Field:
        named = titles.get(node.name) if isinstance(node, exp.Column) and len(node.parts) == 1 else None
        if isinstance(named, Count):
            self._source.refuse(node, "a count is no group")
        return named if named is not None else self._fields.field(node)

    def _order(self, node: exp.Expr, titles: dict[str, Field | Count]) -> Order:
        descending = bool(node.args.get("desc"))
        if bool(node.args.get("nulls_first")) is descending:  # the other way round than without these words
            self._source.refuse(node, "NULLS FIRST and NULLS LAST are not part of the language")
        inner = node.this
        if isinstance(inner, exp.Column) and len(inner.parts) == 1 and inner.name in titles:
            return Order(titles[inner.name], descending)
        return Order(self._field_or_count(inner), descending)

    def _limit(self, node: exp.Expr | None) -> int | None:
        if node is None:
            return None
        number = self._fields.literal(node.expression)
        if type(number) is not int or not 1 <= number <= MAX_ROWS:
            self._source.refuse(node, f"LIMIT takes a whole number from 1 to {MAX_ROWS}")
        return number

    def _check_groups(self, plan: Plan, select: exp.Select) -> None:
        if not plan.grouped:
            return
        shown = [one.what for one in plan.selected] + [one.what for one in plan.order]
        loose = next((one for one in shown if not isinstance(one, Count) and one not in plan.group), None)
        if loose is not None:
            self._source.refuse(select, f"{title(loose)[:80]} differs within a group; name it in GROUP BY")
