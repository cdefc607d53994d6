"""What values look like in SQLite, and which error of ours an error of SQLite is."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from twin.checksum import row_sum
from twin.document import DELETED, SlotValue, Tombstone
from twin.errors import StoreCorrupt, StoreError
from twin.history import Reading
from twin.model import Quality, Reason

QUALITIES: Final = (Quality.GOOD, Quality.UNCERTAIN, Quality.BAD)
QUALITY_SQL: Final = {quality: (number,) for number, quality in enumerate(QUALITIES)}
REASONS: Final = {reason.value: reason for reason in Reason}

_NATIVE: Final = frozenset({float, str})
_MAX_INT64: Final = 2**63 - 1
_REBUILD: Final = "Move the file aside, with its -wal and -shm; twins are rebuilt from reports."


def to_sql(value: SlotValue) -> object:
    """Numbers and text as SQLite's own types, anything else as a blob of JSON, None for a tombstone."""
    kind = type(value)
    if kind in _NATIVE or (kind is int and abs(value) <= _MAX_INT64):  # type: ignore[arg-type]  # kind is int
        return value
    return None if isinstance(value, Tombstone) else json.dumps(value, ensure_ascii=False).encode()


def from_sql(stored: object) -> SlotValue:
    """Read back what ``to_sql`` made."""
    if stored is None:
        return DELETED
    if isinstance(stored, bytes):
        value: SlotValue = json.loads(stored)
        return value
    assert isinstance(stored, int | float | str)
    return stored


def tail_fits(twin: int, name: str, row: Sequence[Any], found: int | None) -> bool:
    """Whether a reading of the history's tail is what was written. Those of older releases have no checksum."""
    return found is None or row_sum(twin, name, *row) == found


def tail_reading(row: Sequence[Any]) -> Reading:
    """A reading of the history's tail: at, tick, value, quality, reason."""
    at, tick, value, quality, reason = row
    if not quality and not reason and type(value) is not bytes:
        return Reading(at, tick, value)
    stored = from_sql(value)
    assert not isinstance(stored, Tombstone)  # reported has none
    return Reading(at, tick, stored, QUALITIES[quality], REASONS.get(reason, Reason.NONE))


@contextlib.contextmanager
def reading_of(path: Path) -> Iterator[None]:
    """Turn what goes wrong while a store is read into errors of ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error, path) from error
    except ValueError as error:  # whole pages, but what they hold is not ours
        message = f"{path}: {error}"
        raise StoreCorrupt(message, remedy=_REBUILD) from error


def store_error(error: Exception, path: Path, *, opening: bool = False) -> StoreError:
    """The error of ours; while a file is opened, also what its tables may hold instead of ours counts as damage."""
    text = f"{path}: {error}"
    if isinstance(error, sqlite3.OperationalError | OSError):
        code = getattr(error, "sqlite_errorcode", None)
        if opening and code == sqlite3.SQLITE_ERROR:  # our own statements are right: the schema or a name is not
            return StoreCorrupt(text, remedy=_REBUILD)
        return StoreError(text, remedy="Check free space, permissions and the disk's health; nothing was acknowledged.")
    if opening and isinstance(error, sqlite3.IntegrityError | UnicodeDecodeError):
        return StoreCorrupt(text, remedy=_REBUILD)
    if type(error) is sqlite3.DatabaseError:  # its subclasses are faults of ours, not of the file
        return StoreCorrupt(text, remedy=_REBUILD)
    return StoreError(text)
