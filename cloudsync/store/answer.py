"""Runs a compiled query: bounded in rows, bytes and time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from cloudsync.store.cells import from_cells, unescaped
from cloudsync.store.compile import Shown, compile_plan
from cloudsync.store.database import Database, Record
from twin.document import Tombstone
from twin.model import Kind, TwinKey
from twin.query.plan import Plan
from twin.query.reader import MAX_ANSWER_BYTES, MAX_S, Answer

_PORTION: Final = 100
"""Rows that are taken from the database at a time, so that an answer of large values is not held whole."""


async def answer(
    database: Database,
    plan: Plan,
    *,
    rows: int,
    after: TwinKey | None,
    only: Collection[TwinKey] | None,
    max_s: float = MAX_S,
) -> Answer:
    """Answer a plan with at most ``rows`` rows, fewer if they are large. Raises QueryAborted, StoreError."""
    limit = rows if plan.limit is None else min(rows, plan.limit)
    statement = compile_plan(plan, database.dialect, rows=limit + 1, after=after, only=only)
    async with database.reading(max_s=max_s) as connection:
        found: list[list[Any]] = []
        units: list[set[str | None]] = [set() for name in plan.measured if name is not None]
        last: Record = ()
        size, cut = 0, False
        async for portion in connection.portions(statement.sql, statement.parameters, _PORTION):
            for row in portion:
                cells, width, bytes_ = _read(row, statement.shown)
                size += bytes_
                if len(found) == limit or (found and size > MAX_ANSWER_BYTES):
                    cut = True
                    break
                found.append(cells)
                for one, unit in zip(units, row[width:], strict=False):
                    one.add(unit)
                last = row
            if cut:
                break
    more = cut and (plan.limit is None or len(found) < plan.limit)
    told = iter(units)
    return Answer(
        tuple(one.title for one in plan.selected),
        found,
        more,
        _key(last) if more and plan.pageable else None,
        tuple("" if name is None else _shared(next(told)) for name in plan.measured),
    )


def _shared(units: set[str | None]) -> str:
    """The unit that all rows have."""
    return unescaped(units.pop() or "") if len(units) == 1 else ""


def _key(row: Sequence[Any]) -> TwinKey:
    kind, namespace, name = tuple(row)[-3:]
    return TwinKey(Kind(kind), namespace, name)


def _read(row: Record, shown: Sequence[Shown]) -> tuple[list[Any], int, int]:
    """The values of a row, how many columns they took, and about how many bytes."""
    values: list[Any] = []
    size, at = 0, 0
    for one in shown:
        if one is not Shown.CELLS:
            value = row[at]
            at += 1
            values.append(unescaped(value) if isinstance(value, str) else value)
            size += len(value.encode()) if isinstance(value, str) else 8
            continue
        num, rest, txt, text = row[at : at + 4]
        at += 4
        value = from_cells(num, rest, txt, text)
        values.append(None if isinstance(value, Tombstone) else value)
        size += len((txt or text or "").encode()) or 8
    return values, at, size
