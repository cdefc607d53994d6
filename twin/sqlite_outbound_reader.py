"""The queues of pushes as another process reads them, at the same time as they are written; it changes nothing."""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from pathlib import Path
from typing import NamedTuple

from twin.outbound import QueuedReading, Row, unpack_rows
from twin.sqlite_connections import reading_at
from twin.sqlite_outbound import ROWS, row_fits
from twin.sqlite_rows import tail_reading


class Page(NamedTuple):
    """What comes next in a queue. ``upto`` is the tick of the last, or of what was passed over as ``damaged``."""

    readings: tuple[QueuedReading, ...]
    upto: int
    damaged: int = 0


class OutboundReader:
    """Reads the queues from another process, at the same time as they are written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._series: dict[int, tuple[str, str, str, str, str]] = {}
        self._chunk: tuple[int, list[Row]] = (0, [])

    def last_tick(self) -> int:
        """The last tick that was committed. Blocks. Raises StoreError."""
        with reading_at(self._path) as db:
            found = db.execute("SELECT value FROM meta WHERE key = 'tick'").fetchone()
        return found[0] if found is not None else 0

    def next(self, queue: int, cursor: int, limit: int) -> Page:
        """The readings behind the cursor, in order, at most so many. Blocks. Raises StoreError."""
        with reading_at(self._path) as db:
            return self._page(db, queue, cursor, limit)

    def _page(self, db: sqlite3.Connection, queue: int, cursor: int, limit: int) -> Page:
        chunk = db.execute(
            "SELECT id, last, count FROM outbound_chunk WHERE queue = ? AND last > ? ORDER BY last LIMIT 1",
            (queue, cursor),
        ).fetchone()
        damaged, upto = 0, cursor
        if chunk is not None:
            number, last, count = chunk
            rows = self._unpacked(db, number)
            if rows is None:
                return Page((), last, count)
            start = bisect_right(rows, cursor, key=lambda row: row.reading.tick)
            found = rows[start : start + limit]
        else:
            found = []
            for series, sum_, *row in db.execute(ROWS, (queue, cursor, limit)):
                upto = row[1]
                if row_fits(queue, series, row, sum_):
                    found.append(Row(series, tail_reading(row)))
                else:
                    damaged += 1
        named = [self._named(db, row) for row in found]
        known = tuple(one for one in named if one is not None)
        last = found[-1].reading.tick if chunk is not None and found else upto
        return Page(known, last, damaged + len(named) - len(known))

    def _unpacked(self, db: sqlite3.Connection, number: int) -> list[Row] | None:
        if self._chunk[0] != number:
            (packed,) = db.execute("SELECT packed FROM outbound_chunk WHERE id = ?", (number,)).fetchone()
            try:
                self._chunk = number, unpack_rows(packed)
            except ValueError:
                return None
        return self._chunk[1]

    def _named(self, db: sqlite3.Connection, row: Row) -> QueuedReading | None:
        names = self._series.get(row.series)
        if names is None:
            query = "SELECT namespace, device, property, unit, route FROM outbound_series WHERE id = ?"
            names = db.execute(query, (row.series,)).fetchone()
            if names is None:  # the disk has damaged it: nobody knows whose reading this is
                return None
            self._series[row.series] = names
        one = row.reading
        namespace, device, name, unit, route = names
        place = (one.tick, namespace, device, name, unit, route)
        return QueuedReading(*place, one.at, one.value, one.quality, one.reason)
