"""Spans of the history in SQLite: neighbouring readings of one property in one row, and what becomes of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from twin.history import MAX_THINNED, Gap, Reading, Why, thinned, worth_thinning
from twin.history_pack import appended, pack, unpack

FULL: Final = 512
"""Readings of a span."""
SPAN_BYTES: Final = 64
"""What a span takes besides its packed readings, index and all."""
SPAN_COLUMNS: Final = "span.id, series, first, last, count, bytes, thinned, packed, thin"

_MERGE_UP_TO: Final = 8
"""A span takes readings in while it has at most so many times as many; so each is packed a few times, not for ever."""
_PUT_SPAN: Final = "INSERT INTO span (series, first, last, count, bytes, thinned, packed) VALUES (?, ?, ?, ?, ?, ?, ?)"
_CHANGE_SPAN: Final = "UPDATE span SET first = ?, last = ?, count = ?, bytes = ?, packed = ? WHERE id = ?"
_PUT_GAP: Final = (
    "INSERT INTO gap (series, why, first, last, count, change, unsent, unsent_first, unsent_last)"
    " VALUES (:series, :why, :first, :last, :count, (SELECT coalesce(max(change), 0) + 1 FROM gap),"
    " CASE WHEN :unsent THEN :count ELSE 0 END, CASE WHEN :unsent THEN :first END, CASE WHEN :unsent THEN :last END)"
    " ON CONFLICT (series, why) DO UPDATE SET"
    " first = min(first, excluded.first), last = max(last, excluded.last), count = count + excluded.count,"
    " change = excluded.change, unsent = unsent + excluded.unsent,"
    " unsent_first = min(coalesce(unsent_first, excluded.unsent_first), coalesce(excluded.unsent_first, unsent_first)),"
    " unsent_last = max(coalesce(unsent_last, excluded.unsent_last), coalesce(excluded.unsent_last, unsent_last))"
)


class Span(NamedTuple):
    """A row of the table, with the drop policy of its series."""

    id: int
    series: int
    first: int
    last: int
    readings: int
    size_bytes: int
    thinned: int
    packed: bytes
    thin: int


def append_readings(db: sqlite3.Connection, series: int, readings: Sequence[Reading]) -> None:
    """Put readings into spans; the newest span takes them in if there is room."""
    newest = db.execute(
        "SELECT id, count, thinned FROM span WHERE series = ? ORDER BY first DESC LIMIT 1", (series,)
    ).fetchone()
    if newest is not None:
        id_, count, thinned_ = newest
        small = not thinned_ and count + len(readings) <= FULL and count <= _MERGE_UP_TO * len(readings)
        if small and _taken_in(db, series, id_, readings):
            return
    for start in range(0, len(readings), FULL):
        _put_span(db, series, readings[start : start + FULL], 0)


def _taken_in(db: sqlite3.Connection, series: int, id_: int, readings: Sequence[Reading]) -> bool:
    """Put readings into a span that is there; False if it was damaged, and has gone."""
    packed, first, last, count = db.execute(
        "SELECT packed, first, last, count FROM span WHERE id = ?", (id_,)
    ).fetchone()
    try:
        longer = appended(packed, readings)
        if longer is None:
            _rewrite(db, id_, sorted([*unpack(packed), *readings]))
            return True
    except ValueError:
        _drop(db, id_, series, Gap(first, last, count, Why.DAMAGE))
        return False
    db.execute(_CHANGE_SPAN, (first, readings[-1].at, count + len(readings), len(longer) + SPAN_BYTES, longer, id_))
    return True


def _put_span(db: sqlite3.Connection, series: int, readings: Sequence[Reading], times_thinned: int) -> int:
    """Add a span at the end of the queue; its bytes."""
    packed = pack(readings)
    bytes_ = len(packed) + SPAN_BYTES
    row = (series, readings[0].at, readings[-1].at, len(readings), bytes_, times_thinned, packed)
    db.execute(_PUT_SPAN, row)
    return bytes_


def _rewrite(db: sqlite3.Connection, id_: int, readings: Sequence[Reading]) -> None:
    packed = pack(readings)
    row = (readings[0].at, readings[-1].at, len(readings), len(packed) + SPAN_BYTES, packed, id_)
    db.execute(_CHANGE_SPAN, row)


def _drop(db: sqlite3.Connection, id_: int, series: int, gap: Gap) -> None:
    put_gap(db, series, gap, unsent=_is_unsent(db, id_))
    db.execute("DELETE FROM span WHERE id = ?", (id_,))


def put_gap(db: sqlite3.Connection, series: int, gap: Gap, *, unsent: bool = True) -> None:
    """Count readings that were dropped; ``unsent``: before the cloud had them."""
    row = {"series": series, "why": gap.why, "first": gap.first, "last": gap.last, "count": gap.readings}
    db.execute(_PUT_GAP, {**row, "unsent": unsent})


def _is_unsent(db: sqlite3.Connection, id_: int) -> bool:
    return db.execute("SELECT 1 FROM span_unsent WHERE id = ?", (id_,)).fetchone() is not None


def first_in_queue(db: sqlite3.Connection) -> Span | None:
    row = db.execute(f"SELECT {SPAN_COLUMNS} FROM span JOIN series ON series.id = series ORDER BY span.id LIMIT 1")
    found = row.fetchone()
    return None if found is None else Span(*found)


def shrink(db: sqlite3.Connection, span: Span) -> int:
    """Thin a span and send it to the end of the queue, or drop it; the bytes that are left of it."""
    why = Why.SPACE
    if span.thin and span.thinned < MAX_THINNED:
        try:
            kept = thinned(unpack(span.packed))
        except ValueError:
            kept, why = [], Why.DAMAGE
        if kept and worth_thinning(span.readings, len(kept)):
            _drop(db, span.id, span.series, Gap(span.first, span.last, span.readings - len(kept), Why.THIN))
            return _put_span(db, span.series, kept, span.thinned + 1)
    _drop(db, span.id, span.series, Gap(span.first, span.last, span.readings, why))
    return 0


def cut(db: sqlite3.Connection, span: Span, oldest_ms: int) -> None:
    """Drop the readings of a span before a time."""
    if span.last < oldest_ms:
        _drop(db, span.id, span.series, Gap(span.first, span.last, span.readings, Why.AGE))
        return
    try:
        readings = unpack(span.packed)
    except ValueError:
        _drop(db, span.id, span.series, Gap(span.first, span.last, span.readings, Why.DAMAGE))
        return
    kept = [one for one in readings if one.at >= oldest_ms]
    gone = readings[: len(readings) - len(kept)]
    put_gap(db, span.series, Gap(gone[0].at, gone[-1].at, len(gone), Why.AGE), unsent=_is_unsent(db, span.id))
    _rewrite(db, span.id, kept)


def sweep(db: sqlite3.Connection) -> bool:
    """Delete some spans of a removed series; whether there was one."""
    row = db.execute("SELECT id FROM series_removed LIMIT 1").fetchone()
    if row is None:
        return False
    gone = db.execute("DELETE FROM span WHERE id IN (SELECT id FROM span WHERE series = ? LIMIT 256)", row)
    if not gone.rowcount:
        db.execute("DELETE FROM series_removed WHERE id = ?", row)
    return True
