"""Twins and leaves in SQLite: WAL, synchronous=FULL, one writer. Only the modules twin/sqlite_* import sqlite3.

A batch is written in one transaction, from one thread at a time; when ``write`` returns, it is on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from sys import intern
from typing import Any, Final

from twin.document import Slot
from twin.errors import StoreError, StoreTooNew
from twin.exchange import Row, Run
from twin.model import Kind, Reason, Section, Site, TwinKey, TwinSpec
from twin.spec_text import NO_SPEC, SpecReader, text_of
from twin.sqlite_history import put_history
from twin.sqlite_rows import QUALITIES, QUALITY_SQL, REASONS, from_sql, reading_of, store_error, to_sql
from twin.store import Batch, FeedState, LeafKey, TwinRow


class SqliteStore:
    """The store of a gateway, and the cloud's embedded default."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or make the file and bring its schema up to date.

        Raises StoreCorrupt for a file that SQLite cannot read, StoreTooNew for one of a later release.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # The commit thread and the loop take turns, never at the same time.
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise store_error(error, self._path) from error
        try:
            _refuse_later_schema(db, self._path)
            self._path.chmod(0o600)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA busy_timeout=5000")
            verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
            _migrate(db)
        except (sqlite3.Error, OSError) as error:
            db.close()
            raise store_error(error, self._path) from error
        except StoreError:
            db.close()
            raise
        self._db = db

    def load(self) -> tuple[list[TwinRow], int]:
        """All twins, and the site's last tick. Raises StoreError."""
        db = self._opened()
        read = SpecReader().read
        with reading_of(self._path):
            twins = [
                TwinRow(
                    id_, read(text) or TwinSpec(TwinKey(Kind(kind), namespace, name), uid), version, text != NO_SPEC
                )
                for id_, kind, namespace, name, uid, version, text in db.execute(_TWINS)
            ]
            tick = db.execute("SELECT value FROM meta WHERE key = 'tick'").fetchone()
        return twins, tick[0] if tick else 0

    def leaves(self, twins: Iterable[int] | None = None) -> Iterator[tuple[LeafKey, Slot, int]]:
        """Slots with the version they were written in: of the given twins, or of all. Raises StoreError."""
        query = "SELECT twin, section, property, site, value, tick, seen, by, at, quality, reason, version FROM leaf"
        db = self._opened()
        with reading_of(self._path):
            if twins is None:
                yield from map(_leaf, db.execute(query))
                return
            for twin in twins:
                yield from map(_leaf, db.execute(f"{query} WHERE twin = ?", (twin,)))

    def rows_after(self, site: Site, tick: int, limit: int) -> list[Row]:
        """The slots of one site with a greater tick, in tick order, at most so many. Raises StoreError."""
        with reading_of(self._path):
            return [
                Row(TwinKey(Kind(kind), namespace, name), uid, place.section, place.property, place.site, slot)
                for kind, namespace, name, uid, *leaf in self._opened().execute(
                    _ROWS_AFTER, (_SITES.index(site), tick, limit)
                )
                for place, slot, _ in [_leaf(tuple(leaf))]
            ]

    def feed(self) -> FeedState:
        """Runs and cursors. Raises StoreError."""
        db = self._opened()
        with reading_of(self._path):
            found = db.execute("SELECT site, id, first FROM run ORDER BY first, id").fetchall()
            cursors = {_SITES[site]: cursor for site, cursor in db.execute("SELECT site, cursor FROM feed")}
            tops = {
                site: db.execute("SELECT coalesce(max(tick), 0) FROM leaf WHERE site = ?", (number,)).fetchone()[0]
                for number, site in enumerate(_SITES)
            }
        runs = {site: tuple(Run(id_, first) for at, id_, first in found if _SITES[at] is site) for site in Site}
        return FeedState(runs, {site: cursors.get(site, 0) for site in Site}, tops)

    def notes(self, owner: str) -> dict[str, str]:
        """The notes of one owner, by name. Raises StoreError."""
        with reading_of(self._path):
            return dict(self._opened().execute("SELECT name, text FROM note WHERE owner = ?", (owner,)))

    def write(self, batch: Batch) -> None:
        """Put the batch on disk. Raises StoreError; then nothing of the batch is there."""
        db = self._opened()
        try:
            db.execute("BEGIN IMMEDIATE")
            for twin in batch.dropped:  # first, because a new twin of this batch may bear the same name and uid
                db.execute("DELETE FROM twin WHERE id = ?", (twin,))
                db.execute("DELETE FROM label WHERE twin = ?", (twin,))
            if batch.twins:
                rows = [row for row in batch.twins.values() if row.id not in batch.dropped]
                db.executemany(_PUT_TWIN, map(_twin_parameters, rows))
                db.executemany("DELETE FROM label WHERE twin = ?", [(row.id,) for row in rows])
                labels = [(row.id, name, value) for row in rows for name, value in row.spec.labels]
                db.executemany("INSERT INTO label (twin, name, value) VALUES (?, ?, ?)", labels)
            if batch.reported:
                versions = batch.versions
                db.executemany(
                    _PUT_LEAF,
                    [
                        (
                            twin,
                            0,
                            name,
                            0,
                            to_sql(slot[0]),
                            *slot[1:5],
                            *QUALITY_SQL[slot[5]],
                            slot[6],
                            versions[twin],
                        )
                        for (twin, name), slot in batch.reported.items()
                    ],
                )
            if batch.desired:
                db.executemany(
                    _PUT_LEAF, [_desired_parameters(place, slot, batch) for place, slot in batch.desired.items()]
                )
            for twin in batch.dropped:
                db.execute("DELETE FROM leaf WHERE twin = ?", (twin,))
            put_history(db, batch)
            for site, cursor in batch.cursors.items():
                db.execute("INSERT OR REPLACE INTO feed (site, cursor) VALUES (?, ?)", (_SITES.index(site), cursor))
            for (site, run), first in batch.runs.items():
                parameters = (_SITES.index(site), run, first)
                db.execute("INSERT OR IGNORE INTO run (site, id, first) VALUES (?, ?, ?)", parameters)
            for note, text in batch.notes.items():
                if text is None:
                    db.execute("DELETE FROM note WHERE owner = ? AND name = ?", note)
                else:
                    db.execute("INSERT OR REPLACE INTO note (owner, name, text) VALUES (?, ?, ?)", (*note, text))
            db.execute(
                "INSERT INTO meta VALUES ('tick', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (batch.tick,),
            )
            db.execute("COMMIT")
        except (sqlite3.Error, ValueError, OverflowError) as error:  # the latter two: a value that cannot be written
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise store_error(error, self._path) from error

    def copy_to(self, path: Path) -> None:
        """Make a whole copy of what is on disk, in place of an older one. Raises StoreError; the older one stays."""
        fresh = path.with_name(f"{path.name}.new")
        try:
            fresh.unlink(missing_ok=True)
            target = sqlite3.connect(fresh)
            try:
                self._opened().backup(target)
            finally:
                target.close()
            fresh.chmod(0o600)
            fresh.replace(path)
        except (sqlite3.Error, OSError) as error:
            fresh.unlink(missing_ok=True)
            raise store_error(error, path) from error

    def close(self) -> None:
        """Let go of the files."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            message = f"{self._path} is not open"
            raise StoreError(message)
        return self._db


_SITES: Final = (Site.EDGE, Site.CLOUD)
_SECTIONS: Final = (Section.REPORTED, Section.DESIRED)

_TWINS: Final = "SELECT id, kind, namespace, name, uid, version, spec FROM twin ORDER BY id"
_PUT_TWIN: Final = (
    "INSERT INTO twin (id, kind, namespace, name, uid, version, spec, model, gateway)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET version = excluded.version, spec = excluded.spec,"
    " model = excluded.model, gateway = excluded.gateway"
)
_PUT_LEAF: Final = (
    "INSERT OR REPLACE INTO leaf (twin, section, property, site, value, tick, seen, by, at, quality, reason, version)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ROWS_AFTER: Final = (
    "SELECT twin.kind, twin.namespace, twin.name, twin.uid, leaf.twin, section, property, site, value, tick, seen, by,"
    " at, quality, reason, leaf.version FROM leaf JOIN twin ON twin.id = leaf.twin"
    " WHERE site = ? AND tick > ? ORDER BY tick LIMIT ?"
)


def _twin_parameters(row: TwinRow) -> tuple[object, ...]:
    spec, key = row.spec, row.spec.key
    text = text_of(spec) if row.documented else NO_SPEC
    return (row.id, key.kind, key.namespace, key.name, spec.uid, row.version, text, spec.model, spec.gateway)


def _desired_parameters(place: tuple[int, str, Site], slot: Slot, batch: Batch) -> tuple[object, ...]:
    twin, name, site = place
    quality = QUALITY_SQL[slot.quality][0]
    return (
        twin,
        1,
        name,
        _SITES.index(site),
        to_sql(slot.value),
        *slot[1:5],
        quality,
        slot.reason,
        batch.versions[twin],
    )


def _leaf(row: tuple[Any, ...]) -> tuple[LeafKey, Slot, int]:
    twin, section, name, site, value, tick, seen, by, at, quality, reason, version = row
    key = LeafKey(twin, _SECTIONS[section], intern(name), _SITES[site])
    slot = Slot(from_sql(value), tick, seen, intern(by), at, QUALITIES[quality], REASONS.get(reason, Reason.NONE))
    return key, slot, version


def _refuse_later_schema(db: sqlite3.Connection, path: Path) -> None:
    version, known = _schema_version(db), len(_migrations())
    if version > known:
        message = f"{path} has schema version {version}; this release knows up to {known}"
        raise StoreTooNew(
            message, remedy="Install the release that wrote it, or a later one; the file was not touched."
        )


def _schema_version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _migrations() -> list[str]:
    return sorted(entry.name for entry in resources.files("twin.migrations").iterdir() if entry.name.endswith(".sql"))


def _migrate(db: sqlite3.Connection) -> None:
    version, files = _schema_version(db), _migrations()
    for number, name in enumerate(files[version:], start=version + 1):
        script = resources.files("twin.migrations").joinpath(name).read_text()
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
