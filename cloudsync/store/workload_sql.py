"""Workloads and placements in SQL that every database takes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

from cloudsync.store import AuditEntry
from cloudsync.store.cells import CELLS, escaped, from_cells, unescaped
from cloudsync.store.database import Connection, Database, Dialect, listed, numbered
from cloudsync.store.transaction import write_audit
from cloudsync.store.workloads import Identity, Lease, Placement, PlacementState, PodReport, Presence, Workload
from twin.document import Tombstone
from twin.exchange import DocumentRef
from twin.model import Kind, TwinKey, Value

_REF: Final = ("kind", "namespace", "name")
_WORKLOAD: Final = (*_REF, "uid", "generation", "hash", "owner", "made", "why", "at", "raw")
_WORKLOAD_TYPES: Final = (*("text",) * 4, "int8", *("text",) * 4, "int8", "text")
_PLACEMENT: Final = ("gateway", *_REF, "uid", "owner", "state", "since", "grace_s", "source", "hash")
_PLACEMENT_TYPES: Final = (*("text",) * 6, "int2", "int8", "int8", "text", "text")
_PLACE: Final = ("gateway", *_REF)


def _upsert(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return (
        f"INSERT INTO {table} ({listed(columns)}) SELECT {listed(columns, 'r')} FROM {{rows}} WHERE true"
        f" ON CONFLICT ({listed(key)}) DO UPDATE SET {changed}"
    )


_PUT: Final = _upsert("workload", _WORKLOAD, _REF)
_PUT_PLACEMENT: Final = _upsert("placement", _PLACEMENT, _PLACE)
_EXPLAIN: Final = (
    "UPDATE workload SET why = r.why FROM {rows} WHERE workload.kind = r.kind AND workload.namespace = r.namespace"
    " AND workload.name = r.name"
)


class SqlWorkloadTransaction:
    """One change; the row of ``workload_state`` is locked."""

    def __init__(self, connection: Connection, dialect: Dialect, revision: int) -> None:
        self.revision = revision
        self._connection = connection
        self._dialect = dialect

    async def get(self, refs: Collection[DocumentRef]) -> list[Workload]:
        """Those of these that there are."""
        return await _get(self._connection, self._dialect, refs)

    async def put(self, workloads: Sequence[Workload]) -> None:
        """Make or replace them."""
        rows = [
            (
                *map(escaped, one.ref),
                one.uid,
                one.generation,
                one.hash,
                *map(escaped, (one.owner, one.made, one.why)),
                one.at,
                json.dumps(dict(one.raw)),
            )
            for one in workloads
        ]
        if rows:
            await self._connection.each(_PUT, _WORKLOAD, _WORKLOAD_TYPES, rows)

    async def delete(self, refs: Collection[DocumentRef]) -> None:
        """Delete them."""
        if refs:
            among, parameters = self._dialect.table(1, ("text",) * 3, _names(refs))
            await self._connection.fetch(f"DELETE FROM workload WHERE ({listed(_REF)}) IN {among}", *parameters)

    async def explain(self, whys: Mapping[DocumentRef, str]) -> None:
        """Write down what keeps pods from having a gateway."""
        rows = [(*map(escaped, ref), escaped(why)) for ref, why in whys.items()]
        if rows:
            await self._connection.each(_EXPLAIN, (*_REF, "why"), ("text",) * 4, rows)

    async def place(self, placements: Sequence[Placement]) -> None:
        """Make or replace placements."""
        rows = [
            (
                one.gateway,
                *map(escaped, one.ref),
                *(one.uid, one.owner, int(one.state), one.since, one.grace_s, one.source, one.hash),
            )
            for one in placements
        ]
        if rows:
            await self._connection.each(_PUT_PLACEMENT, _PLACEMENT, _PLACEMENT_TYPES, rows)

    async def forget(self, places: Collection[tuple[str, DocumentRef]]) -> None:
        """Delete placements."""
        if places:
            rows = [(gateway, *map(escaped, ref)) for gateway, ref in places]
            among, parameters = self._dialect.table(1, ("text",) * 4, rows)
            await self._connection.fetch(f"DELETE FROM placement WHERE ({listed(_PLACE)}) IN {among}", *parameters)

    async def audit(self, entry: AuditEntry) -> None:
        """Write one line of the audit log."""
        await write_audit(self._connection, entry)


class SqlWorkloads:
    """The workloads of a store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[SqlWorkloadTransaction]:
        """Commit at the end of the block, roll back if it raises."""
        async with self._database.writing() as connection:
            sql = "UPDATE workload_state SET revision = revision + 1 WHERE one = 1 RETURNING revision"
            ((revision,),) = await connection.fetch(sql)
            yield SqlWorkloadTransaction(connection, self._database.dialect, revision)

    async def revision(self) -> int:
        """Rises with each change."""
        async with self._database.reading() as connection:
            rows = await connection.fetch("SELECT revision FROM workload_state")
        return int(rows[0][0])

    async def identities(self) -> list[Identity]:
        """Of all workloads."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(f"SELECT {listed(_REF)}, uid, generation FROM workload")
        return [Identity(_ref(row), row[3], row[4]) for row in rows]

    async def get(self, refs: Collection[DocumentRef]) -> list[Workload]:
        """Those of these that there are."""
        async with self._database.reading() as connection:
            return await _get(connection, self._database.dialect, refs)

    async def page(self, kind: str, *, namespace: str = "", after: str = "", limit: int) -> list[Workload]:
        """A page of one kind by namespace and name."""
        where, parameters = "kind = $1", [kind, limit]
        if namespace:
            parameters.append(escaped(namespace))
            where += f" AND namespace = ${len(parameters)}"
        if after:
            before, _, name = after.partition("/")
            parameters += [escaped(before), escaped(name)]
            where += f" AND (namespace, name) > (${len(parameters) - 1}, ${len(parameters)})"
        sql = f"SELECT {listed(_WORKLOAD)} FROM workload WHERE {where} ORDER BY namespace, name LIMIT $2"
        async with self._database.reading() as connection:
            return [_workload(row) for row in await connection.fetch(sql, *parameters)]

    async def owned(self, owner: str, *, limit: int) -> list[Workload]:
        """The pods that were made for a Deployment, by name."""
        sql = f"SELECT {listed(_WORKLOAD)} FROM workload WHERE owner = $1 AND owner <> '' ORDER BY name LIMIT $2"
        async with self._database.reading() as connection:
            return [_workload(row) for row in await connection.fetch(sql, escaped(owner), limit)]

    async def placements(self, refs: Collection[DocumentRef] | None = None) -> list[Placement]:
        """All of them, or those of some documents."""
        sql, parameters = f"SELECT {listed(_PLACEMENT)} FROM placement", list[Any]()
        if refs is not None:
            among, parameters = self._database.dialect.table(1, ("text",) * 3, _names(refs))
            sql += f" WHERE ({listed(_REF)}) IN {among}"
        async with self._database.reading() as connection:
            rows = await connection.fetch(f"{sql} ORDER BY gateway, kind, namespace, name", *parameters)
        return [_placement(row) for row in rows]

    async def presences(self) -> list[Presence]:
        """Of every gateway that was ever heard of."""
        async with self._database.reading() as connection:
            rows = await connection.fetch("SELECT name, online, heard_at, agreed FROM gateway ORDER BY name")
        return [Presence(name, bool(online), heard_at, bool(agreed)) for name, online, heard_at, agreed in rows]

    async def in_sets(self, kinds: Collection[str]) -> list[tuple[str, Identity, str]]:
        """What gateways have of some kinds."""
        sql = (
            f"SELECT gateway, {listed(_REF)}, uid, generation, hash FROM document"
            f" WHERE uid <> '' AND kind IN ({numbered(1, len(kinds))})"
        )
        async with self._database.reading() as connection:
            rows = await connection.fetch(sql, *kinds)
        return [(row[0], Identity(_ref(row[1:]), unescaped(row[4]), row[5]), unescaped(row[6])) for row in rows]

    async def reports(self, keys: Collection[TwinKey], properties: Collection[str]) -> dict[TwinKey, PodReport]:
        """What twins of pods or gateways report."""
        if not keys:
            return {}
        names = [(one.kind.value, one.namespace, one.name) for one in keys]
        among, parameters = self._database.dialect.table(1, ("text",) * 3, names)
        first = len(parameters) + 1
        sql = (
            f"SELECT t.kind, t.namespace, t.name, t.uid, t.gateway, l.property, {listed(CELLS, 'l')} FROM twin t"
            f" LEFT JOIN reported l ON l.twin = t.id AND l.property IN ({numbered(first, len(properties))})"
            f" WHERE t.documented AND (t.kind, t.namespace, t.name) IN {among}"
        )
        async with self._database.reading() as connection:
            rows = await connection.fetch(sql, *parameters, *properties)
        found: dict[TwinKey, tuple[str, str, dict[str, Value]]] = {}
        for kind, namespace, name, uid, gateway, about, *cells in rows:
            key = TwinKey(Kind(kind), namespace, name)
            *_, values = found.setdefault(key, (unescaped(uid), gateway, {}))
            value = from_cells(*cells)
            if about is not None and not isinstance(value, Tombstone):
                values[about] = value
        return {key: PodReport(*one) for key, one in found.items()}

    async def lease(self, name: str, holder: str, *, now: int, until: int, gap_ms: int) -> Lease:
        """Take or renew a lease, if it is free or over."""
        async with self._database.writing() as connection:
            put = "INSERT INTO lease (name, holder, until, since) VALUES ($1, '', 0, 0) ON CONFLICT DO NOTHING"
            await connection.fetch(put, name)
            lock = self._database.dialect.for_update
            sql = f"SELECT holder, until, since FROM lease WHERE name = $1{lock}"
            ((held_by, held_until, since),) = await connection.fetch(sql, name)
            # One that ends later than anybody gives it is of a clock that was wrong, and holds nothing.
            if held_by != holder and now <= held_until <= 2 * until - now:
                return Lease(held=False, since=since)
            if now - held_until > gap_ms or held_until > 2 * until - now:
                since = now
            sql = "UPDATE lease SET holder = $2, until = $3, since = $4 WHERE name = $1"
            await connection.fetch(sql, name, holder, until, since)
        return Lease(held=True, since=since)

    async def release(self, name: str, holder: str, *, now: int) -> None:
        """Let others have it at once."""
        async with self._database.writing() as connection:
            sql = "UPDATE lease SET holder = '', until = $3 WHERE name = $1 AND holder = $2"
            await connection.fetch(sql, name, holder, now - 1)


async def _get(connection: Connection, dialect: Dialect, refs: Collection[DocumentRef]) -> list[Workload]:
    if not refs:
        return []
    among, parameters = dialect.table(1, ("text",) * 3, _names(refs))
    sql = f"SELECT {listed(_WORKLOAD)} FROM workload WHERE ({listed(_REF)}) IN {among}"
    return [_workload(row) for row in await connection.fetch(sql, *parameters)]


def _names(refs: Collection[DocumentRef]) -> list[tuple[str, ...]]:
    return [tuple(map(escaped, ref)) for ref in refs]


def _ref(row: Sequence[Any]) -> DocumentRef:
    return DocumentRef(*map(unescaped, row[:3]))


def _workload(row: Sequence[Any]) -> Workload:
    _, _, _, uid, generation, hash_, owner, made, why, at, raw = row
    owner, made, why = (unescaped(text) for text in (owner, made, why))
    return Workload(_ref(row), uid, generation, hash_, json.loads(raw), owner, made, why, at)


def _placement(row: Sequence[Any]) -> Placement:
    gateway, *names, uid, owner, state, since, grace_s, source, hash_ = row
    return Placement(gateway, _ref(names), uid, owner, PlacementState(state), since, grace_s, source, hash_)
