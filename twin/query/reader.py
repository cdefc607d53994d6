"""Runs queries on a store's file through a connection that cannot write; bounded in rows, bytes and time."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twin.errors import QueryAborted, StoreError
from twin.model import Kind, TwinKey

if TYPE_CHECKING:
    from twin.query.plan import Plan

MAX_S: Final = 3.0
MAX_ANSWER_BYTES: Final = 1024 * 1024

_STEPS: Final = 10_000  # of SQLite's machine between two looks at the clock: less than a millisecond
_CACHE_KIB: Final = 8 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of JSON values. ``more``: there are others; ``after``: what continues them, if anything can."""

    columns: tuple[str, ...]
    rows: list[list[Any]]
    more: bool = False
    after: TwinKey | None = None
    units: tuple[str, ...] = ()
    """By column, the unit that all its rows have; empty if they have none, or several."""


class SqliteReader:
    """Answers plans from the file that an open SqliteStore writes.

    Each answer reads one snapshot of its own, taken when it is asked for; whatever was committed before is in it.
    """

    def __init__(self, path: Path, *, max_s: float = MAX_S) -> None:
        self._path = path
        self._max_s = max_s

    def run(self, plan: Plan, *, rows: int, after: TwinKey | None = None) -> Answer:
        """Answer a plan with at most ``rows`` rows, fewer if they are large; blocks.

        Raises QueryAborted if it takes too long, StoreError if the file cannot be read.
        """
        from twin.query.sqlite import compile_plan  # memory that only those who query should pay

        limit = rows if plan.limit is None else min(rows, plan.limit)
        statement = compile_plan(plan, rows=limit + 1, after=after)
        ends_s = time.monotonic() + self._max_s
        try:
            with self._connection() as db:
                db.set_progress_handler(lambda: time.monotonic() > ends_s, _STEPS)
                found, cut = _bounded(db.execute(statement.sql, statement.parameters), limit)
        except sqlite3.Error as error:
            if str(error) != "interrupted":
                message = f"{self._path}: {error}"
                raise StoreError(message, remedy="Check permissions and the disk's health.") from error
            message = f"the query was given up after {self._max_s:g} s"
            raise QueryAborted(message, remedy="Narrow it with a condition on tags, or ask for fewer fields.") from None
        more = cut and (plan.limit is None or len(found) < plan.limit)
        width = len(plan.selected)
        return Answer(
            tuple(one.title for one in plan.selected),
            [[_json_value(cell) for cell in row[:width]] for row in found],
            more,
            TwinKey(Kind(found[-1][-3]), *found[-1][-2:]) if more and plan.pageable else None,
            tuple(_units(plan, found)),
        )

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.execute("PRAGMA query_only = ON")
            db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            yield db


def _units(plan: Plan, found: list[tuple[Any, ...]]) -> Iterator[str]:
    at = len(plan.selected)
    for name in plan.measured:
        told = {row[at] for row in found} if name is not None else set()
        at += name is not None
        yield told.pop() or "" if len(told) == 1 else ""


def _bounded(cursor: sqlite3.Cursor, limit: int) -> tuple[list[tuple[Any, ...]], bool]:
    """The rows that fit, one at least, and whether there are others."""
    rows: list[tuple[Any, ...]] = []
    size = 0
    for row in cursor:
        size += sum(map(_size_bytes, row))
        if len(rows) == limit or (rows and size > MAX_ANSWER_BYTES):
            return rows, True
        rows.append(row)
    return rows, False


def _size_bytes(cell: object) -> int:
    if isinstance(cell, str):
        return len(cell.encode())
    return len(cell) if isinstance(cell, bytes) else 8


def _json_value(stored: object) -> Any:
    return json.loads(stored) if isinstance(stored, bytes) else stored
