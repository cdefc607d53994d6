"""Identities in SQLite: the file of the cloud's store, which other processes write to at the same time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from cloudsync.identity.database import Prepare, Session
from twin.errors import StoreError

_BUSY_MS: Final = 10_000
"""How long another process may write."""


class SqliteDatabase:
    """One connection, one transaction at a time, in a thread: a commit waits for the disk."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = asyncio.Lock()
        self._connection: sqlite3.Connection | None = None

    async def open(self, prepare: Prepare) -> None:
        """Open the file, for us alone, and make the tables."""
        try:
            self._path.touch(mode=0o600)
            self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            for pragma in (f"busy_timeout = {_BUSY_MS}", "journal_mode = WAL", "synchronous = FULL"):
                await self.fetch(f"PRAGMA {pragma}")
        except OSError as error:
            raise _failed(self._path, error.strerror or str(error)) from error
        async with self.transaction() as session:
            await prepare(session)

    async def close(self) -> None:
        """Close the file."""
        async with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """Write-locked from the beginning, so that it never has to be tried again."""
        return self._block("BEGIN IMMEDIATE")

    def reading(self) -> AbstractAsyncContextManager[Session]:
        """One state of the file, whoever writes meanwhile."""
        return self._block("BEGIN DEFERRED")

    @asynccontextmanager
    async def _block(self, begin: str) -> AsyncIterator[Session]:
        async with self._lock:
            try:
                await self.fetch(begin)  # if cancelled, it has begun all the same
                yield self
                await self.fetch("COMMIT")
            except BaseException:
                if self._connection is not None and self._connection.in_transaction:
                    self._connection.rollback()
                raise

    async def fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement."""
        # A cancelled caller must not leave the thread at work on the connection that it rolls back.
        work = asyncio.ensure_future(asyncio.to_thread(self._run, sql.replace("$", "?"), values))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait({work})
            raise

    async def has_table(self, name: str) -> bool:
        """Whether a table is there."""
        return bool(await self.fetch("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1", name))

    def _run(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            raise _failed(self._path, "it is not open")
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _failed(self._path, str(error)) from error


def _failed(path: Path, why: str) -> StoreError:
    message = f"the identities in {path} cannot be read or written: {why}"
    return StoreError(message, remedy="Check free space, permissions and the disk's health.")
