"""Periods of the history in SQLite: plain tables, found by their names."""

from __future__ import annotations

from collections.abc import Collection

from cloudsync.store.database import Connection
from cloudsync.store.history_tables import table_of


class SqlitePeriods:
    """A table for each period."""

    async def existing(self, connection: Connection) -> list[int]:
        """The periods that have a table, in order."""
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'reading_[0-9]*' ORDER BY name"
        return [int(name.removeprefix("reading_")) for (name,) in await connection.fetch(sql)]

    async def make(self, connection: Connection, periods: Collection[int]) -> None:
        """Make the tables that are missing."""
        for period in periods:
            await connection.fetch(
                f"CREATE TABLE IF NOT EXISTS {table_of(period)} (series INTEGER NOT NULL, at INTEGER NOT NULL,"
                " tick INTEGER NOT NULL, value TEXT NOT NULL, quality INTEGER NOT NULL, reason TEXT NOT NULL,"
                " PRIMARY KEY (series, at, tick)) WITHOUT ROWID"
            )

    async def drop(self, connection: Connection, period: int) -> None:
        """Drop one with all its readings."""
        await connection.fetch(f"DROP TABLE {table_of(period)}")
