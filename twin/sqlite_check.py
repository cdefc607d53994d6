"""Whether the file of a SQLite store is still what was written, and what can be mended of it.

pages, order, indexes   SQLite's own check; an index is made anew from its table
log (-wal)              commits that SQLite leaves out because something before them is not what was written
rows                    their checksums: a twin's row makes the file unusable, any other is left out or made harmless
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

from twin.checksum import leaf_fits, leaf_sum, row_fits, row_sum

_FRAME_BYTES: Final = 24
_HEADER_BYTES: Final = 32
_TWIN: Final = "id, kind, namespace, name, uid, version, spec, model, gateway"
_LEAF: Final = "twin, section, property, site, value, tick, seen, by, at, quality, reason, version"
_LABEL: Final = "twin, name, value"
_SMALL: Final = (
    ("meta", "key, value"),
    ("feed", "site, cursor"),
    ("run", "site, id, first"),
    ("note", "owner, name, text"),
)
_LABELS: Final = {
    "meta": "the last tick or the version of the tables (both are found by other means)",
    "feed": "how far the other site's changes are here (they are asked for again)",
    "run": "a start of this store (its rows are compared again)",
    "note": "a note of a dialect",
}


def mend_pages(db: sqlite3.Connection) -> None:
    """Check pages, order and indexes. Raises sqlite3.DatabaseError if more than an index is broken."""
    if _page_fault(db):
        # An index that does not fit its table is made from it; REINDEX alone would remake the tables too, and so
        # hide what they have lost.
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall():
            quoted = name.replace('"', '""')
            db.execute(f'REINDEX "{quoted}"')
        if fault := _page_fault(db):
            raise sqlite3.DatabaseError(fault)


def mend_rows(db: sqlite3.Connection) -> list[str]:
    """Check all rows but the leaves, and say what was lost. Raises sqlite3.DatabaseError if a twin's row is broken."""
    tables = db.execute("SELECT key, value, sum FROM meta WHERE key = 'tables'").fetchone()
    if tables is not None and row_fits(*tables) and tables[1] != schema_sum(db):
        message = "the definitions of the tables are not what was written"
        raise sqlite3.DatabaseError(message)
    for row in db.execute(f"SELECT {_TWIN}, sum FROM twin"):
        if not row_fits(*row):
            message = f"the row of twin {row[0]} is not what was written"
            raise sqlite3.DatabaseError(message)
    if not all(row_fits(*row) for row in db.execute(f"SELECT {_LABEL}, sum FROM label")):
        _remake_labels(db)
    lost = []
    for table, columns in _SMALL:
        broken = [row for row in db.execute(f"SELECT {columns}, sum FROM {table}") if not row_fits(*row)]
        for row in broken:
            _mend(db, table, columns, row)
        lost += [_LABELS[table]] * len(broken)
    return lost


def schema_sum(db: sqlite3.Connection) -> int:
    """Checksum of the definitions of all tables and indexes."""
    return row_sum(*(sql for (sql,) in db.execute("SELECT sql FROM sqlite_master ORDER BY name")))


def delete_leaf(db: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    """Delete a leaf whose row is broken, its names included."""
    twin, section, name, site = row[:4]
    query = f"DELETE FROM leaf WHERE twin IS ? AND section IS ? AND site IS ? AND {_same('property')}"
    db.execute(query, (twin, section, site, _raw(name)))


def fault(db: sqlite3.Connection) -> str:
    """What is wrong with a file as a whole, for a copy that is to replace a good one; "" if nothing is."""
    if found := _page_fault(db):
        return found
    tables = (("twin", _TWIN), ("label", _LABEL), *_SMALL)
    for table, columns in tables:
        if not all(row_fits(*row) for row in db.execute(f"SELECT {columns}, sum FROM {table}")):
            return f"a row of table {table} is not what was written"
    if not all(map(leaf_fits, db.execute(f"SELECT {_LEAF}, sum FROM leaf"))):
        return "a row of table leaf is not what was written"
    return ""


def commits_in(log: Path) -> list[int]:
    """The frames of a log that end a commit of its newest run, counted from 1; also those that SQLite leaves out."""
    try:
        with log.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES:
                return []
            page_bytes = int.from_bytes(header[8:12])
            if page_bytes < 512 or page_bytes > 65536:
                page_bytes = 4096  # a broken header: that of every store of ours
            frames = list(_frames(file.seek, file.read, page_bytes))
    except FileNotFoundError:
        return []
    # Frames of the run before have another salt; a header that is broken itself is known by its own checksum.
    salt = header[16:24] if _header_fits(header) else frames[0][8:16] if frames else b""
    return [
        number
        for number, frame in enumerate(frames, start=1)
        # One half of the salt rises with each run, the other is drawn anew: one that is equal is enough.
        if (frame[8:12] == salt[:4] or frame[12:16] == salt[4:])
        and any(frame[4:8])  # the size of the file after a commit
    ]


def sum_all(db: sqlite3.Connection) -> None:
    """Give every row its checksum, in a store of a release that knew none."""
    _sum_rows(db, "leaf", _LEAF, lambda *row: leaf_sum(row))
    for table, columns in (("twin", _TWIN), ("label", _LABEL), *_SMALL):
        _sum_rows(db, table, columns, row_sum)


def _sum_rows(db: sqlite3.Connection, table: str, columns: str, sum_of: Callable[..., int]) -> None:
    names = columns.split(", ")
    where = " AND ".join(f"{name} IS ?" for name in names)
    sums = []
    for row in db.execute(f"SELECT {columns} FROM {table}"):
        with contextlib.suppress(ValueError, TypeError, struct.error):  # no leaf: it stays without, and is left out
            sums.append((sum_of(*row), *row))
    db.executemany(f"UPDATE {table} SET sum = ? WHERE {where}", sums)


def _frames(seek: Any, read: Any, page_bytes: int) -> Iterator[bytes]:
    at = _HEADER_BYTES
    while True:
        seek(at)
        frame = read(_FRAME_BYTES)
        if len(frame) < _FRAME_BYTES:
            return
        yield frame
        at += _FRAME_BYTES + page_bytes


def _header_fits(header: bytes) -> bool:
    """SQLite's checksum of the first 24 bytes (file format, section 4.2); the magic's lowest bit names the order."""
    order: Literal["big", "little"] = "big" if header[3] & 1 else "little"
    a = b = 0
    for at in range(0, 24, 8):
        a = (a + int.from_bytes(header[at : at + 4], order) + b) & 0xFFFFFFFF
        b = (b + int.from_bytes(header[at + 4 : at + 8], order) + a) & 0xFFFFFFFF
    return header[24:32] == a.to_bytes(4) + b.to_bytes(4)


def _page_fault(db: sqlite3.Connection) -> str:
    verdict = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
    return "" if verdict == "ok" else verdict


def _remake_labels(db: sqlite3.Connection) -> None:
    """Labels are in the specs too, and those are sound."""
    db.execute("DELETE FROM label")
    db.execute(
        "INSERT INTO label (twin, name, value)"
        " SELECT twin.id, json_extract(one.value, '$[0]'), json_extract(one.value, '$[1]')"
        " FROM (SELECT id, spec FROM twin WHERE json_valid(spec)) AS twin, json_each(twin.spec, '$.labels') AS one"
    )
    _sum_rows(db, "label", _LABEL, row_sum)


def _mend(db: sqlite3.Connection, table: str, columns: str, row: tuple[Any, ...]) -> None:
    names = columns.split(", ")
    place = [_raw(value) for value in row[: len(names)]]
    db.execute(f"DELETE FROM {table} WHERE {' AND '.join(map(_same, names))}", place)
    if table == "run":
        # A start in doubt counts as one that the other site never met, from the first tick on: all is compared again.
        id_ = str(row[1]).encode(errors="replace").decode()
        for site in (0, 1):
            found = (site, id_, 0)
            db.execute(
                "INSERT OR REPLACE INTO run (site, id, first, sum) VALUES (?, ?, ?, ?)", (*found, row_sum(*found))
            )


def _same(column: str) -> str:
    return f"CAST({column} AS BLOB) IS CAST(? AS BLOB)"


def _raw(value: object) -> object:
    """Text that is not UTF-8 came in with escapes; back to its bytes."""
    return value.encode(errors="surrogateescape") if isinstance(value, str) else value
