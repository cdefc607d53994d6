"""Joins rows of the feed into the tables, set by set: the rule of twin.merge.join_slot, said in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from cloudsync.store import Place
from cloudsync.store.cells import SITES, SLOT, SLOT_TYPES, escaped, to_slot_columns
from cloudsync.store.database import Connection, Dialect, listed
from cloudsync.store.twin_rows import place_columns
from twin.document import Slot
from twin.exchange import Row
from twin.merge import join_slot
from twin.model import Section, Site, TwinKey, TwinSpec
from twin.spec_text import text_of

MAX_WAITING: Final = 10_000
"""Twins of one gateway that wait for their document at most; the one that waits longest goes first."""

_NEWER: Final = ", ".join(
    f"{name} = CASE WHEN excluded.tick > l.tick THEN excluded.{name} ELSE l.{name} END"
    for name in SLOT
    if name != "seen"
)
_JOINED: Final = (
    f" DO UPDATE SET {_NEWER}, seen = CASE WHEN excluded.seen > l.seen THEN excluded.seen ELSE l.seen END"
    " WHERE excluded.tick > l.tick OR excluded.seen > l.seen RETURNING twin"
)
_REPORTED: Final = ("twin", "property", *SLOT)
_REPORTED_TYPES: Final = ("int8", "text", *SLOT_TYPES)
_PUT_REPORTED: Final = (
    f"INSERT INTO reported AS l ({listed(_REPORTED)}) SELECT {listed(_REPORTED, 'r')} FROM {{rows}}"
    f" WHERE true ON CONFLICT (twin, property){_JOINED}"
)
_DESIRED: Final = ("twin", "property", "site", "gateway", *SLOT)
_DESIRED_TYPES: Final = ("int8", "text", "int2", "text", *SLOT_TYPES)
_PUT_DESIRED: Final = (
    f"INSERT INTO desired AS l ({listed(_DESIRED)}) SELECT {listed(_DESIRED, 'r')} FROM {{rows}}"
    f" WHERE true ON CONFLICT (twin, property, site){_JOINED}"
)
_TOUCH: Final = (
    "UPDATE twin SET version = version + 1,"
    " edge_tick = CASE WHEN r.edge > edge_tick THEN r.edge ELSE edge_tick END,"
    " cloud_tick = CASE WHEN r.cloud > cloud_tick THEN r.cloud ELSE cloud_tick END"
    " FROM {rows} WHERE twin.id = r.id RETURNING twin.id, twin.documented"
)
_MAKE: Final = (
    "INSERT INTO twin (gateway, kind, namespace, name, uid, documented, version, model, shape, edge_tick, cloud_tick)"
    " SELECT $1, $2, $3, $4, $5, $6 AND NOT EXISTS"
    " (SELECT 1 FROM twin WHERE kind = $2 AND namespace = $3 AND name = $4 AND documented),"
    " coalesce((SELECT version FROM ended WHERE kind = $2 AND namespace = $3 AND name = $4), 0), '', 0, 0, 0"
    " RETURNING id, documented"
)


class Joined(NamedTuple):
    """What a join changed."""

    changed: frozenset[TwinKey]
    """Twins that something defines."""
    out_of_turn: bool
    """Whether some of it has ticks at or below those that a follower may have passed."""


class _TwinRows:
    """The rows of one twin, each place once."""

    __slots__ = ("desired", "id", "reported", "ticks")

    def __init__(self) -> None:
        self.id = 0
        self.reported: dict[str, Slot] = {}
        self.desired: dict[tuple[str, Site], Slot] = {}
        self.ticks = [0, 0]
        """The greatest of each site."""

    def take(self, row: Row) -> None:
        _, _, section, name, site, slot = row
        if section is Section.REPORTED:
            had = self.reported.get(name)
            self.reported[name] = slot if had is None else join_slot(had, slot) or slot
        else:
            had = self.desired.get((name, site))
            self.desired[name, site] = slot if had is None else join_slot(had, slot) or slot
        at = 0 if site is Site.EDGE else 1
        self.ticks[at] = max(self.ticks[at], slot.tick)


async def join(
    connection: Connection, dialect: Dialect, gateway: str, rows: Sequence[Row], *, passed: tuple[int, int]
) -> Joined:
    """Join rows of one gateway. ``passed``: the ticks of edge and cloud that followers may have passed."""
    places, late = _by_place(rows, passed)
    if not places:
        return Joined(frozenset(), out_of_turn=False)
    await _number(connection, dialect, gateway, places)
    touched: set[int] = set()
    reported = [
        (one.id, escaped(name), *to_slot_columns(slot))
        for one in places.values()
        for name, slot in one.reported.items()
    ]
    if reported:
        touched.update(id_ for (id_,) in await connection.each(_PUT_REPORTED, _REPORTED, _REPORTED_TYPES, reported))
    desired = [
        (one.id, escaped(name), SITES.index(site), gateway, *to_slot_columns(slot))
        for one in places.values()
        for (name, site), slot in one.desired.items()
    ]
    if desired:
        touched.update(id_ for (id_,) in await connection.each(_PUT_DESIRED, _DESIRED, _DESIRED_TYPES, desired))
    if not touched:
        return Joined(frozenset(), out_of_turn=False)
    by_id = {one.id: (place, one) for place, one in places.items() if one.id in touched}
    lines = [(id_, *by_id[id_][1].ticks) for id_ in sorted(touched)]
    found = await connection.each(_TOUCH, ("id", "edge", "cloud"), ("int8",) * 3, lines)
    keys = frozenset(by_id[id_][0][0] for id_, documented in found if documented)
    return Joined(keys, out_of_turn=any(by_id[id_][0] in late for id_ in touched))


def _by_place(rows: Iterable[Row], passed: tuple[int, int]) -> tuple[dict[Place, _TwinRows], set[Place]]:
    places: dict[Place, _TwinRows] = {}
    late: set[Place] = set()
    key, uid, twin = None, "", _TwinRows()
    for row in rows:
        if row.section is Section.REPORTED and row.site is not Site.EDGE:
            continue  # only the device side reports
        if row.key is not key or row.uid != uid:  # rows of one twin come together
            key, uid = row.key, row.uid
            twin = places.setdefault((key, uid), _TwinRows())
        twin.take(row)
        if row.slot.tick <= passed[row.site is Site.CLOUD]:
            late.add((row.key, row.uid))
    return places, late


async def _number(connection: Connection, dialect: Dialect, gateway: str, places: dict[Place, _TwinRows]) -> None:
    """Find the numbers of the twins; make those that are not there."""
    wanted, parameters = dialect.table(2, ("text",) * 4, [place_columns(place) for place in places])
    found = await connection.fetch(
        "SELECT id, kind, namespace, name, uid FROM twin"
        f" WHERE gateway = $1 AND (kind, namespace, name, uid) IN {wanted}",
        gateway,
        *parameters,
    )
    known = {(kind, namespace, name, uid): id_ for id_, kind, namespace, name, uid in found}
    made = False
    for place, one in places.items():
        id_ = known.get(place_columns(place))
        if id_ is None:
            id_, made = await _make(connection, gateway, place), True
        one.id = id_
    if made:
        await _bound(connection, dialect, gateway, keep={one.id for one in places.values()})


async def _make(connection: Connection, gateway: str, place: Place) -> int:
    """A twin whose document has not come yet, or that needs none."""
    key, uid = place
    spec = TwinSpec(key, uid, gateway=gateway)
    ((id_, documented),) = await connection.fetch(_MAKE, gateway, *place_columns(place), spec.open)
    if documented:
        await connection.fetch("INSERT INTO spec (twin, spec) VALUES ($1, $2)", id_, text_of(spec))
    return int(id_)


async def _bound(connection: Connection, dialect: Dialect, gateway: str, *, keep: set[int]) -> None:
    """Drop the twins that wait longest, if too many do."""
    sql = "SELECT id FROM twin WHERE gateway = $1 AND NOT documented ORDER BY id DESC LIMIT 1000 OFFSET $2"
    spare = [id_ for (id_,) in await connection.fetch(sql, gateway, MAX_WAITING) if id_ not in keep]
    await delete_twins(connection, dialect, spare)


async def delete_twins(connection: Connection, dialect: Dialect, ids: Sequence[int]) -> None:
    """Delete twins with all that belongs to them."""
    if not ids:
        return
    among, parameters = dialect.table(1, ("int8",), [(id_,) for id_ in ids])
    for table in ("reported", "desired", "label", "spec"):
        await connection.fetch(f"DELETE FROM {table} WHERE twin IN {among}", *parameters)
    await connection.fetch(f"DELETE FROM twin WHERE id IN {among}", *parameters)
