"""What may be done under the lock of one gateway, in SQL that every database takes."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

from cloudsync.store import AuditEntry, CommandState, GatewayState, Place, defining, joining, twin_rows
from cloudsync.store.cells import escaped, unescaped
from cloudsync.store.database import Connection, Dialect, Record, listed, numbered
from cloudsync.store.history_tables import Periods, add_readings
from cloudsync.store.state_row import STATE, from_row, to_row
from twin.document import TwinDocument
from twin.exchange import (
    Command,
    CommandDone,
    DocumentRef,
    DocumentRow,
    DocumentState,
    Outcome,
    Row,
    Run,
    SeriesReadings,
    Shared,
)
from twin.model import Kind, Site, TwinKey, TwinSpec

ENDED_COMMANDS: Final = 1000
"""Commands of one gateway that are kept after their end."""

_SET_STATE: Final = (
    "UPDATE gateway SET "
    + ", ".join(f"{name} = ${number}" for number, name in enumerate(STATE, 1))
    + " WHERE name = $1"
)
_LINE: Final = f"{twin_rows.LINES} AND t.gateway = $1 AND t.kind = $2 AND t.namespace = $3 AND t.name = $4"
_DOCUMENT: Final = ("kind", "namespace", "name", "uid", "generation", "hash", "gone", "raw")
_DOCUMENT_TYPES: Final = (*("text",) * 5, "int8", *("text",) * 3)
_PUT_DOCUMENT: Final = (
    f"INSERT INTO document (gateway, {listed(_DOCUMENT)}) SELECT gateway, {listed(_DOCUMENT)} FROM {{rows}} WHERE true"
    " ON CONFLICT (gateway, kind, namespace, name) DO UPDATE SET uid = excluded.uid,"
    " generation = excluded.generation, hash = excluded.hash, gone = excluded.gone, raw = excluded.raw"
)
_NONE_GONE: Final = "[]"
_NOTHING: Final = frozenset[str]()
COMMAND: Final = (
    "id", "expires_at", "kind", "namespace", "name", "desired", "by", "outcome", "code", "message", "remedy",
)  # fmt: skip
_PUT_COMMAND: Final = (
    f"INSERT INTO command (gateway, {listed(COMMAND)}) VALUES ({numbered(1, 12)})"
    " ON CONFLICT (gateway, id) DO UPDATE SET outcome = excluded.outcome, code = excluded.code,"
    " message = excluded.message, remedy = excluded.remedy"
)
_FORGET_COMMANDS: Final = (
    "DELETE FROM command WHERE gateway = $1 AND outcome IS NOT NULL AND seq <="
    " (SELECT seq FROM command WHERE gateway = $1 AND outcome IS NOT NULL ORDER BY seq DESC LIMIT 1 OFFSET $2)"
)
_SERIES: Final = ("gateway", "kind", "namespace", "name", "uid", "property")
_PUT_NOTE: Final = (
    "INSERT INTO note (gateway, owner, name, txt) VALUES ($1, $2, $3, $4)"
    " ON CONFLICT (gateway, owner, name) DO UPDATE SET txt = excluded.txt"
)
_PUT_GAP: Final = (
    "INSERT INTO gap (series, why, site, first, last, readings)"
    " SELECT r.series, r.why, 0, r.first, r.last, r.readings FROM {rows} WHERE true"
    " ON CONFLICT (series, why, site) DO UPDATE SET first = excluded.first, last = excluded.last,"
    " readings = excluded.readings"
)
_AUDIT: Final = "INSERT INTO audit (at, account, action, subject, what, outcome) VALUES ($1, $2, $3, $4, $5, $6)"


class SqlTransaction:
    """A transaction on one gateway. ``begin`` locks, ``end`` writes the state back."""

    state: GatewayState

    def __init__(self, connection: Connection, dialect: Dialect, periods: Periods, gateway: str) -> None:
        self._connection = connection
        self._dialect = dialect
        self._periods = periods
        self._gateway = gateway
        self._read: tuple[Any, ...] = ()
        self._passed = (0, 0)

    async def begin(self) -> None:
        """Lock the gateway's row; make it if there is none."""
        sql = (
            f"SELECT {listed(STATE)}, (SELECT id FROM run ORDER BY seq DESC LIMIT 1) FROM gateway WHERE name = $1"
            + self._dialect.for_update
        )
        rows = await self._connection.fetch(sql, self._gateway)
        if not rows:
            fresh = to_row(GatewayState(self._gateway))
            put = f"INSERT INTO gateway ({listed(STATE)}) VALUES ({numbered(1, len(STATE))}) ON CONFLICT DO NOTHING"
            await self._connection.fetch(put, *fresh)
            rows = await self._connection.fetch(sql, self._gateway)
        *columns, run = rows[0]
        state = self.state = from_row(columns)
        self._read = to_row(state)
        self._passed = (state.cursor, state.tick)
        if run is not None and all(one.id != run for one in state.runs):
            state.runs = (*state.runs, Run(run, state.tick + 1))

    async def end(self) -> None:
        """Write the state, if it changed."""
        row = to_row(self.state)
        if row != self._read:
            await self._connection.fetch(_SET_STATE, *row)

    # -- twins ---------------------------------------------------------------------------------------------------

    async def join(self, rows: Sequence[Row]) -> frozenset[TwinKey]:
        """Join rows of either site; the defined twins that changed."""
        found = await joining.join(self._connection, self._dialect, self._gateway, rows, passed=self._passed)
        self.state.mended += found.out_of_turn
        return found.changed

    async def document(self, key: TwinKey) -> TwinDocument | None:
        """A twin of this gateway with this transaction's own changes."""
        found = await self._connection.fetch(_LINE, self._gateway, key.kind.value, key.namespace, key.name)
        lines = [twin_rows.TwinLine(*row) for row in found]
        made = await twin_rows.documents(self._connection, self._dialect, lines)
        return made[0] if made else None

    async def rows_after(self, site: Site, tick: int, limit: int) -> list[Row]:
        """The slots of one site with a greater tick, in tick order, at most so many."""
        return await twin_rows.rows_after(self._connection, self._gateway, site, tick, limit)

    async def own_rows(self, first: int, last: int) -> list[Row]:
        """The cloud's slots with first <= tick <= last, in tick order."""
        return await twin_rows.own_rows(self._connection, self._gateway, first, last)

    async def rows(self, places: Collection[Place]) -> list[Row]:
        """All slots of these twins, of both sites, those that wait included."""
        return await twin_rows.rows_of(self._connection, self._dialect, self._gateway, places)

    async def digests(
        self, *, after: Place | None, upto: Place | None, limit: int, waiting: bool
    ) -> list[tuple[TwinKey, str, bytes]]:
        """A digest of each twin with rows between two places, in order, at most so many."""
        return await twin_rows.digests(
            self._connection, self._dialect, self._gateway, after=after, upto=upto, limit=limit, waiting=waiting
        )

    async def define(self, *specs: TwinSpec) -> None:
        """Make twins of this gateway, or give them new specs. Raises Refused."""
        self.state.mended += await defining.define(self._connection, self._dialect, self._gateway, specs)

    async def remove(self, key: TwinKey) -> None:
        """Delete a twin with all its leaves; nothing happens if there is none."""
        self.state.mended += await defining.remove(self._connection, self._dialect, self._gateway, key)

    # -- documents and history -----------------------------------------------------------------------------------

    async def documents(self) -> dict[DocumentRef, DocumentRow]:
        """All documents of this gateway, those that are gone included."""
        sql = f"SELECT {listed(_DOCUMENT)} FROM document WHERE gateway = $1 ORDER BY kind, namespace, name"
        found = {}
        for *about, raw in await self._connection.fetch(sql, self._gateway):
            state = _document_state(about)
            found[state.ref] = DocumentRow(state, None if raw is None else json.loads(raw))
        return found

    async def document_states(self) -> dict[DocumentRef, DocumentState]:
        """The same without their content."""
        sql = f"SELECT {listed(_DOCUMENT[:-1])} FROM document WHERE gateway = $1 ORDER BY kind, namespace, name"
        rows = await self._connection.fetch(sql, self._gateway)
        states = (_document_state(row) for row in rows)
        return {state.ref: state for state in states}

    async def put_document(self, row: DocumentRow) -> None:
        """Keep one document, or what is known of one that is gone."""
        await self.put_documents([row])

    async def put_documents(self, rows: Sequence[DocumentRow]) -> None:
        """Keep many, each once."""
        if rows:
            cells = [(self._gateway, *_document_cells(row)) for row in rows]
            await self._connection.each(_PUT_DOCUMENT, ("gateway", *_DOCUMENT), _DOCUMENT_TYPES, cells)

    async def add_history(self, series: Sequence[SeriesReadings]) -> None:
        """Keep readings and gaps; what is there already, by (series, at, tick), stays once."""
        names = [(self._gateway, *twin_rows.place_columns((one.key, one.uid)), escaped(one.property)) for one in series]
        if not names:
            return
        put = f"INSERT INTO series ({listed(_SERIES)}) SELECT {listed(_SERIES, 'r')} FROM {{rows}} WHERE true"
        await self._connection.each(f"{put} ON CONFLICT DO NOTHING", _SERIES, ("text",) * 6, sorted(set(names)))
        wanted, parameters = self._dialect.table(1, ("text",) * 6, sorted(set(names)))
        found = await self._connection.fetch(
            f"SELECT id, {listed(_SERIES)} FROM series WHERE ({listed(_SERIES)}) IN {wanted}", *parameters
        )
        ids = {tuple(name): id_ for id_, *name in found}
        numbered_ = [(ids[name], one) for name, one in zip(names, series, strict=True)]
        await add_readings(
            self._connection, self._periods, [(id_, one.readings) for id_, one in numbered_ if one.readings]
        )
        gaps = {(id_, gap.why): gap for id_, one in numbered_ for gap in one.gaps}
        if gaps:
            rows = [(id_, why.value, gap.first, gap.last, gap.readings) for (id_, why), gap in gaps.items()]
            names_ = ("series", "why", "first", "last", "readings")
            await self._connection.each(_PUT_GAP, names_, ("int8", "text", "int8", "int8", "int8"), rows)

    # -- commands, audit, notes ----------------------------------------------------------------------------------

    async def put_command(self, state: CommandState) -> None:
        """Keep a command, or how it ended."""
        command, done = state.command, state.done
        key = command.key
        said = (escaped(done.code), escaped(done.message), escaped(done.remedy)) if done else ("", "", "")
        ended = (done.outcome.value if done else None, *said)
        desired = json.dumps(dict(command.desired))
        await self._connection.fetch(
            _PUT_COMMAND,
            self._gateway,
            escaped(command.id),
            command.expires_at,
            key.kind.value,
            key.namespace,
            key.name,
            desired,
            escaped(command.by),
            *ended,
        )
        if done is not None:
            await self._connection.fetch(_FORGET_COMMANDS, self._gateway, ENDED_COMMANDS)

    async def commands(self) -> list[CommandState]:
        """Those that have not ended, oldest first."""
        sql = f"SELECT {listed(COMMAND)} FROM command WHERE gateway = $1 AND outcome IS NULL ORDER BY seq"
        return [command_of(row) for row in await self._connection.fetch(sql, self._gateway)]

    async def audit(self, entry: AuditEntry) -> None:
        """Write one line of the audit log."""
        await write_audit(self._connection, entry)

    async def notes(self, owner: str) -> dict[str, str]:
        """What a dialect keeps beside this gateway's twins, by name."""
        sql = "SELECT name, txt FROM note WHERE gateway = $1 AND owner = $2"
        return {
            unescaped(name): unescaped(text) for name, text in await self._connection.fetch(sql, self._gateway, owner)
        }

    async def note(self, owner: str, name: str, text: str | None) -> None:
        """Keep a note; None deletes it."""
        if text is None:
            sql = "DELETE FROM note WHERE gateway = $1 AND owner = $2 AND name = $3"
            await self._connection.fetch(sql, self._gateway, owner, escaped(name))
        else:
            await self._connection.fetch(_PUT_NOTE, self._gateway, owner, escaped(name), escaped(text))


async def write_audit(connection: Connection, entry: AuditEntry) -> None:
    """Write one line of the audit log."""
    words = (entry.account, entry.action, entry.subject, entry.what, entry.outcome)
    await connection.fetch(_AUDIT, entry.at, *map(escaped, words))


def command_of(row: Any) -> CommandState:
    """A command as it was put; it belongs to no session."""
    id_, expires_at, kind, namespace, name, desired, by, outcome, code, message, remedy = row
    id_, key = unescaped(id_), TwinKey(Kind(kind), namespace, name)
    command = Command("", id_, expires_at, key, json.loads(desired), unescaped(by))
    if outcome is None:
        return CommandState(command)
    return CommandState(
        command, CommandDone("", id_, Outcome(outcome), unescaped(code), unescaped(message), unescaped(remedy))
    )


def _document_state(cells: Record) -> DocumentState:
    kind, namespace, name, uid, generation, hash_, gone = cells
    ref = DocumentRef(*map(unescaped, (kind, namespace, name)))
    past = frozenset[str](json.loads(gone)) if gone != _NONE_GONE else _NOTHING
    return DocumentState(ref, unescaped(uid), generation, unescaped(hash_), past)


def _document_cells(row: DocumentRow) -> tuple[object, ...]:
    state = row.state
    gone = json.dumps(sorted(state.gone)) if state.gone else _NONE_GONE
    raw = None if row.raw is None else row.raw.text if isinstance(row.raw, Shared) else json.dumps(row.raw)
    return (*map(escaped, state.ref), escaped(state.uid), state.generation, escaped(state.hash), gone, raw)
