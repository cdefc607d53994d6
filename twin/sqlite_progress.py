"""How far each push has delivered, in a file of the process that delivers. The hub reads it, and deletes what is there.

A file that is lost costs readings that are delivered twice.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twin.errors import StoreCorrupt, StoreError
from twin.sqlite_rows import reading_of, store_error

log = logging.getLogger(__name__)

KEPT_ASIDE: Final = 1000
"""Readings of a queue that were set aside and can be looked at; of more than that the oldest are forgotten."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS progress (
  queue  INTEGER PRIMARY KEY,
  name   TEXT    NOT NULL,
  cursor INTEGER NOT NULL,
  sent   INTEGER NOT NULL,
  aside  INTEGER NOT NULL,
  lost   INTEGER NOT NULL,
  state  TEXT    NOT NULL,
  why    TEXT    NOT NULL,
  since  INTEGER NOT NULL,
  last   INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS aside (
  queue    INTEGER NOT NULL,
  tick     INTEGER NOT NULL,
  reading  TEXT    NOT NULL,
  why      TEXT    NOT NULL,
  at       INTEGER NOT NULL,
  PRIMARY KEY (queue, tick)
) WITHOUT ROWID;
"""
_PUT: Final = (
    "INSERT OR REPLACE INTO progress (queue, name, cursor, sent, aside, lost, state, why, since, last)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one push stands. ``cursor``: all up to this tick is delivered, set aside, or was damaged."""

    name: str
    cursor: int = 0
    sent: int = 0
    aside: int = 0
    lost: int = 0
    """Readings that the disk has damaged."""
    state: str = "idle"
    why: str = ""
    since_ms: int = 0
    """Since when it is in this state."""
    last_ms: int = 0
    """When something was delivered last; 0: never."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A reading that the target refused for good: its payload, why, and when."""

    tick: int
    reading: str
    why: str
    at_ms: int


class ProgressFile:
    """The one writer's. A file that cannot be read is set aside, and everything begins anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or make the file. Raises StoreError."""
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(store_error(error, self._path, opening=True), StoreCorrupt):
                log.error("%s is damaged and begun anew: readings may be delivered twice", self._path)
                for ending in ("", "-wal", "-shm"):
                    self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
                with _told(self._path):
                    self._open()
                return
            raise store_error(error, self._path) from error

    def _open(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            self._path.chmod(0o600)
            db.execute("PRAGMA busy_timeout=5000")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")  # what a power cut takes is delivered twice
            db.executescript(_TABLES)
        except BaseException:
            db.close()
            raise
        self._db = db

    def close(self) -> None:
        """Let go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def load(self) -> dict[int, Progress]:
        """All that is known, by queue. Raises StoreError."""
        with _told(self._path):
            return _all(self._opened())

    def put(self, queue: int, progress: Progress, aside: SetAside | None = None) -> None:
        """Note where a push stands, with what it has just set aside. Raises StoreError."""
        db = self._opened()
        one = progress
        row = (one.cursor, one.sent, one.aside, one.lost, one.state, one.why, one.since_ms, one.last_ms)
        with _told(self._path):
            db.execute("BEGIN IMMEDIATE")
            try:
                if aside is not None:
                    kept = (queue, aside.tick, aside.reading, aside.why, aside.at_ms)
                    db.execute(
                        "INSERT OR REPLACE INTO aside (queue, tick, reading, why, at) VALUES (?, ?, ?, ?, ?)", kept
                    )
                    db.execute(
                        "DELETE FROM aside WHERE queue = ? AND tick NOT IN"
                        " (SELECT tick FROM aside WHERE queue = ? ORDER BY tick DESC LIMIT ?)",
                        (queue, queue, KEPT_ASIDE),
                    )
                db.execute(_PUT, (queue, one.name, *row))
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def keep_only(self, queues: set[int]) -> None:
        """Forget the pushes that there are no more. Raises StoreError."""
        db = self._opened()
        with _told(self._path):
            for queue in _all(db).keys() - queues:
                db.execute("DELETE FROM progress WHERE queue = ?", (queue,))
                db.execute("DELETE FROM aside WHERE queue = ?", (queue,))

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            message = f"{self._path} is not open"
            raise StoreError(message)
        return self._db


def read_progress(path: Path) -> dict[int, Progress]:
    """What the file says, for whoever only reads it; nothing before there is one. Raises StoreError."""
    if not path.exists():
        return {}
    with _reading(path) as db:
        return _all(db)


def read_aside(path: Path, queue: int) -> list[SetAside]:
    """What a push has set aside, the oldest first. Raises StoreError."""
    if not path.exists():
        return []
    with _reading(path) as db:
        rows = db.execute("SELECT tick, reading, why, at FROM aside WHERE queue = ? ORDER BY tick", (queue,))
        return [SetAside(*row) for row in rows]


def _all(db: sqlite3.Connection) -> dict[int, Progress]:
    rows = db.execute("SELECT queue, name, cursor, sent, aside, lost, state, why, since, last FROM progress")
    return {queue: Progress(*row) for queue, *row in rows}


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with reading_of(path):
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            db.execute("PRAGMA busy_timeout=2000")
            yield db
        finally:
            db.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path) from error
