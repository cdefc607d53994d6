"""The history in SQLite, piece by piece on its way to the cloud: spans that were not sent, then the tail.

    reading.tick <= sent.tick ............ sent
    span in span_unsent, beyond that ..... next, oldest span first
    tail, once no such span is left ...... next, in the order of ticks; sent.tick rises

Runs on the thread of the commits, as what packs and drops does: so nothing moves between two looks. A mark that is lost
costs a piece that is sent again; the cloud keeps each reading once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twin.errors import StoreError
from twin.exchange import SeriesReadings
from twin.history import Gap, Reading, Why
from twin.history_pack import unpack
from twin.model import Kind, TwinKey
from twin.sqlite_connections import Writing, beside
from twin.sqlite_rows import reading_of, tail_fits, tail_reading

PIECE_READINGS: Final = 2000
_SPANS_AT_ONCE: Final = 64
_GAPS_AT_ONCE: Final = 200
_NAME: Final = "twin.kind, twin.namespace, twin.name, twin.uid, series.property"
_SPANS: Final = (
    f"SELECT span_unsent.id, mark, packed, {_NAME} FROM span_unsent LEFT JOIN span ON span.id = span_unsent.id"
    " LEFT JOIN series ON series.id = span.series LEFT JOIN twin ON twin.id = series.twin"
    " ORDER BY span_unsent.id LIMIT ?"
)
_TAIL: Final = (
    "SELECT reading.twin, reading.property, at, tick, value, quality, reason, reading.sum, kind, namespace, name, uid"
    " FROM reading JOIN twin ON twin.id = reading.twin WHERE tick > ? ORDER BY tick LIMIT ?"
)
_GAPS: Final = (
    f"SELECT change, unsent_first, unsent_last, unsent, why, {_NAME} FROM gap JOIN series ON series.id = gap.series"
    " JOIN twin ON twin.id = series.twin WHERE change > ? ORDER BY change LIMIT ?"
)
_Name = tuple[TwinKey, str, str]


@dataclass(frozen=True, slots=True)
class Piece:
    """What goes next, and what is noted once the cloud has it. ``upto`` names the place behind it."""

    upto: str
    series: tuple[SeriesReadings, ...]
    tick: int
    change: int
    turn: int
    spans: tuple[tuple[int, int], ...] = ()


class SqliteDrain:
    """What a history still has to send; the store of the file must be open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self.log = ""
        """The name of this history."""

    def open(self) -> None:
        """Connect. Raises StoreError."""
        self._db = beside(self._path)  # marks that are lost cost a piece that is sent twice
        with reading_of(self._path):
            (self.log,) = self._db.execute("SELECT log FROM history_sent").fetchone()

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def piece(self, limit: int = PIECE_READINGS) -> Piece | None:
        """The next piece, None if all was sent. Raises StoreError."""
        db = self._opened()
        with reading_of(self._path):
            tick, change, turn = db.execute("SELECT tick, change, turn FROM history_sent").fetchone()
            found: dict[_Name, list[Reading]] = {}
            spans, done = _of_spans(db, tick, limit, found)
            upto = tick
            if done and not found:
                upto = _of_tail(db, tick, limit, found)
            gaps, last_change = _gaps(db, change)
        names = dict.fromkeys((*found, *gaps))
        if not names and not spans and upto == tick:
            return None
        series = tuple(
            SeriesReadings(*name, tuple(sorted(found.get(name, ()))), tuple(gaps.get(name, ()))) for name in names
        )
        return Piece(f"{upto}.{last_change}.{turn + 1}", series, upto, last_change, turn + 1, tuple(spans))

    def sent(self, piece: Piece) -> None:
        """Note that the cloud has a piece. Raises StoreError."""
        with self._writing() as db:
            db.executemany("DELETE FROM span_unsent WHERE id = ? AND mark = ?", piece.spans)
            db.execute("UPDATE history_sent SET tick = ?, change = ?, turn = ?", (piece.tick, piece.change, piece.turn))

    def has_upto(self, log: str, upto: str) -> str:
        """Hear how far the cloud has it, and give the place to go on from. Raises StoreError.

        A cloud that was restored has less than it had: what it lacks, and is still here, is to be sent again.
        """
        tick, change, turn, place = (*_parsed(upto), upto) if log == self.log else (0, 0, 0, "")
        with self._writing() as db:
            known_tick, known_change, known_turn = db.execute("SELECT tick, change, turn FROM history_sent").fetchone()
            if turn < known_turn:
                db.execute("INSERT OR REPLACE INTO span_unsent SELECT id, random() FROM span")
            db.execute(
                "UPDATE history_sent SET tick = ?, change = ?", (min(tick, known_tick), min(change, known_change))
            )
        return place

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            message = f"the history in {self._path} is not open"
            raise StoreError(message)
        return self._db

    def _writing(self) -> Writing:
        return Writing(self._opened(), self._path)


def _of_spans(
    db: sqlite3.Connection, tick: int, limit: int, found: dict[_Name, list[Reading]]
) -> tuple[list[tuple[int, int]], bool]:
    """Unsent readings of spans; the spans that are sent with them, and whether there are no others."""
    spans: list[tuple[int, int]] = []
    count = 0
    rows = db.execute(_SPANS, (_SPANS_AT_ONCE,)).fetchall()
    for number, mark, packed, *name in rows:
        spans.append((number, mark))
        if packed is None or name[0] is None:  # gone, or of a twin that has gone
            continue
        try:
            unsent = [one for one in unpack(packed) if one.tick > tick]
        except ValueError:
            continue  # damaged: whoever packs or drops it next counts it
        if unsent:
            found.setdefault(_named(name), []).extend(unsent)
            count += len(unsent)
        if count >= limit:
            return spans, False
    return spans, len(rows) < _SPANS_AT_ONCE


def _of_tail(db: sqlite3.Connection, tick: int, limit: int, found: dict[_Name, list[Reading]]) -> int:
    """Unsent readings of the tail; the tick of the last."""
    upto = tick
    for twin, name, *row, sum_, kind, namespace, twin_name, uid in db.execute(_TAIL, (tick, limit)):
        upto = row[1]
        if tail_fits(twin, name, row, sum_):
            found.setdefault((TwinKey(Kind(kind), namespace, twin_name), uid, name), []).append(tail_reading(row))
    return upto


def _gaps(db: sqlite3.Connection, change: int) -> tuple[dict[_Name, list[Gap]], int]:
    gaps: dict[_Name, list[Gap]] = {}
    last = change
    for last, first, until, count, why, *name in db.execute(_GAPS, (change, _GAPS_AT_ONCE)):  # noqa: B007  used below
        if count:
            gaps.setdefault(_named(name), []).append(Gap(first, until, count, Why(why)))
    return gaps, last


def _named(row: Iterable[Any]) -> _Name:
    kind, namespace, name, uid, property_ = row
    return TwinKey(Kind(kind), namespace, name), uid, property_


def _parsed(upto: str) -> tuple[int, int, int]:
    """Tick, change and turn of a place; of one that is not ours, the beginning."""
    parts = upto.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
        return 0, 0, 0
    tick, change, turn = map(int, parts)
    return tick, change, turn
