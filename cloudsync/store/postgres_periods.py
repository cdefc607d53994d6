"""Periods of the history in PostgreSQL: partitions of the table ``reading``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from cloudsync.store.database import Connection
from cloudsync.store.history_tables import FIRST, LAST, PERIOD_MS, table_of

_EXISTING: Final = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = 'reading'::regclass ORDER BY c.relname"
)
_ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(5641070212)"


class PostgresPeriods:
    """A partition for each period."""

    async def existing(self, connection: Connection) -> list[int]:
        """The periods that have a partition, in order."""
        return [int(name.removeprefix("reading_")) for (name,) in await connection.fetch(_EXISTING)]

    async def make(self, connection: Connection, periods: Collection[int]) -> None:
        """Make the partitions that are missing."""
        if not set(periods).difference(await self.existing(connection)):
            return
        await connection.fetch(_ONE_AT_A_TIME)
        for period in sorted(set(periods).difference(await self.existing(connection))):
            start = "MINVALUE" if period < FIRST else str(period * PERIOD_MS)
            end = "MAXVALUE" if period >= LAST else str((period + 1) * PERIOD_MS)
            table = table_of(period)
            # Made apart and then attached, because that lets others go on with the other partitions.
            await connection.script(
                f"CREATE TABLE {table} (LIKE reading INCLUDING ALL);"
                f"ALTER TABLE reading ATTACH PARTITION {table} FOR VALUES FROM ({start}) TO ({end});"
            )

    async def drop(self, connection: Connection, period: int) -> None:
        """Drop one with all its readings."""
        await connection.fetch(f"DROP TABLE {table_of(period)}")
