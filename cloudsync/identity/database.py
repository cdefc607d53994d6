"""The little that identities need of a database: transactions of a few statements, alike in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from cloudsync.identity.errors import NotInitialised


class Session(Protocol):
    """One transaction."""

    async def fetch(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement, with places ``$1``, ``$2``; the rows that it gives."""
        ...

    async def has_table(self, name: str) -> bool:
        """Whether a table is there."""
        ...


Prepare = Callable[[Session], Awaitable[None]]


class Database(Protocol):
    """A connection. Every method raises StoreError when it fails."""

    async def open(self, prepare: Prepare) -> None:
        """Connect; ``prepare`` runs in a transaction that no other process has at the same time."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Session]:
        """Commit at the end of the block, roll back if it raises."""
        ...

    def reading(self) -> AbstractAsyncContextManager[Session]:
        """One state of the database, which waits for nobody who writes."""
        ...


def database_of(url: str) -> Database:
    """The database of ``sqlite:////path/to/file`` or ``postgresql://...``. Raises NotInitialised for others."""
    if url.startswith("sqlite:///"):
        from cloudsync.identity.sqlite_database import SqliteDatabase

        return SqliteDatabase(url.removeprefix("sqlite:///"))
    if url.startswith(("postgresql://", "postgres://")):
        from cloudsync.identity.postgres_database import PostgresDatabase

        return PostgresDatabase(url)
    message = f"store.url: {url.partition('@')[2] or url!r} names no database that is known"
    raise NotInitialised(message, remedy="Write postgresql://user:password@host/name, or leave it empty for SQLite.")
