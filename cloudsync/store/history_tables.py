"""The history's readings: one table for each period of time, so that old ones are dropped whole.

A reading is in the table of its own time, whenever it came; so one that comes twice stays once. Times before 2000 and
after 2100 share the first and the last table, so that no clock of a gateway can make more than a few thousand.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, Protocol

from cloudsync.store.cells import QUALITIES
from cloudsync.store.database import Connection, listed
from twin.history import Cursor, Gap, HistoryPage, HistoryQuery, Reading, Why, joined
from twin.model import Reason

PERIOD_MS: Final = 7 * 24 * 3_600_000
FIRST: Final = 946_684_800_000 // PERIOD_MS
"""The period of 2000-01-01; earlier times are in the table of the one before."""
LAST: Final = 4_102_444_800_000 // PERIOD_MS
"""The period of 2100-01-01; later times are in its table."""

READING: Final = ("series", "at", "tick", "value", "quality", "reason")
READING_TYPES: Final = ("int8", "int8", "int8", "text", "int2", "text")

_REASONS: Final = {reason.value: reason for reason in Reason}
_QUALITY_NUMBERS: Final = {quality: number for number, quality in enumerate(QUALITIES)}
_ADD_DROPPED: Final = (
    "INSERT INTO gap (series, why, site, first, last, readings)"
    " SELECT series, 'age', 1, min(at), max(at), count(*) FROM {table} GROUP BY series"
    " ON CONFLICT (series, why, site) DO UPDATE SET"
    " first = CASE WHEN excluded.first < gap.first THEN excluded.first ELSE gap.first END,"
    " last = CASE WHEN excluded.last > gap.last THEN excluded.last ELSE gap.last END,"
    " readings = gap.readings + excluded.readings"
)


class Periods(Protocol):
    """How a database keeps a table for each period."""

    async def existing(self, connection: Connection) -> list[int]:
        """The periods that have a table, in order."""
        ...

    async def make(self, connection: Connection, periods: Collection[int]) -> None:
        """Make the tables that are missing."""
        ...

    async def drop(self, connection: Connection, period: int) -> None:
        """Drop one with all its readings."""
        ...


def period_of(at: int) -> int:
    """The period of a time in milliseconds."""
    return max(FIRST - 1, min(LAST, at // PERIOD_MS))


def table_of(period: int) -> str:
    """The name of a period's table."""
    return f"reading_{period:05d}"


async def add_readings(
    connection: Connection, periods: Periods, readings: Iterable[tuple[int, Sequence[Reading]]]
) -> None:
    """Keep readings of series; those that are there stay as they are."""
    found: dict[int, list[tuple[Any, ...]]] = {}
    for series, some in readings:
        for one in some:
            row = (series, one.at, one.tick, json.dumps(one.value, ensure_ascii=False))
            quality = (_QUALITY_NUMBERS[one.quality], one.reason.value)
            found.setdefault(period_of(one.at), []).append((*row, *quality))
    await periods.make(connection, found)
    for period, rows in sorted(found.items()):
        sql = (
            f"INSERT INTO {table_of(period)} ({listed(READING)}) SELECT {listed(READING, 'r')} FROM {{rows}}"
            " WHERE true ON CONFLICT (series, at, tick) DO NOTHING"
        )
        await connection.each(sql, READING, READING_TYPES, rows)


async def page(connection: Connection, periods: Periods, series: Sequence[int], query: HistoryQuery) -> HistoryPage:
    """One page of readings of these series, which are one property's."""
    if not series:
        return HistoryPage((), (), more=False)
    among = ", ".join(map(str, series))
    begins = query.after or Cursor(query.since, -1)
    rows: list[Any] = []
    first, last = period_of(max(query.since, begins.at)), period_of(query.until)
    for period in await periods.existing(connection):
        if first <= period <= last and len(rows) <= query.limit:
            rows += await connection.fetch(
                f"SELECT at, tick, value, quality, reason FROM {table_of(period)} WHERE series IN ({among})"
                " AND at >= $1 AND at <= $2 AND (at, tick) > ($3, $4) ORDER BY at, tick LIMIT $5",
                query.since,
                query.until,
                *begins,
                query.limit + 1 - len(rows),
            )
    gaps = await connection.fetch(
        f"SELECT first, last, readings, why FROM gap WHERE series IN ({among}) AND last >= $1 AND first <= $2",
        max(query.since, begins.at) if query.after else query.since,
        query.until,
    )
    shown = joined(Gap(start, end, count, Why(why)) for start, end, count, why in gaps)
    return HistoryPage(tuple(map(_reading, rows[: query.limit])), tuple(shown), more=len(rows) > query.limit)


async def drop_before(connection: Connection, periods: Periods, before: int) -> int:
    """Drop the periods that ended before a time; what was in them is counted as gaps of age."""
    dropped = 0
    for period in await periods.existing(connection):
        if period < period_of(before):
            await connection.fetch(_ADD_DROPPED.format(table=table_of(period)))
            await periods.drop(connection, period)
            dropped += 1
    return dropped


def _reading(row: Any) -> Reading:
    at, tick, value, quality, reason = row
    return Reading(at, tick, json.loads(value), QUALITIES[quality], _REASONS.get(reason, Reason.NONE))
