"""SQLite under the cloud's store: one file, WAL, synchronous=FULL, one writer at a time. Only here is sqlite3 imported.

Several processes may use one file. Each connection has a thread of its own: one writes, the others read snapshots.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

from cloudsync.store.database import Connection, Record
from twin.errors import EdgetwinError, QueryAborted, StoreCorrupt, StoreError

READERS: Final = 2
MAX_WAIT_S: Final = 10.0
"""For the turn to write, or to read."""

_T = TypeVar("_T")
_AGAIN_S: Final = 0.05
"""Between interrupts, because one that comes before the statement runs is lost."""
_PARAMETER: Final = re.compile(r"\$(\d+)")
_TO_GLOB: Final = str.maketrans({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"})
_UNFIT: Final = (OverflowError, ValueError)
"""What a value that fits no column raises."""


class SqliteDialect:
    """SQLite's words."""

    words: Mapping[str, str] = {
        "id": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "text": "TEXT",
        "real": "",  # a column of type REAL takes -0.0 for 0
        "clustered": " WITHOUT ROWID",
        "clustered_sparse": " WITHOUT ROWID",
        "sparse": "",
        "reading": "",  # a table for each period is made when it is needed
    }
    lock_schema = ""  # whoever writes is alone
    for_update = ""
    skip_locked = ""
    unknown = "NULL"
    by_code_point = ""

    def source(self, names: Sequence[str], types: Sequence[str]) -> str:  # noqa: ARG002  # SQLite has no types
        """One row of parameters; the statement runs once for each row."""
        return "(SELECT " + ", ".join(f"${number} AS {name}" for number, name in enumerate(names, 1)) + ") AS r"

    def table(self, first: int, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
        """An array of arrays as one parameter."""
        columns = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(types)))
        return f"(SELECT {columns} FROM json_each(${first}))", [json.dumps(rows)]

    def parameter(self, number: int, value: object) -> tuple[str, object]:
        """A parameter has the type of its value."""
        return f"${number}", value

    def exact(self, literal: float) -> object:
        """SQLite compares integers and floats exactly."""
        return literal

    def like(self, text: str, parameter: str) -> str:
        """LIKE is for SQLite upper and lower case alike, GLOB is not."""
        return f"{text} GLOB {parameter}"

    def pattern(self, pattern: str) -> str:
        """The same pattern in the signs of GLOB."""
        return pattern.translate(_TO_GLOB)


class SqliteDatabase:
    """One file. ``max_wait_s`` is how long a transaction waits for its turn at most; ``thread`` makes what runs the
    jobs of one connection, one after the other.
    """

    dialect = SqliteDialect()

    def __init__(
        self,
        path: Path,
        *,
        readers: int = READERS,
        max_wait_s: float = MAX_WAIT_S,
        thread: Callable[[], Executor] = lambda: ThreadPoolExecutor(1, thread_name_prefix="cloud-store"),
    ) -> None:
        self._path = path
        self._thread = thread
        self._max_wait_s = max_wait_s
        self._readers = readers
        self._lanes: list[_Lane] = []
        self._free_readers: asyncio.LifoQueue[_Lane] = asyncio.LifoQueue()
        self._free_writer: asyncio.Queue[_Lane] = asyncio.Queue()

    async def open(self) -> None:
        """Open or make the file. Raises StoreError."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for number in range(1 + self._readers):
                lane = _Lane(self._path, self._thread(), writes=not number, max_wait_s=self._max_wait_s)
                self._lanes.append(lane)
                await lane.run(lane.open)
                (self._free_readers if number else self._free_writer).put_nowait(lane)
        except OSError as error:
            await self.close()
            raise _store_error(error, self._path) from error
        except StoreError:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the file."""
        self._free_readers, self._free_writer = asyncio.LifoQueue(), asyncio.Queue()
        while self._lanes:
            await self._lanes.pop().end()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A transaction; others, of whatever gateway, wait until it has ended."""
        async with self._turn(self._free_writer) as lane:
            try:
                await lane.run(lane.execute, "BEGIN IMMEDIATE")
                yield lane
            except BaseException:
                await lane.run(lane.roll_back)
                raise
            await lane.run(lane.commit)

    @contextlib.asynccontextmanager
    async def reading(self, *, max_s: float | None = None) -> AsyncIterator[Connection]:
        """One snapshot."""
        async with self._turn(self._free_readers) as lane:
            try:
                await lane.run(lane.execute, "BEGIN")
                if max_s is not None:
                    lane.limit(max_s)
                yield lane
            finally:
                lane.unlimit()
                await lane.run(lane.roll_back)

    @contextlib.asynccontextmanager
    async def _turn(self, free: asyncio.Queue[_Lane]) -> AsyncIterator[_Lane]:
        if not self._lanes:
            message = f"{self._path} is not open"
            raise StoreError(message)
        try:
            async with asyncio.timeout(self._max_wait_s):
                lane = await free.get()
        except TimeoutError:
            message = f"{self._path}: others have kept the store busy for {self._max_wait_s:g} s"
            raise StoreError(message, remedy="Use PostgreSQL if this happens often.") from None
        try:
            yield lane
        finally:
            free.put_nowait(lane)


class _Lane:
    """A connection and its thread. What is asked of it runs in order, also when those who asked were cancelled."""

    def __init__(self, path: Path, thread: Executor, *, writes: bool, max_wait_s: float) -> None:
        self._path = path
        self._writes = writes
        self._max_wait_s = max_wait_s
        self._thread = thread
        self._connection: sqlite3.Connection | None = None
        self._max_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, job: Callable[..., _T], *arguments: Any) -> _T:
        """Run a job on the thread. Raises StoreError, QueryAborted."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.shield(loop.run_in_executor(self._thread, job, *arguments))
        except EdgetwinError:
            raise
        except sqlite3.Error as error:
            if self._max_s is not None and str(error) == "interrupted":
                message = f"the query was given up after {self._max_s:g} s"
                remedy = "Narrow it with a condition on tags, or ask for fewer fields."
                raise QueryAborted(message, remedy=remedy) from None
            raise _store_error(error, self._path) from error
        except _UNFIT as error:
            message = f"{self._path}: a value does not fit: {error}"
            raise StoreError(message) from error

    def limit(self, max_s: float) -> None:
        """Break off what runs after a time."""
        self._max_s = max_s
        self._timer = asyncio.get_running_loop().call_later(max_s, self._interrupt)

    def unlimit(self) -> None:
        """Break off nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._max_s = None

    def _interrupt(self) -> None:
        self._db.interrupt()
        self._timer = asyncio.get_running_loop().call_later(_AGAIN_S, self._interrupt)

    # -- Connection ----------------------------------------------------------------------------------------------

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Record]:
        """Run one statement; its rows."""
        return await self.run(self._fetch, _sqlite_text(sql), parameters)

    async def each(
        self, sql: str, names: Sequence[str], types: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> Sequence[Record]:
        """Run one statement on many rows."""
        if not rows:
            return []
        text = _sqlite_text(sql.replace("{rows}", SqliteDatabase.dialect.source(names, types)))
        return await self.run(self._each, text, rows)

    async def portions(self, sql: str, parameters: Sequence[Any], rows: int) -> AsyncIterator[Sequence[Record]]:
        """The rows of one statement, so many at a time."""
        cursor = await self.run(self._db.execute, _sqlite_text(sql), parameters)
        try:
            while portion := await self.run(cursor.fetchmany, rows):
                yield portion
        finally:
            await self.run(cursor.close)

    async def script(self, sql: str) -> None:
        """Run statements without parameters."""
        await self.run(self._script, sql)

    # -- on the thread -------------------------------------------------------------------------------------------

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            message = f"{self._path} is not open"
            raise StoreError(message)
        return self._connection

    def open(self) -> None:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connection = db
        self._path.chmod(0o600)
        db.execute(f"PRAGMA busy_timeout={int(self._max_wait_s * 1000)}")
        if self._writes:
            db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        if not self._writes:
            db.execute("PRAGMA query_only=ON")

    def execute(self, sql: str) -> None:
        self._db.execute(sql)

    def roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # what failed has been told; the next BEGIN tells if it still does
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self.roll_back()
            raise

    def _fetch(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        return self._db.execute(sql, parameters).fetchall()

    def _each(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        db, found = self._db, []
        if "RETURNING" not in sql:
            db.executemany(sql, rows)
            return []
        for row in rows:
            found += db.execute(sql, row).fetchall()
        return found

    def _script(self, sql: str) -> None:
        for statement in _statements(sql):
            self._db.execute(statement)

    async def end(self) -> None:
        """Close the connection and end the thread."""
        if self._connection is not None:
            with contextlib.suppress(StoreError):
                await self.run(self._connection.close)
            self._connection = None
        self._thread.shutdown(wait=True)


@lru_cache(maxsize=512)
def _sqlite_text(sql: str) -> str:
    return _PARAMETER.sub(r"?\1", sql)


def _statements(sql: str) -> Iterator[str]:
    """The statements of a script, one by one, because executescript would commit what is open."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _store_error(error: Exception, path: Path) -> StoreError:
    text = f"{path}: {error}"
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return StoreError(text, remedy="Another process holds the store; use PostgreSQL if this happens often.")
    if isinstance(error, sqlite3.OperationalError | OSError):
        return StoreError(text, remedy="Check free space, permissions and the disk's health; nothing was acknowledged.")
    if type(error) is sqlite3.DatabaseError:  # its subclasses are faults of ours, not of the file
        return StoreCorrupt(text, remedy="Move the file aside, with its -wal and -shm, and restore a backup.")
    return StoreError(text)
