"""Twins and their slots, read from the tables: documents, rows of the feed, digests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from cloudsync.store import Place
from cloudsync.store.cells import SECTIONS, SITES, SLOT, escaped, from_slot_columns, unescaped
from cloudsync.store.database import Connection, Dialect, Record, listed
from twin.document import DELETED, Leaf, Slot, TwinDocument
from twin.exchange import Row, digest
from twin.model import Kind, Section, Site, TwinKey, TwinSpec
from twin.spec_text import SpecReader

_BOTH: Final = tuple(
    f"SELECT l.twin, {section}, l.property, {site}, {listed(SLOT, 'l')} FROM {table} l"
    for section, (table, site) in enumerate((("reported", "0"), ("desired", "l.site")))
)
_KEYED: Final = tuple(
    f"SELECT t.kind, t.namespace, t.name, t.uid, {section}, l.property, {site}, {listed(SLOT, 'l')}"
    f" FROM {table} l JOIN twin t ON t.id = l.twin"
    for section, (table, site) in enumerate((("reported", "0"), ("desired", "l.site")))
)


class TwinLine(NamedTuple):
    """A defined twin without its leaves."""

    id: int
    version: int
    own: str
    shared: str | None

    @property
    def text(self) -> str:
        """The text of its spec."""
        return self.own if self.shared is None else f"{self.own}\n{self.shared}"


LINES: Final = (
    "SELECT t.id, t.version, s.spec, h.properties FROM twin t JOIN spec s ON s.twin = t.id"
    " LEFT JOIN shape h ON h.id = t.shape WHERE t.documented"
)


class Found(NamedTuple):
    """One slot of a twin whose number is known."""

    section: Section
    property: str
    site: Site
    slot: Slot


async def documents(connection: Connection, dialect: Dialect, lines: Sequence[TwinLine]) -> list[TwinDocument]:
    """The twins of these lines, with their leaves."""
    found = await slots_of(connection, dialect, [line.id for line in lines])
    read = SpecReader().read
    made = []
    for line in lines:
        spec = read(line.text)
        assert spec is not None  # a defined twin has one
        made.append(_document(spec, line.version, found.get(line.id, ())))
    return made


async def slots_of(connection: Connection, dialect: Dialect, ids: Collection[int]) -> Mapping[int, list[Found]]:
    """All slots of twins, by number, of both sites."""
    found: dict[int, list[Found]] = {}
    if not ids:
        return found
    among, parameters = dialect.table(1, ("int8",), [(id_,) for id_ in ids])
    for select in _BOTH:
        for twin, section, name, site, *columns in await connection.fetch(
            f"{select} WHERE l.twin IN {among}", *parameters
        ):
            one = Found(SECTIONS[section], unescaped(name), SITES[site], from_slot_columns(columns))
            found.setdefault(twin, []).append(one)
    return found


async def rows_after(connection: Connection, gateway: str, site: Site, tick: int, limit: int) -> list[Row]:
    """The slots of one site with a greater tick, in tick order, at most so many."""
    if site is Site.CLOUD:
        sql = f"{_KEYED[1]} WHERE l.gateway = $1 AND l.site = 1 AND l.tick > $2 ORDER BY l.tick LIMIT $3"
        return list(map(_row, await connection.fetch(sql, gateway, tick, limit)))
    rows: list[Row] = []
    for select, of_edge in zip(_KEYED, ("", " AND l.site = 0"), strict=True):
        sql = f"{select} WHERE t.gateway = $1 AND t.edge_tick > $2 AND l.tick > $2{of_edge} ORDER BY l.tick LIMIT $3"
        rows += map(_row, await connection.fetch(sql, gateway, tick, limit))
    return sorted(rows, key=lambda row: row.slot.tick)[:limit]


async def own_rows(connection: Connection, gateway: str, first: int, last: int) -> list[Row]:
    """The cloud's slots with first <= tick <= last, in tick order."""
    sql = f"{_KEYED[1]} WHERE l.gateway = $1 AND l.site = 1 AND l.tick BETWEEN $2 AND $3 ORDER BY l.tick"
    return list(map(_row, await connection.fetch(sql, gateway, first, last)))


async def rows_of(connection: Connection, dialect: Dialect, gateway: str, places: Collection[Place]) -> list[Row]:
    """All slots of these twins, in the order of the places."""
    if not places:
        return []
    wanted, parameters = dialect.table(2, ("text",) * 4, [place_columns(place) for place in places])
    rows: list[Row] = []
    for select in _KEYED:
        sql = f"{select} WHERE t.gateway = $1 AND (t.kind, t.namespace, t.name, t.uid) IN {wanted}"
        rows += map(_row, await connection.fetch(sql, gateway, *parameters))
    return sorted(rows, key=lambda row: row[:5])


async def digests(
    connection: Connection,
    dialect: Dialect,
    gateway: str,
    *,
    after: Place | None,
    upto: Place | None,
    limit: int,
    waiting: bool,
) -> list[tuple[TwinKey, str, bytes]]:
    """A digest for each twin with rows between two places."""
    where, parameters = ["gateway = $1", "(edge_tick > 0 OR cloud_tick > 0)"], [gateway]
    if not waiting:
        where.append("documented")
    for place, operator in ((after, ">"), (upto, "<=")):
        if place is not None:
            first = len(parameters) + 1
            names = ", ".join(f"${number}" for number in range(first, first + 4))
            where.append(f"(kind, namespace, name, uid) {operator} ({names})")
            parameters += place_columns(place)
    lines = await connection.fetch(
        f"SELECT id, kind, namespace, name, uid FROM twin WHERE {' AND '.join(where)}"
        f" ORDER BY kind, namespace, name, uid LIMIT ${len(parameters) + 1}",
        *parameters,
        limit,
    )
    found = await slots_of(connection, dialect, [line[0] for line in lines])
    made = []
    for id_, kind, namespace, name, uid in lines:
        key = TwinKey(Kind(kind), namespace, name)
        made.append((key, unescaped(uid), digest(Row(key, uid, *one) for one in found.get(id_, ()))))
    return made


def place_columns(place: Place) -> tuple[str, str, str, str]:
    """Kind, namespace, name, uid."""
    key, uid = place
    return key.kind.value, key.namespace, key.name, escaped(uid)


def _row(columns: Record) -> Row:
    kind, namespace, name, uid, section, property_, site, *slot = columns
    key = TwinKey(Kind(kind), namespace, name)
    return Row(key, unescaped(uid), SECTIONS[section], unescaped(property_), SITES[site], from_slot_columns(slot))


def _document(spec: TwinSpec, version: int, found: Iterable[Found]) -> TwinDocument:
    reported: dict[str, Slot] = {}
    desired: dict[str, Leaf] = {}
    for one in found:
        if one.section is Section.DESIRED:
            desired[one.property] = desired.get(one.property, Leaf()).with_slot(one.site, one.slot)
        elif one.slot.value is not DELETED:
            reported[one.property] = one.slot
    return TwinDocument(spec, version, desired, reported)
