"""Identities in PostgreSQL: the database of the cloud's store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import asyncpg

from cloudsync.identity.database import Prepare, Session
from twin.errors import StoreError

_CONNECTIONS: Final = 2
_TIMEOUT_S: Final = 10.0
_SCHEMA_LOCK: Final = 0x6964656E  # any number that is ours: two processes that start at once make the tables in turn


class PostgresDatabase:
    """A small pool; a connection that was lost is made again by the next transaction."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any = None

    async def open(self, prepare: Prepare) -> None:
        """Connect and make the tables."""
        try:
            self._pool = await asyncpg.create_pool(
                self._url, min_size=0, max_size=_CONNECTIONS, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S
            )
        except _FAILURES as error:
            raise _failed(error) from error
        async with self.transaction() as session:
            await session.fetch("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
            await prepare(session)

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await pool.close()
        except (TimeoutError, *_FAILURES):
            pool.terminate()

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """One transaction on one connection of the pool."""
        return self._block(readonly=False)

    def reading(self) -> AbstractAsyncContextManager[Session]:
        """One state of the database."""
        return self._block(readonly=True)

    @asynccontextmanager
    async def _block(self, *, readonly: bool) -> AsyncIterator[Session]:
        level = "repeatable_read" if readonly else "read_committed"
        try:
            async with (
                self._pool.acquire(timeout=_TIMEOUT_S) as connection,
                connection.transaction(isolation=level, readonly=readonly),
            ):
                yield _Session(connection)
        except _FAILURES as error:
            raise _failed(error) from error


class _Session:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.fetch(sql, *values)]

    async def has_table(self, name: str) -> bool:
        return bool(await self.fetch("SELECT 1 WHERE to_regclass($1::text) IS NOT NULL", name))


_FAILURES: Final = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


def _failed(error: BaseException) -> StoreError:
    message = f"the database of store.url does not take part: {str(error) or type(error).__name__}"
    return StoreError(message, remedy="See that PostgreSQL runs, and that store.url names a database we may write to.")
