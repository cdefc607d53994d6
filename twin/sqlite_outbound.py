"""The queues of pushes in SQLite, beside the leaves: filled in their commit, kept within bounds between commits.

    outbound        as they came, one row a reading
    outbound_chunk  the older ones of a long queue, packed
    outbound_gap    what was dropped

What is delivered is deleted. Who delivers is another process, which reads by ``twin.sqlite_outbound_reader`` and writes
nothing here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twin.checksum import row_sum
from twin.document import Tombstone
from twin.errors import StoreError
from twin.history import Gap, Limits, Why, allowed_bytes
from twin.outbound import (
    CHUNK_BYTES,
    PACKED,
    ROW_BYTES,
    Bounds,
    Row,
    Waiting,
    arrived_ms,
    pack_rows,
    too_old_tick,
    unpack_rows,
)
from twin.sqlite_connections import Writing, beside
from twin.sqlite_rows import QUALITY_SQL, reading_of, tail_reading, to_sql
from twin.store import Batch

PACK_FROM: Final = 2 * PACKED
"""Rows of a queue from which its older half is packed."""

_AT_ONCE: Final = 4096
_PUT: Final = (
    "INSERT OR IGNORE INTO outbound (queue, tick, series, at, value, quality, reason, sum)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_PUT_SERIES: Final = (
    "INSERT OR IGNORE INTO outbound_series (namespace, device, property, unit, route) VALUES (?, ?, ?, ?, ?)"
)
_SERIES: Final = (
    "SELECT id FROM outbound_series WHERE namespace = ? AND device = ? AND property = ? AND unit = ? AND route = ?"
)
ROWS: Final = (
    "SELECT series, sum, at, tick, value, quality, reason FROM outbound"
    " WHERE queue = ? AND tick > ? ORDER BY tick LIMIT ?"
)
_PUT_GAP: Final = (
    "INSERT INTO outbound_gap (queue, why, first, last, count) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (queue, why) DO UPDATE"
    " SET first = min(first, excluded.first), last = max(last, excluded.last), count = count + excluded.count"
)


def put_outbound(db: sqlite3.Connection, batch: Batch) -> None:
    """Append what a batch has for pushes, in its transaction. A queue that was taken away meanwhile gets nothing."""
    queues = dict(db.execute("SELECT name, id FROM outbound_queue WHERE name IS NOT NULL"))
    series: dict[tuple[str, ...], int] = {}
    for one in batch.pushed:
        queue = queues.get(one.outlet.queue)
        value = one.slot.value
        if queue is None or isinstance(value, Tombstone):
            continue
        name = (one.key.namespace, one.key.name, one.property, one.outlet.unit, one.outlet.route)
        number = series.get(name)
        if number is None:
            db.execute(_PUT_SERIES, name)
            number = series[name] = db.execute(_SERIES, name).fetchone()[0]
        slot = one.slot
        row = (queue, slot.tick, number, slot.at, to_sql(value), *QUALITY_SQL[slot.quality], slot.reason)
        db.execute(_PUT, (*row, row_sum(*row)))


class SqliteOutbound:
    """The queues in the file of a SqliteStore, with a connection of its own; the store must be open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connect. Raises StoreError."""
        self._db = beside(self._path)  # what is moved or deleted may come back

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def queues(self, names: Iterable[str]) -> dict[str, int]:
        """See to it that there are these queues and no others; their numbers. On disk when this returns.

        Raises StoreError.
        """
        wanted = set(names)
        with Writing(self._opened(), self._path) as db:
            there = dict(db.execute("SELECT name, id FROM outbound_queue WHERE name IS NOT NULL"))
            gone = [(there[name],) for name in there.keys() - wanted]
            db.executemany("UPDATE outbound_queue SET name = NULL WHERE id = ?", gone)
            db.executemany("INSERT INTO outbound_queue (name) VALUES (?)", [(one,) for one in wanted - there.keys()])
            found: dict[str, int] = dict(db.execute("SELECT name, id FROM outbound_queue WHERE name IS NOT NULL"))
        return found

    def tend(self, bounds: Mapping[int, Bounds], *, now_ms: int | None, free_bytes: int, min_free_bytes: int) -> bool:
        """Do one small piece of what keeps the bounds; whether there is more to do. Raises StoreError.

        ``now_ms`` None drops nothing by age. Below ``min_free_bytes`` the queues give way: the twins come first.
        """
        with Writing(self._opened(), self._path) as db:
            more = _sweep(db)
            for queue, one in bounds.items():
                more |= _delete_delivered(db, queue, one.cursor)
                more |= _pack(db, queue)
                if now_ms is not None:
                    more |= _drop_older(db, queue, one.cursor, too_old_tick(now_ms, one.max_age_ms))
                limits = Limits(one.max_bytes, 0, min_free_bytes)
                more |= _make_room(db, queue, one.cursor, limits, free_bytes + _free_bytes(db))
        return more

    def waiting(self, queue: int, cursor: int) -> Waiting:
        """What waits in a queue beyond the cursor. Raises StoreError."""
        db = self._opened()
        with reading_of(self._path):
            chunks = db.execute(
                "SELECT coalesce(sum(count), 0), min(first) FROM outbound_chunk WHERE queue = ? AND first > ?",
                (queue, cursor),
            ).fetchone()
            begun = db.execute(
                "SELECT packed FROM outbound_chunk WHERE queue = ? AND last > ? AND first <= ?",
                (queue, cursor, cursor),
            ).fetchall()
            rows, oldest = db.execute(
                "SELECT count(*), min(tick) FROM outbound WHERE queue = ? AND tick > ?", (queue, cursor)
            ).fetchone()
            half = [tick for (packed,) in begun for tick in _ticks(packed) if tick > cursor]
            gaps = db.execute("SELECT first, last, count, why FROM outbound_gap WHERE queue = ?", (queue,)).fetchall()
            used = _used_bytes(db, queue)
        first = min([tick for tick in (chunks[1], oldest, *half[:1]) if tick is not None], default=0)
        told = tuple(Gap(first_ms, last_ms, count, Why(why)) for first_ms, last_ms, count, why in gaps)
        return Waiting(chunks[0] + rows + len(half), arrived_ms(first), used, told)

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            message = f"the queues in {self._path} are not open"
            raise StoreError(message)
        return self._db


def row_fits(queue: int, series: int, row: Sequence[Any], found: int) -> bool:
    """Whether a row, from ``at`` on, is what was written."""
    at, tick, *rest = row
    return row_sum(queue, tick, series, at, *rest) == found


def _sweep(db: sqlite3.Connection) -> bool:
    """Empty a piece of a queue that was taken away; whether there was one."""
    row = db.execute("SELECT id FROM outbound_queue WHERE name IS NULL LIMIT 1").fetchone()
    if row is None:
        return False
    (queue,) = row
    if not _delete_delivered(db, queue, 2**63 - 1):
        db.execute("DELETE FROM outbound_gap WHERE queue = ?", row)
        db.execute("DELETE FROM outbound_queue WHERE id = ?", row)
        if db.execute("SELECT 1 FROM outbound_queue LIMIT 1").fetchone() is None:
            db.execute("DELETE FROM outbound_series")
    return True


def _delete_delivered(db: sqlite3.Connection, queue: int, cursor: int) -> bool:
    chunks = db.execute(
        "DELETE FROM outbound_chunk WHERE id IN (SELECT id FROM outbound_chunk WHERE queue = ? AND last <= ? LIMIT 64)",
        (queue, cursor),
    )
    upto = db.execute(
        "SELECT max(tick) FROM (SELECT tick FROM outbound WHERE queue = ? AND tick <= ? ORDER BY tick LIMIT ?)",
        (queue, cursor, _AT_ONCE),
    ).fetchone()[0]
    if upto is not None:
        db.execute("DELETE FROM outbound WHERE queue = ? AND tick <= ?", (queue, upto))
    return chunks.rowcount > 0 or upto is not None


def _pack(db: sqlite3.Connection, queue: int) -> bool:
    """Pack the older half of a queue that has got long."""
    found = db.execute(ROWS, (queue, -1, PACK_FROM)).fetchall()
    if len(found) < PACK_FROM:
        return False
    rows: list[Row] = []
    for series, sum_, *row in found[:PACKED]:
        if row_fits(queue, series, row, sum_):
            rows.append(Row(series, tail_reading(row)))
        else:
            _put_gap(db, queue, Gap(arrived_ms(row[1]), arrived_ms(row[1]), 1, Why.DAMAGE))
    if rows:
        packed = pack_rows(rows)
        db.execute(
            "INSERT INTO outbound_chunk (queue, first, last, count, bytes, packed) VALUES (?, ?, ?, ?, ?, ?)",
            (queue, rows[0].reading.tick, rows[-1].reading.tick, len(rows), len(packed) + CHUNK_BYTES, packed),
        )
    db.execute("DELETE FROM outbound WHERE queue = ? AND tick <= ?", (queue, found[PACKED - 1][3]))
    return True


def _drop_older(db: sqlite3.Connection, queue: int, cursor: int, tick: int) -> bool:
    """Drop what arrived before a tick: chunks as a whole, once their last did."""
    for chunk in db.execute(
        "SELECT id, first, last, count FROM outbound_chunk WHERE queue = ? AND last < ? ORDER BY last LIMIT 16",
        (queue, tick),
    ).fetchall():
        _drop_chunk(db, queue, cursor, chunk, Why.AGE)
    return _drop_rows(db, queue, cursor, tick, Why.AGE)


def _make_room(db: sqlite3.Connection, queue: int, cursor: int, limits: Limits, free_bytes: int) -> bool:
    """Drop the oldest until the queue is within its bytes; whether to go on."""
    used = _used_bytes(db, queue)
    if used <= allowed_bytes(limits, used_bytes=used, free_bytes=free_bytes):
        return False
    chunk = db.execute(
        "SELECT id, first, last, count FROM outbound_chunk WHERE queue = ? ORDER BY last LIMIT 1", (queue,)
    ).fetchone()
    if chunk is not None:
        _drop_chunk(db, queue, cursor, chunk, Why.SPACE)
        return True
    ticks = db.execute("SELECT tick FROM outbound WHERE queue = ? ORDER BY tick LIMIT 256", (queue,)).fetchall()
    return bool(ticks) and _drop_rows(db, queue, cursor, ticks[-1][0] + 1, Why.SPACE)


def _drop_chunk(db: sqlite3.Connection, queue: int, cursor: int, chunk: tuple[int, int, int, int], why: Why) -> None:
    number, first, last, count = chunk
    if first <= cursor < last:
        (packed,) = db.execute("SELECT packed FROM outbound_chunk WHERE id = ?", (number,)).fetchone()
        left = [tick for tick in _ticks(packed) if tick > cursor]
        first, count = (left[0], len(left)) if left else (last, 0)
    if last > cursor and count:
        _put_gap(db, queue, Gap(arrived_ms(first), arrived_ms(last), count, why))
    db.execute("DELETE FROM outbound_chunk WHERE id = ?", (number,))


def _drop_rows(db: sqlite3.Connection, queue: int, cursor: int, below: int, why: Why) -> bool:
    first, last, count = db.execute(
        "SELECT min(tick), max(tick), count(*) FROM outbound WHERE queue = ? AND tick > ? AND tick < ?",
        (queue, cursor, below),
    ).fetchone()
    if count:
        _put_gap(db, queue, Gap(arrived_ms(first), arrived_ms(last), count, why))
    return db.execute("DELETE FROM outbound WHERE queue = ? AND tick < ?", (queue, below)).rowcount > 0


def _put_gap(db: sqlite3.Connection, queue: int, gap: Gap) -> None:
    db.execute(_PUT_GAP, (queue, gap.why, gap.first, gap.last, gap.readings))


def _ticks(packed: bytes) -> list[int]:
    try:
        return [row.reading.tick for row in unpack_rows(packed)]
    except ValueError:
        return []


def _used_bytes(db: sqlite3.Connection, queue: int) -> int:
    chunks: int = db.execute("SELECT coalesce(sum(bytes), 0) FROM outbound_chunk WHERE queue = ?", (queue,)).fetchone()[
        0
    ]
    rows: int = db.execute("SELECT count(*) FROM outbound WHERE queue = ?", (queue,)).fetchone()[0]
    return chunks + rows * ROW_BYTES


def _free_bytes(db: sqlite3.Connection) -> int:
    pages: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    size: int = db.execute("PRAGMA page_size").fetchone()[0]
    return pages * size
