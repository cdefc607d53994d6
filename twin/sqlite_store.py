"""Twins and leaves in SQLite: WAL, synchronous=FULL, one writer. Only the modules twin/sqlite_* import sqlite3.

A batch is written in one transaction, from one thread at a time; when ``write`` returns, it is on disk.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from sys import intern
from typing import Any, Final

from twin.checksum import leaf_fits, leaf_sum, row_fits, row_sum
from twin.document import Slot
from twin.errors import StoreError
from twin.exchange import Row, Run
from twin.model import Kind, Reason, Section, Site, TwinKey, TwinSpec
from twin.spec_text import NO_SPEC, SpecReader, text_of
from twin.sqlite_check import commits_in, delete_leaf, fault, mend_pages, mend_rows
from twin.sqlite_history import put_history
from twin.sqlite_rows import QUALITIES, QUALITY_SQL, REASONS, from_sql, reading_of, store_error, to_sql
from twin.sqlite_schema import PUT_META, is_earlier, migrate, refuse_later
from twin.store import Batch, FeedState, LeafKey, TwinRow

log = logging.getLogger(__name__)


class SqliteStore:
    """The store of a gateway, and the cloud's embedded default."""

    def __init__(self, path: Path, *, before: Path | None = None) -> None:
        """``before`` is where the file of an earlier release is copied to, before it is brought up to date."""
        self._path = path
        self._before = before
        self._db: sqlite3.Connection | None = None
        self._log_in_doubt = True
        self.lost: list[str] = []
        """What the disk has damaged and is left out, in words; it grows when more is found."""

    def open(self) -> None:
        """Open or make the file and bring its schema up to date.

        What is damaged and can be left out is named in ``lost``. Raises StoreCorrupt for a file that cannot be used,
        StoreTooNew for one of a later release.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # The commit thread and the loop take turns, never at the same time.
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        except (sqlite3.Error, OSError) as error:
            raise store_error(error, self._path) from error
        try:
            # A name that is not UTF-8 is to be found by its checksum, not to end the reading.
            db.text_factory = functools.partial(str, encoding="utf-8", errors="surrogateescape")
            if 0 < self._path.stat().st_size < _HEADER_BYTES:  # SQLite takes it for a new one
                message = "the file is cut short"
                raise sqlite3.DatabaseError(message)
            commits = commits_in(_log_of(self._path))
            refuse_later(db, self._path)
            self._path.chmod(0o600)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA busy_timeout=5000")
            mend_pages(db)
            # SQLite goes on from the last commit before the damage, and says only how far that is.
            _, taken, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if left_out := sum(number > taken for number in commits):
                self._lose(f"{left_out} commits of the log (cut off by a power loss in the midst of one, or damaged)")
            if self._before is not None and is_earlier(db):
                self._keep(db, self._before)
            migrate(db)
            for text in mend_rows(db):
                self._lose(text)
        except _UNREADABLE as error:
            db.close()
            raise store_error(error, self._path, opening=True) from error
        except StoreError:
            db.close()
            raise
        with contextlib.suppress(sqlite3.Error):  # the first write tries again; until then there is no harm
            self._renew_log(db)
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
            tick = db.execute("SELECT value, sum FROM meta WHERE key = 'tick'").fetchone()
        return twins, tick[0] if tick and row_fits("tick", *tick) else 0

    def leaves(self, twins: Iterable[int] | None = None) -> Iterator[tuple[LeafKey, Slot, int]]:
        """Slots with the version they were written in: of the given twins, or of all. Raises StoreError.

        A row that is not what was written is left out; reading all deletes it.
        """
        db = self._opened()
        with reading_of(self._path):
            if twins is None:
                broken: list[tuple[Any, ...]] = []
                for row in db.execute(_LEAVES):
                    if leaf_fits(row) and (leaf := _leaf(row)) is not None:
                        yield leaf
                    else:
                        broken.append(row)
                for row in broken:
                    self._lose(self._described(row))
                    delete_leaf(db, row)
                return
            for twin in twins:
                for row in db.execute(f"{_LEAVES} WHERE twin = ?", (twin,)):
                    if leaf_fits(row) and (leaf := _leaf(row)) is not None:
                        yield leaf
                    else:
                        self._lose(self._described(row))

    def rows_after(self, site: Site, tick: int, limit: int) -> list[Row]:
        """The slots of one site with a greater tick, in tick order, at most so many. Raises StoreError."""
        rows = []
        with reading_of(self._path):
            for kind, namespace, name, uid, *row in self._opened().execute(
                _ROWS_AFTER, (_SITES.index(site), tick, limit)
            ):
                if not leaf_fits(tuple(row)) or (leaf := _leaf(tuple(row))) is None:
                    self._lose(self._described(tuple(row)))
                    continue
                place, slot, _ = leaf
                key = TwinKey(Kind(kind), namespace, name)
                rows.append(Row(key, uid, place.section, place.property, place.site, slot))
        return rows

    def count_after(self, site: Site, tick: int) -> tuple[int, int]:
        """How many slots of one site have a greater tick, and the least of those (0: none). Raises StoreError."""
        with reading_of(self._path):
            query = "SELECT count(*), coalesce(min(tick), 0) FROM leaf WHERE site = ? AND tick > ?"
            count, least = self._opened().execute(query, (_SITES.index(site), tick)).fetchone()
        return count, least

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
            if self._log_in_doubt:
                self._renew_log(db)
            db.execute("BEGIN IMMEDIATE")
            for twin in batch.dropped:  # first, because a new twin of this batch may bear the same name and uid
                db.execute("DELETE FROM twin WHERE id = ?", (twin,))
                db.execute("DELETE FROM label WHERE twin = ?", (twin,))
            if batch.twins:
                rows = [row for row in batch.twins.values() if row.id not in batch.dropped]
                db.executemany(_PUT_TWIN, map(_twin_parameters, rows))
                db.executemany("DELETE FROM label WHERE twin = ?", [(row.id,) for row in rows])
                labels = [(row.id, name, value) for row in rows for name, value in row.spec.labels]
                db.executemany(_PUT_LABEL, [(*label, row_sum(*label)) for label in labels])
            if batch.reported:
                db.executemany(_PUT_LEAF, _reported_parameters(batch))
            if batch.desired:
                db.executemany(
                    _PUT_LEAF, [_desired_parameters(place, slot, batch) for place, slot in batch.desired.items()]
                )
            for twin in batch.dropped:
                db.execute("DELETE FROM leaf WHERE twin = ?", (twin,))
            put_history(db, batch)
            if batch.pushed:
                _put_outbound(db, batch)
            _write_feed(db, batch)
            _write_notes(db, batch)
            db.execute(PUT_META, ("tick", batch.tick, row_sum("tick", batch.tick)))
            db.execute("COMMIT")
        except (sqlite3.Error, *_UNWRITABLE) as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                self._log_in_doubt = True
                with contextlib.suppress(sqlite3.Error):  # else the next write tries again
                    self._renew_log(db)
            raise store_error(error, self._path) from error

    def copy_to(self, path: Path) -> None:
        """Make a whole copy of what is on disk, in place of an older one. Raises StoreError; the older one stays.

        Raises StoreCorrupt if what is on disk is damaged.
        """
        _copy(self._opened(), path)

    def _keep(self, db: sqlite3.Connection, before: Path) -> None:
        try:
            _copy(db, before)
        except StoreError as error:  # a gateway that starts is worth more than the way back
            log.error(
                "%s is not kept as the earlier release had it, which cannot come back to it: %s", self._path, error
            )

    def close(self) -> None:
        """Let go of the files."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _renew_log(self, db: sqlite3.Connection) -> None:
        """Bring the log into the database file and begin it anew.

        After a failed write or fsync Linux may hold pages for written that are not: what follows must not build on
        them, and a refused commit must not come back from them after a kill.
        """
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:  # a reader from outside, such as a person's sqlite3, only puts it off
            self._log_in_doubt = False

    def _lose(self, text: str) -> None:
        if text not in self.lost:
            log.error("%s is damaged, and does without %s", self._path, text)
            self.lost.append(text)

    def _described(self, row: tuple[Any, ...]) -> str:
        twin, section, name = row[:3]
        found = self._opened().execute("SELECT kind, namespace, name FROM twin WHERE id IS ?", (twin,)).fetchone()
        half = _SECTIONS[section].value if section in {0, 1} else "a value"
        property_ = str(name).encode(errors="replace").decode()
        return f"{half} {property_} of {'/'.join(found) if found else 'an unknown twin'}"

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            message = f"{self._path} is not open"
            raise StoreError(message)
        return self._db


_SITES: Final = (Site.EDGE, Site.CLOUD)
_SECTIONS: Final = (Section.REPORTED, Section.DESIRED)
_HEADER_BYTES: Final = 100
_UNREADABLE: Final = (sqlite3.Error, OSError, UnicodeDecodeError)
"""What opening a file raises; the last, where SQLite's own words quote bytes that are no text."""
_UNWRITABLE: Final = (ValueError, OverflowError, struct.error)
"""What a value that fits no column raises."""

_TWINS: Final = "SELECT id, kind, namespace, name, uid, version, spec FROM twin ORDER BY id"
_PUT_TWIN: Final = (
    "INSERT INTO twin (id, kind, namespace, name, uid, version, spec, model, gateway, sum)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET version = excluded.version, spec = excluded.spec,"
    " model = excluded.model, gateway = excluded.gateway, sum = excluded.sum"
)
_PUT_LEAF: Final = (
    "INSERT OR REPLACE INTO leaf"
    " (twin, section, property, site, value, tick, seen, by, at, quality, reason, version, sum)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_PUT_LABEL: Final = "INSERT INTO label (twin, name, value, sum) VALUES (?, ?, ?, ?)"
_PUT_CURSOR: Final = "INSERT OR REPLACE INTO feed (site, cursor, sum) VALUES (?, ?, ?)"
_PUT_RUN: Final = "INSERT OR IGNORE INTO run (site, id, first, sum) VALUES (?, ?, ?, ?)"
_PUT_NOTE: Final = (  # in place: a replaced row would have another number, and its index another entry
    "INSERT INTO note (owner, name, text, sum) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (owner, name) DO UPDATE SET text = excluded.text, sum = excluded.sum"
)
_LEAVES: Final = (
    "SELECT twin, section, property, site, value, tick, seen, by, at, quality, reason, version, sum FROM leaf"
)
_ROWS_AFTER: Final = (
    "SELECT twin.kind, twin.namespace, twin.name, twin.uid, leaf.twin, section, property, site, value, tick, seen, by,"
    " at, quality, reason, leaf.version, leaf.sum FROM leaf JOIN twin ON twin.id = leaf.twin"
    " WHERE site = ? AND tick > ? ORDER BY tick LIMIT ?"
)


def _copy(db: sqlite3.Connection, path: Path) -> None:
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        target = sqlite3.connect(fresh)
        try:
            db.backup(target)
            target.text_factory = db.text_factory
            if found := fault(target):
                raise sqlite3.DatabaseError(found)
        finally:
            target.close()
        fresh.chmod(0o600)
        fresh.replace(path)
    except (sqlite3.Error, OSError) as error:
        fresh.unlink(missing_ok=True)
        raise store_error(error, path) from error


def _write_notes(db: sqlite3.Connection, batch: Batch) -> None:
    for note, text in batch.notes.items():
        if text is None:
            db.execute("DELETE FROM note WHERE owner = ? AND name = ?", note)
        else:
            db.execute(_PUT_NOTE, (*note, text, row_sum(*note, text)))


def _put_outbound(db: sqlite3.Connection, batch: Batch) -> None:
    from twin.sqlite_outbound import put_outbound  # memory that only gateways with pushes should pay

    put_outbound(db, batch)


def _write_feed(db: sqlite3.Connection, batch: Batch) -> None:
    for site, cursor in batch.cursors.items():
        place = _SITES.index(site)
        db.execute(_PUT_CURSOR, (place, cursor, row_sum(place, cursor)))
    for (site, run), first in batch.runs.items():
        place = _SITES.index(site)
        db.execute(_PUT_RUN, (place, run, first, row_sum(place, run, first)))


def _twin_parameters(row: TwinRow) -> tuple[object, ...]:
    spec, key = row.spec, row.spec.key
    text = text_of(spec) if row.documented else NO_SPEC
    columns = (row.id, key.kind, key.namespace, key.name, spec.uid, row.version, text, spec.model, spec.gateway)
    return (*columns, row_sum(*columns))


def _reported_parameters(batch: Batch) -> Iterator[tuple[object, ...]]:
    versions = batch.versions
    for (twin, name), slot in batch.reported.items():
        row = (twin, 0, name, 0, to_sql(slot[0]), *slot[1:5], *QUALITY_SQL[slot[5]], slot[6], versions[twin])
        yield (*row, leaf_sum(row))


def _desired_parameters(place: tuple[int, str, Site], slot: Slot, batch: Batch) -> tuple[object, ...]:
    twin, name, site = place
    quality = QUALITY_SQL[slot.quality][0]
    value = to_sql(slot.value)
    row = (twin, 1, name, _SITES.index(site), value, *slot[1:5], quality, slot.reason, batch.versions[twin])
    return (*row, leaf_sum(row))


def _leaf(row: tuple[Any, ...]) -> tuple[LeafKey, Slot, int] | None:
    """A leaf from its row; None if it is none, as in a row that was no leaf before it got its checksum."""
    twin, section, name, site, value, tick, seen, by, at, quality, reason, version, _ = row
    try:
        key = LeafKey(twin, _SECTIONS[section], intern(name), _SITES[site])
        return (
            key,
            Slot(from_sql(value), tick, seen, intern(by), at, QUALITIES[quality], REASONS.get(reason, Reason.NONE)),
            version,
        )
    except (ValueError, LookupError, TypeError):
        return None


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")
