"""The history in SQLite, beside the leaves: appended in their commit, packed and kept within limits between commits.

    reading  the tail: one row a reading, one append each, because a row in its place would touch a page a property
    span     up to 512 neighbouring readings of one property, packed
    gap      what was dropped

The limits are kept in pieces of a few milliseconds, each a transaction of its own, on the thread of the commits.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any, Final

from twin.checksum import row_sum
from twin.clock import Clock
from twin.errors import StoreError
from twin.history import Gap, HistoryPage, HistoryQuery, Limits, Reading, Why, allowed_bytes, joined, merged
from twin.history_pack import unpack
from twin.model import Drop, Keep
from twin.sqlite_connections import beside, reading_at
from twin.sqlite_rows import QUALITY_SQL, reading_of, store_error, tail_fits, tail_reading, to_sql
from twin.sqlite_spans import SPAN_COLUMNS, Span, append_readings, cut, first_in_queue, put_gap, shrink, sweep
from twin.store import Batch, KeptReading, TwinRow

PIECE_S: Final = 0.005
"""How long one piece may hold up a commit, about."""
PACK_FROM: Final = 16_384
"""Rows of the tail from which it is packed; a reader goes through all of them."""
TAIL_BYTES: Final = 64
"""What a row of the tail is counted as."""

_LOADED_AT_ONCE: Final = 4096
_TAIL: Final = (
    "SELECT twin, property, at, tick, value, quality, reason, sum FROM reading"
    " WHERE tick > ? AND tick <= ? ORDER BY tick LIMIT ?"
)
_TOO_OLD: Final = (
    f"SELECT {SPAN_COLUMNS}, max_age_ms FROM series JOIN span ON span.series = series.id"
    " WHERE first < :now - (CASE max_age_ms WHEN 0 THEN :age ELSE max_age_ms END) * 17 / 16 LIMIT 64"
)


def put_history(db: sqlite3.Connection, batch: Batch) -> None:
    """Write what a batch has for the history, in its transaction: series, readings, and the end of dropped twins."""
    if batch.twins:
        _put_series(db, (row for row in batch.twins.values() if row.id not in batch.dropped))
    if batch.readings:
        _put_readings(db, batch.readings)
    if batch.dropped:  # last, so that a reading of this batch goes too
        _drop_series(db, batch.dropped)


class SqliteHistory:
    """The history in the file of a SqliteStore, with connections of its own; the store must be open."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._loaded: dict[tuple[int, str], list[Reading]] = {}
        self._loaded_to = 0
        self._load_to = 0
        self._target_bytes: int | None = None
        self._limits_due = False  # after each packing, lest readings that keep coming put the limits off for ever

    def open(self) -> None:
        """Connect. Raises StoreError."""
        self._db = beside(self._path)  # what is moved here is on disk already

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def newest_ms(self) -> int | None:
        """Time of the newest reading. Raises StoreError."""
        with reading_of(self._path):
            query = "SELECT max(at) FROM (SELECT max(last) AS at FROM span UNION ALL SELECT max(at) FROM reading)"
            newest: int | None = self._opened().execute(query).fetchone()[0]
        return newest

    def read(self, query: HistoryQuery) -> HistoryPage:
        """Readings that are on disk. May be called from any thread. Raises StoreError."""
        with reading_at(self._path) as db:
            return _page(db, query)

    def dropped(self) -> int:
        """Readings that were dropped for want of room, or lost by the disk. From any thread. Raises StoreError."""
        with reading_at(self._path) as db:
            query = "SELECT coalesce(sum(count), 0) FROM gap WHERE why != ?"
            count: int = db.execute(query, (Why.AGE,)).fetchone()[0]
        return count

    def tend(self, limits: Limits, *, now_ms: int | None, free_bytes: int, flush: bool) -> bool:
        """Do one small piece of what keeps the limits; whether there is more to do. Raises StoreError.

        ``now_ms`` None drops nothing by age; ``flush`` packs the tail however short it is. Runs between commits.
        """
        db = self._opened()
        try:
            db.execute("BEGIN IMMEDIATE")
            more = self._piece(db, limits, now_ms, free_bytes, flush=flush)
            db.execute("COMMIT")
        except (sqlite3.Error, ValueError) as error:
            self._loaded.clear()  # it is all in the tail still
            self._loaded_to = self._load_to = 0
            self._limits_due = False
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise store_error(error, self._path) from error
        return more

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            message = f"the history in {self._path} is not open"
            raise StoreError(message)
        return self._db

    def _piece(
        self, db: sqlite3.Connection, limits: Limits, now_ms: int | None, free_bytes: int, *, flush: bool
    ) -> bool:
        until_s = self._clock.monotonic_s() + PIECE_S
        rows, newest = db.execute("SELECT count(*), max(tick) FROM reading").fetchone()
        to_pack = bool(rows) and (flush or rows >= PACK_FROM)
        if to_pack and not self._loaded and not self._limits_due:
            self._load_to = newest
        if self._loaded_to < self._load_to:
            self._load(db)
            return True
        if self._loaded:
            self._pack(db, until_s)
            self._limits_due = True
            return True
        more = sweep(db) or self._make_room(db, limits, rows, free_bytes, until_s)
        more = more or (now_ms is not None and self._drop_old(db, limits, now_ms, until_s))
        self._limits_due = more
        return more or to_pack

    def _load(self, db: sqlite3.Connection) -> None:
        """Take some of the tail into memory, to be packed by series once all of it that was there is."""
        rows = db.execute(_TAIL, (self._loaded_to, self._load_to, _LOADED_AT_ONCE)).fetchall()
        for twin, name, *row, found in rows:
            if tail_fits(twin, name, row, found):
                self._loaded.setdefault((twin, name), []).append(tail_reading(row))
            else:
                _drop_damaged(db, twin, name, row)
        self._loaded_to = rows[-1][3] if len(rows) == _LOADED_AT_ONCE else self._load_to

    def _pack(self, db: sqlite3.Connection, until_s: float) -> None:
        """Move some of what was loaded from the tail into spans."""
        packed: list[tuple[int]] = []
        while self._loaded:
            (twin, name), readings = self._loaded.popitem()
            series = db.execute("SELECT id FROM series WHERE twin = ? AND property = ?", (twin, name)).fetchone()
            if series is not None:  # else the twin has gone, and its readings with it
                append_readings(db, series[0], sorted(readings))
            packed += [(one.tick,) for one in readings]
            if self._clock.monotonic_s() >= until_s:
                break
        db.executemany("DELETE FROM reading WHERE tick = ?", packed)

    def _make_room(
        self, db: sqlite3.Connection, limits: Limits, tail_rows: int, free_bytes: int, until_s: float
    ) -> bool:
        """Thin and drop spans, the first in the queue first, until a sixteenth below the limit; whether to go on."""
        used = db.execute("SELECT coalesce(sum(bytes), 0) FROM span").fetchone()[0] + tail_rows * TAIL_BYTES
        free = free_bytes + db.execute("PRAGMA freelist_count").fetchone()[0] * _page_bytes(db)
        limit = allowed_bytes(limits, used_bytes=used, free_bytes=free)
        if used > limit:
            self._target_bytes = limit - limit // 16
        if self._target_bytes is None:
            return False
        while used > self._target_bytes:
            span = first_in_queue(db)
            if span is None:
                self._target_bytes = None
                self._load_to = db.execute("SELECT coalesce(max(tick), 0) FROM reading").fetchone()[0]
                return bool(tail_rows)
            used += shrink(db, span) - span.size_bytes
            if self._clock.monotonic_s() >= until_s:
                return True
        self._target_bytes = None
        return False

    def _drop_old(self, db: sqlite3.Connection, limits: Limits, now_ms: int, until_s: float) -> bool:
        """Drop readings that are too old, in portions of a sixteenth of the age; whether some are left."""
        found = db.execute(_TOO_OLD, {"now": now_ms, "age": limits.max_age_ms}).fetchall()
        for *columns, max_age_ms in found:
            cut(db, Span(*columns), now_ms - (max_age_ms or limits.max_age_ms))
            if self._clock.monotonic_s() >= until_s:
                break
        return bool(found)


def _put_series(db: sqlite3.Connection, rows: Iterable[TwinRow]) -> None:
    """See to the series of twins that are written: one for each property with history, with its policy."""
    db.executemany(
        "INSERT INTO series (twin, property, thin, max_age_ms) VALUES (?, ?, ?, ?) ON CONFLICT (twin, property)"
        " DO UPDATE SET thin = excluded.thin, max_age_ms = excluded.max_age_ms",
        [
            (row.id, name, one.history.drop is Drop.THIN, one.history.max_age_ms)
            for row in rows
            for name, one in row.spec.properties.items()
            if one.history.keep is not Keep.OFF
        ],
    )


def _put_readings(db: sqlite3.Connection, readings: Iterable[KeptReading]) -> None:
    """Append readings to the tail."""
    db.executemany(
        "INSERT INTO reading (twin, property, at, tick, value, quality, reason, sum) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            _summed(twin, name, slot[4], slot[1], to_sql(slot[0]), *QUALITY_SQL[slot[5]], slot[6])
            for twin, name, slot in readings
        ),
    )


def _summed(*row: Any) -> tuple[Any, ...]:
    return (*row, row_sum(*row))


def _drop_damaged(db: sqlite3.Connection, twin: int, name: str, row: Sequence[Any]) -> None:
    """Count a damaged reading of the tail in the gap of its series, if it can be told which that is."""
    at, tick, *_ = row
    db.execute("DELETE FROM reading WHERE tick = ?", (tick,))
    series = db.execute("SELECT id FROM series WHERE twin = ? AND property = ?", (twin, name)).fetchone()
    if series is not None and type(at) is int:
        put_gap(db, series[0], Gap(at, at, 1, Why.DAMAGE))


def _drop_series(db: sqlite3.Connection, twins: Iterable[int]) -> None:
    """Forget all that twins have; the spans, which nothing leads to any more, are deleted piece by piece."""
    ids = json.dumps(list(twins))
    theirs = "twin IN (SELECT value FROM json_each(?))"
    db.execute(f"INSERT OR IGNORE INTO series_removed SELECT id FROM series WHERE {theirs}", (ids,))
    db.execute(f"DELETE FROM gap WHERE series IN (SELECT id FROM series WHERE {theirs})", (ids,))
    db.execute(f"DELETE FROM series WHERE {theirs}", (ids,))
    db.execute(f"DELETE FROM reading WHERE {theirs}", (ids,))


def _page_bytes(db: sqlite3.Connection) -> int:
    size: int = db.execute("PRAGMA page_size").fetchone()[0]
    return size


def _page(db: sqlite3.Connection, query: HistoryQuery) -> HistoryPage:
    key = query.key
    series = db.execute(
        "SELECT series.id, twin.id FROM twin JOIN series ON series.twin = twin.id"
        " WHERE kind = ? AND namespace = ? AND name = ? AND uid = ? AND property = ?",
        (key.kind, key.namespace, key.name, query.uid, query.property),
    ).fetchone()
    if series is None:
        return HistoryPage((), (), more=False)
    since = max(query.since, query.after.at) if query.after else query.since
    within = (since, query.until)
    damaged: list[Gap] = []
    found = list(islice(_between(db, series[0], series[1], query, since, damaged), query.limit + 1))
    gaps = db.execute(
        "SELECT first, last, count, why FROM gap WHERE series = ? AND last >= ? AND first <= ? ORDER BY first",
        (series[0], *within),
    )
    shown = joined([*(Gap(first, last, count, Why(why)) for first, last, count, why in gaps), *damaged])
    return HistoryPage(tuple(found[: query.limit]), tuple(shown), more=len(found) > query.limit)


def _between(
    db: sqlite3.Connection, series: int, twin: int, query: HistoryQuery, since: int, damaged: list[Gap]
) -> Iterator[Reading]:
    """Readings in order. Adds what cannot be read to ``damaged``; it is dropped when its turn to be packed comes."""
    spans = db.execute(
        "SELECT first, last, count, packed FROM span WHERE series = ? AND last >= ? AND first <= ? ORDER BY first",
        (series, since, query.until),
    )
    tail = []
    for *row, sum_ in db.execute(
        "SELECT at, tick, value, quality, reason, sum FROM reading"
        " WHERE twin = ? AND property = ? AND at BETWEEN ? AND ?",
        (twin, query.property, since, query.until),
    ):
        if tail_fits(twin, query.property, row, sum_):
            tail.append(tail_reading(row))
        else:
            damaged.append(Gap(row[0], row[0], 1, Why.DAMAGE))
    tail.sort()
    runs: Iterator[tuple[int, Iterable[Reading]]] = _unpacked(spans, damaged)
    if tail:
        runs = merge(runs, [(tail[0].at, tail)], key=lambda run: run[0])
    for one in merged(runs):
        if one.at > query.until:
            return
        if one.at >= since and (query.after is None or (one.at, one.tick) > query.after):
            yield one


def _unpacked(spans: Iterable[Any], damaged: list[Gap]) -> Iterator[tuple[int, list[Reading]]]:
    for first, last, count, packed in spans:
        try:
            yield first, unpack(packed)
        except ValueError:
            damaged.append(Gap(first, last, count, Why.DAMAGE))
