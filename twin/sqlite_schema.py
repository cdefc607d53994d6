"""The schema of a SQLite store: made and brought up to date by the numbered files of twin/migrations.

Its version stands in the file's header and, with a checksum, in the table ``meta``; a header that the disk has harmed
is mended from there.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final

from twin.checksum import row_fits, row_sum
from twin.errors import StoreTooNew
from twin.sqlite_check import schema_sum, sum_all

log = logging.getLogger(__name__)

_SUMS: Final = "0006_checksums.sql"
PUT_META: Final = "INSERT OR REPLACE INTO meta (key, value, sum) VALUES (?, ?, ?)"


def refuse_later(db: sqlite3.Connection, path: Path) -> None:
    version, known = _schema_version(db), len(_migrations())
    with contextlib.suppress(
        sqlite3.Error
    ):  # one that is not there yet, or not readable: seen by the check that follows
        written = db.execute("SELECT value, sum FROM meta WHERE key = 'schema'").fetchone()
        if written is not None and version != written[0] and row_fits("schema", *written):
            log.error("%s names schema version %s in its header and is of %s; mended", path, version, written[0])
            version = written[0]
            db.execute(f"PRAGMA user_version = {version}")
    if version > known:
        message = f"{path} has schema version {version}; this release knows up to {known}"
        raise StoreTooNew(
            message, remedy="Install the release that wrote it, or a later one; the file was not touched."
        )


def is_earlier(db: sqlite3.Connection) -> bool:
    """Whether an earlier release wrote it, which does not know what ``migrate`` makes of it."""
    return 0 < _schema_version(db) < len(_migrations())


def _schema_version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _migrations() -> list[str]:
    return sorted(entry.name for entry in resources.files("twin.migrations").iterdir() if entry.name.endswith(".sql"))


def migrate(db: sqlite3.Connection) -> None:
    version, files = _schema_version(db), _migrations()
    for number, name in enumerate(files[version:], start=version + 1):
        script = resources.files("twin.migrations").joinpath(name).read_text()
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};")
            if name == _SUMS:
                sum_all(db)
            db.execute("COMMIT")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    if files[version:]:
        number = len(files)
        db.execute(PUT_META, ("schema", number, row_sum("schema", number)))
        tables = schema_sum(db)
        db.execute(PUT_META, ("tables", tables, row_sum("tables", tables)))
