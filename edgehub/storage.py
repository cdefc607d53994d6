"""The registry's file: crash-safe, checked when read, and still mendable by hand.

write   registry.json.bak.tmp and registry.json.tmp, fsync of both     a full disk is noticed here
        rename to registry.json.bak, then to registry.json, fsync of the folder; only now is it acknowledged
read    registry.json          checksum fits ............................ use it
                               it does not, but someone edited the file
                               and its documents are valid .............. use it, warn, write it anew
                               anything else ............................ set it aside, warn, use the copy

Both files hold the same content, so using the copy loses nothing. Each carries the time at which it was written, and
its mtime is set to that time: content that changed while the mtime did not was changed by the disk, not by a person.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from tinydb.storages import Storage

from twin.clock import Clock
from twin.errors import StoreCorrupt, StoreError, StoreTooNew
from twin.private_file import sync_folder

Tables: TypeAlias = dict[str, dict[str, Any]]
Check: TypeAlias = Callable[[Tables], str]

FORMAT: Final = 1
_log = logging.getLogger(__name__)


class _Unusable(Exception):  # one file that cannot be used; the text says why
    pass


@dataclass(frozen=True, slots=True)
class _File:
    tables: Tables
    edited: bool  # by a person: the checksum does not fit, and the mtime is not that of our write


class FileStorage(Storage):
    """TinyDB's storage in one JSON file, parsed once; ``check`` says what is wrong with edited tables, or "".

    One writer ever: ``open`` takes a lock on ``<name>.lock`` and keeps it until ``close``.
    """

    def __init__(self, path: Path, *, clock: Clock, check: Check) -> None:
        self._path = path
        self._copy = path.with_name(f"{path.name}.bak")
        self._lock_path = _lock_of(path)
        self._clock = clock
        self._check = check
        self._lock_fd = -1
        self._tables: Tables | None = None
        self._batching = False
        self.edited = False
        """A person edited the file since our last write; the owner is to write what it makes of it."""
        self.before_edit: Tables | None = None
        """The tables before that edit, from the copy; None if nobody edited, or the copy is unusable."""

    def open(self) -> None:
        """Take the lock and load the file. Raises StoreError, StoreCorrupt, StoreTooNew."""
        with _told("open", self._lock_path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._lock()
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the lock back."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
        self._tables = None

    def read(self) -> Tables | None:
        """The tables, from memory; the caller may add, replace and remove rows in what it gets."""
        if self._tables is None:
            return None
        return {name: dict(rows) for name, rows in self._tables.items()}

    def write(self, data: Tables) -> None:
        """Keep the tables; on disk when this returns, unless inside ``batch``. Raises StoreError."""
        if not self._batching:
            self._save(data)
        self._tables = data

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make all writes inside one: on disk when the block ends, none of them if it raises."""
        before, self._batching = self._tables, True
        try:
            yield
            if self._tables is not None and self._tables is not before:
                self._save(self._tables)
        except BaseException:
            self._tables = before
            raise
        finally:
            self._batching = False

    def _lock(self) -> None:
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = f"{self._path} is in use by the process with pid {_named_in(self._lock_fd)}"
            remedy = "Send the command to the running hub, or end that process first."
            raise StoreError(text, remedy=remedy) from None
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)

    def _load(self) -> None:
        if not self._path.exists() and not self._copy.exists():
            return
        try:
            file = self._read_file(self._path)
        except _Unusable as error:
            self._recover(str(error))
            return
        self._tables = file.tables
        if file.edited:
            _log.warning("%s was edited by hand; its documents are valid and are used as they stand", self._path)
            self.edited, self.before_edit = True, self._copied()

    def _recover(self, fault: str) -> None:
        """Use the copy instead of the main file."""
        try:
            file = self._read_file(self._copy)
        except _Unusable as error:
            text = f"neither {self._path} ({fault}) nor its copy {self._copy} ({error}) can be read"
            remedy = (
                "Mend one of the two files, restore one from a backup, or move both away and apply the documents again."
            )
            raise StoreCorrupt(text, remedy=remedy) from None
        if self._path.exists():
            aside = self._set_aside()
            _log.warning(
                "%s cannot be used (%s); it is now %s, and its copy %s is used", self._path, fault, aside, self._copy
            )
        else:
            _log.warning("%s is missing; its copy %s is used", self._path, self._copy)
        self._tables = file.tables
        self._save(file.tables)

    def _set_aside(self) -> Path:
        number = 1
        while (aside := self._path.with_name(f"{self._path.name}.corrupt-{number}")).exists():
            number += 1
        with _told("set aside", self._path):
            self._path.rename(aside)
        return aside

    def _copied(self) -> Tables | None:
        try:
            return self._read_file(self._copy).tables
        except _Unusable:
            return None

    def _read_file(self, path: Path) -> _File:
        if not path.exists():
            fault = "it is missing"
            raise _Unusable(fault)
        with _told("read", path), path.open("rb") as stream:
            content = stream.read()
            mtime_ms = os.fstat(stream.fileno()).st_mtime_ns // 1_000_000
        document = _parsed(content)
        tables = _tables(document)
        number = document.get("format")
        fits = document.get("checksum") == _checksum(number, document.get("writtenAt"), tables)
        if isinstance(number, int) and number > FORMAT and fits:
            text = f"{path} has format {number}, this release knows formats up to {FORMAT}"
            raise StoreTooNew(text, remedy="Install the release that wrote it, or a later one.")
        if fits:
            return _File(tables, edited=False)
        if document.get("writtenAt") == mtime_ms:
            fault = "its checksum does not fit, and nobody edited it since it was written"
            raise _Unusable(fault)
        fault = self._check(tables)
        if fault:
            raise _Unusable(fault)
        return _File(tables, edited=True)

    def _save(self, tables: Tables) -> None:
        written_at_ms = self._clock.now_us() // 1000
        document = {
            "format": FORMAT,
            "writtenAt": written_at_ms,
            "checksum": _checksum(FORMAT, written_at_ms, tables),
            "tables": {name: dict(sorted(rows.items(), key=_row_number)) for name, rows in tables.items()},
        }
        content = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        with _told("write", self._path):
            for path in (self._copy, self._path):
                _write_temporary(path, content, written_at_ms)
            for path in (self._copy, self._path):
                _temporary(path).replace(path)
            sync_folder(self._path.parent)


def lock_holder(path: Path) -> str:
    """The pid of the process that has the file at ``path`` in use, else empty; takes nothing. Raises OSError."""
    try:
        fd = os.open(_lock_of(path), os.O_RDONLY)
    except FileNotFoundError:
        return ""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named_in(fd)
    finally:
        os.close(fd)
    return ""


def _lock_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _named_in(lock_fd: int) -> str:
    return os.pread(lock_fd, 32, 0).decode("ascii", "replace").strip() or "unknown"


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")


def _write_temporary(path: Path, content: bytes, written_at_ms: int) -> None:
    """Write what is to take the place of a file; it is on disk, under its temporary name, when this returns."""
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as stream:
        stream.write(content)
        stream.flush()
        written_ns = written_at_ms * 1_000_000
        os.utime(fd, ns=(written_ns, written_ns))
        os.fsync(fd)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content.decode(), object_pairs_hook=_unique, parse_constant=_not_finite)
    except (ValueError, RecursionError) as error:
        fault = f"it is not JSON: {error}"
        raise _Unusable(fault) from None
    if not isinstance(document, dict):
        fault = "it is not a JSON object"
        raise _Unusable(fault)
    return document


def _tables(document: dict[str, Any]) -> Tables:
    tables = document.get("tables")
    rows = list(tables.values()) if isinstance(tables, dict) else [None]
    if not all(isinstance(table, dict) and all(_is_row(*row) for row in table.items()) for table in rows):
        fault = "it has no tables of numbered rows"
        raise _Unusable(fault)
    assert isinstance(tables, dict)
    return tables


def _is_row(number: str, row: object) -> bool:
    return number.isascii() and number.isdecimal() and isinstance(row, dict)


def _row_number(row: tuple[str, Any]) -> int:
    return int(row[0])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        keys = [key for key, _ in pairs]
        text = f"the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice"
        raise ValueError(text)
    return unique


def _not_finite(text: str) -> float:
    message = f"{text} is not a number"
    raise ValueError(message)


def _checksum(number: object, written_at_ms: object, tables: Tables) -> str:
    """Over the meaning, not the bytes: spaces and the order of keys may change."""
    canonical = json.dumps([number, written_at_ms, tables], sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


@contextmanager
def _told(verb: str, path: Path) -> Iterator[None]:
    """Turn what the system refuses into a StoreError."""
    try:
        yield
    except OSError as error:
        text = f"cannot {verb} {path}: {error.strerror or error}"
        remedy = "Check the rights of the folder, and the free space and health of its disk."
        raise StoreError(text, remedy=remedy) from error
