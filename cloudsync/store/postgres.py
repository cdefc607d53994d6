"""PostgreSQL under the cloud's store, through asyncpg, which is imported when a store is opened.

A lost server is found by whoever needs it next: that call fails, the pool connects again, after a pause of full jitter
between attempts so that many workers do not come at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from cloudsync.store.database import Connection, Record
from cloudsync.store.postgres_errors import cancelled, failing
from twin.clock import Clock
from twin.errors import QueryAborted, StoreError
from twin.link.backoff import Backoff

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import Pool, PoolConnectionProxy

POOL_SIZE: Final = 4
"""Connections of one process: transactions and reads at once."""
CONNECT_S: Final = 5.0
COMMAND_S: Final = 30.0
"""For one statement; a server that no longer answers is given up then."""

_SESSION: Final = {
    "application_name": "edgetwin",
    "jit": "off",  # our statements are short; compiling them takes longer than running them
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",  # a worker that hangs lets go of its gateway
    "synchronous_commit": "on",  # acknowledged means on disk
    "client_encoding": "utf8",
}
# A query is planned for the literals in it, as on a disk that seeks quickly, and takes one core at most.
_QUERY: Final = (
    "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL random_page_cost = 1.1;"
    " SET LOCAL max_parallel_workers_per_gather = 0;"
)
_TYPES: Final = {bool: "bool", int: "int8", float: "float8", str: "text", Decimal: "numeric"}
_READING: Final = (
    "CREATE TABLE reading (series BIGINT NOT NULL, at BIGINT NOT NULL, tick BIGINT NOT NULL, value TEXT NOT NULL,"
    " quality SMALLINT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (series, at, tick)) PARTITION BY RANGE (at);"
)


class PostgresDialect:
    """PostgreSQL's words."""

    words: Mapping[str, str] = {
        "id": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "text": 'TEXT COLLATE "C"',
        "real": "DOUBLE PRECISION",
        "clustered": "",
        "clustered_sparse": " WITH (fillfactor = 80)",  # room for the new version of a row in the same page
        "sparse": " WITH (fillfactor = 50)",
        "reading": _READING,
    }
    lock_schema = "SELECT pg_advisory_xact_lock(5641070211);"
    for_update = " FOR UPDATE"
    skip_locked = " FOR UPDATE SKIP LOCKED"
    unknown = "NULL::boolean"
    by_code_point = ' COLLATE "C"'

    def source(self, names: Sequence[str], types: Sequence[str]) -> str:
        """An array for each column."""
        arrays = ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(types, 1))
        return f"unnest({arrays}) AS r ({', '.join(names)})"

    def table(self, first: int, types: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
        """An array for each column."""
        arrays = ", ".join(f"${number}::{type_}[]" for number, type_ in enumerate(types, first))
        columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in types]
        return f"(SELECT * FROM unnest({arrays}))", columns

    def parameter(self, number: int, value: object) -> tuple[str, object]:
        """A parameter of the type of its value."""
        return f"${number}::{_TYPES[type(value)]}", value

    def exact(self, literal: float) -> object:
        """A float is compared with an integer as a decimal, which loses nothing."""
        return Decimal(literal) if type(literal) is float else literal

    def like(self, text: str, parameter: str) -> str:
        """LIKE without an escape."""
        return f"{text} LIKE {parameter} ESCAPE ''"

    def pattern(self, pattern: str) -> str:
        """The same signs."""
        return pattern


class PostgresDatabase:
    """One database. ``what`` names it in messages, without the password."""

    dialect = PostgresDialect()

    def __init__(
        self,
        url: str,
        what: str,
        *,
        clock: Clock,
        backoff: Backoff,
        pool_size: int = POOL_SIZE,
        command_s: float = COMMAND_S,
        session: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._url = url
        self._what = what
        self._clock = clock
        self._backoff = backoff
        self._pool_size = pool_size
        self._command_s = command_s
        self._session = {**_SESSION, **session}
        self._pool: Pool[Any] | None = None
        self._not_before_s = 0.0
        self._failure = ""

    async def open(self) -> None:
        """Connect. Raises StoreError."""
        import asyncpg

        with failing(self._what):
            self._pool = asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._pool_size,
                timeout=CONNECT_S,
                command_timeout=self._command_s,
                server_settings=self._session,
                statement_cache_size=256,
                reset=_reset,
            )
            await self._pool
        async with self.reading() as connection:
            ((encoding,),) = await connection.fetch("SHOW server_encoding")
        if encoding != "UTF8":
            await self.close()
            message = f"{self._what} has the encoding {encoding}"
            raise StoreError(message, remedy="Make the database with `createdb --encoding=UTF8 --template=template0`.")

    async def close(self) -> None:
        """Let go of all connections."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(CONNECT_S):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A transaction."""
        async with self._connection() as db:
            transaction = db.transaction()
            with failing(self._what):
                await transaction.start()
            try:
                yield _Lane(db, self._what)
            except BaseException:
                await self._roll_back(transaction)
                raise
            with failing(self._what):
                await transaction.commit()

    @contextlib.asynccontextmanager
    async def reading(self, *, max_s: float | None = None) -> AsyncIterator[Connection]:
        """One snapshot."""
        async with self._connection() as db:
            transaction = db.transaction(isolation="repeatable_read", readonly=True)
            with failing(self._what):
                await transaction.start()
            try:
                if max_s is None:
                    yield _Lane(db, self._what)
                else:
                    with _in_time(max_s):
                        # The server ends one statement; the rest is for one that comes in many portions.
                        async with asyncio.timeout(max_s + 1):
                            await db.execute(f"{_QUERY} SET LOCAL statement_timeout = {max(1, int(max_s * 1000))}")
                            yield _Lane(db, self._what, bounded=True)
            finally:
                await self._roll_back(transaction)

    async def _roll_back(self, transaction: Any) -> None:
        with contextlib.suppress(StoreError), failing(self._what):  # a lost connection has rolled back by itself
            await transaction.rollback()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[PoolConnectionProxy[Any]]:
        pool = self._pool
        if pool is None:
            message = f"{self._what} is not open"
            raise StoreError(message)
        now_s = self._clock.monotonic_s()
        if now_s < self._not_before_s:
            wait_s = self._not_before_s - now_s
            raise StoreError(self._failure, remedy=f"It is tried again in {wait_s:.1f} s, without your doing.")
        try:
            with failing(self._what):
                db = await pool.acquire(timeout=self._command_s)
        except StoreError as error:
            self._not_before_s = self._clock.monotonic_s() + self._backoff.next_s()
            self._failure = error.message
            raise
        self._backoff.reset()
        try:
            yield db
        finally:
            with contextlib.suppress(StoreError), failing(self._what):
                await pool.release(db, timeout=CONNECT_S)


class _Lane:
    """A connection in a transaction."""

    def __init__(self, db: PoolConnectionProxy[Any], what: str, *, bounded: bool = False) -> None:
        self._db = db
        self._what = what
        self._bounded = bounded

    async def fetch(self, sql: str, *parameters: Any) -> Sequence[Record]:
        """Run one statement; its rows."""
        with failing(self._what, bounded=self._bounded):
            found: list[Any] = await self._db.fetch(sql, *parameters)
            return found

    async def each(
        self, sql: str, names: Sequence[str], types: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> Sequence[Record]:
        """Run one statement on many rows, at once."""
        if not rows:
            return []
        text = sql.replace("{rows}", PostgresDatabase.dialect.source(names, types))
        return await self.fetch(text, *(list(column) for column in zip(*rows, strict=True)))

    async def portions(self, sql: str, parameters: Sequence[Any], rows: int) -> AsyncIterator[Sequence[Record]]:
        """The rows of one statement, so many at a time."""
        with failing(self._what, bounded=self._bounded):
            cursor = await self._db.cursor(sql, *parameters)
        while True:
            with failing(self._what, bounded=self._bounded):
                portion = await cursor.fetch(rows)
            if not portion:
                return
            yield portion

    async def script(self, sql: str) -> None:
        """Run statements without parameters."""
        with failing(self._what):
            await self._db.execute(sql)


async def _reset(db: asyncpg.Connection[Any]) -> None:
    """What pools do between two owners; ours leave nothing behind, unless a rollback failed."""
    if db.is_in_transaction():
        await db.reset()


@contextlib.contextmanager
def _in_time(max_s: float) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise cancelled(max_s) from None
    except QueryAborted:
        raise cancelled(max_s) from None
