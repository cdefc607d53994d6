"""Connections to the file of a SqliteStore, beside the one of the engine's commits."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from twin.sqlite_rows import reading_of, store_error

_BUSY_S: Final = 5.0


def beside(path: Path) -> sqlite3.Connection:
    """One for small changes that a power cut may take back: they are on disk with the engine's next commit.

    Raises StoreError.
    """
    try:
        db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    return db


@contextlib.contextmanager
def reading_at(path: Path) -> Iterator[sqlite3.Connection]:
    """One that changes nothing, and sees the file as it is at its first question. Raises StoreError."""
    with reading_of(path):
        place = f"{path.absolute().as_uri()}?mode=ro"
        db = sqlite3.connect(place, timeout=_BUSY_S, uri=True, isolation_level=None)
        try:
            db.execute("BEGIN")
            yield db
        finally:
            db.close()


class Writing:
    """All that is done inside ``with``, or nothing. Raises StoreError for what SQLite, or a value, refuses."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        """Begin."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise store_error(error, self._path) from error
        return self._db

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Commit, or take it back."""
        try:
            if error is None:
                self._db.execute("COMMIT")
        except sqlite3.Error as failed:
            error = failed
        if error is not None and self._db.in_transaction:
            self._db.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error | ValueError):
            raise store_error(error, self._path) from error
