"""One small transaction beside the commits of the engine."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from twin.sqlite_rows import store_error


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
