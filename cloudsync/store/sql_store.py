"""The cloud's store on any database: reads, and the frame of every transaction."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Final

from cloudsync.store import AuditEntry, Changed, CommandState, GatewayState, Position, history_tables
from cloudsync.store.answer import answer
from cloudsync.store.cells import escaped, unescaped
from cloudsync.store.database import Connection, Database, listed
from cloudsync.store.history_tables import Periods
from cloudsync.store.rollout_sql import SqlRollouts
from cloudsync.store.rollouts import RolloutStore
from cloudsync.store.schema import migrate
from cloudsync.store.state_row import STATE, from_row
from cloudsync.store.transaction import COMMAND, SqlTransaction, command_of, write_audit
from cloudsync.store.twin_rows import LINES, TwinLine, documents
from cloudsync.store.workload_sql import SqlWorkloads
from cloudsync.store.workloads import WorkloadStore
from twin.document import TwinDocument
from twin.errors import UnknownTwin
from twin.history import HistoryPage, HistoryQuery
from twin.model import Kind, TwinKey
from twin.query.plan import Plan
from twin.query.reader import MAX_S, Answer

_KEYED: Final = "t.kind = $1 AND t.namespace = $2 AND t.name = $3"
_AUDIT: Final = ("at", "account", "action", "subject", "what", "outcome")


class SqlStore:
    """The store, shared by workers that know nothing of each other. ``what`` names it in messages."""

    def __init__(self, database: Database, periods: Periods, what: str, *, query_max_s: float = MAX_S) -> None:
        self._database = database
        self._periods = periods
        self._what = what
        self._query_max_s = query_max_s
        self.workloads: WorkloadStore = SqlWorkloads(database)
        self.rollouts: RolloutStore = SqlRollouts(database)

    async def open(self) -> None:
        """Connect and bring the schema up to date. Raises StoreError, StoreTooNew."""
        await self._database.open()
        try:
            await migrate(self._database, self._what)
        except BaseException:
            await self._database.close()
            raise

    async def close(self) -> None:
        """Let go."""
        await self._database.close()

    async def begin_run(self, run: str) -> None:
        """Name this start of the whole store; a run that is known stays where it is."""
        async with self._database.writing() as connection:
            await connection.fetch("INSERT INTO run (id) VALUES ($1) ON CONFLICT (id) DO NOTHING", run)

    @contextlib.asynccontextmanager
    async def transaction(self, gateway: str) -> AsyncIterator[SqlTransaction]:
        """Lock one gateway, commit at the end of the block, roll back if it raises."""
        async with self._database.writing() as connection:
            transaction = SqlTransaction(connection, self._database.dialect, self._periods, gateway)
            await transaction.begin()
            yield transaction
            await transaction.end()

    # -- gateways ------------------------------------------------------------------------------------------------

    async def gateways(self, names: Collection[str] | None = None) -> list[GatewayState]:
        """All gateways, or these, by name."""
        sql = f"SELECT {listed(STATE)} FROM gateway"
        parameters: list[object] = []
        if names is not None:
            among, parameters = self._among(1, names)
            sql += f" WHERE name IN {among}"
        async with self._database.reading() as connection:
            return [from_row(row) for row in await connection.fetch(f"{sql} ORDER BY name", *parameters)]

    async def noted(self, owner: str) -> frozenset[str]:
        """The gateways beside whose twins the owner keeps notes."""
        async with self._database.reading() as connection:
            rows = await connection.fetch("SELECT DISTINCT gateway FROM note WHERE owner = $1", owner)
        return frozenset(str(row[0]) for row in rows)

    async def heard(self, sessions: Mapping[str, str], *, at: int) -> frozenset[str]:
        """Note that these sessions are alive; the gateways of which another session stands, or none."""
        if not sessions:
            return frozenset()
        among, parameters = self._among(1, sessions)
        async with self._database.writing() as connection:
            lock = self._database.dialect.for_update
            sql = f"SELECT name, session FROM gateway WHERE name IN {among} ORDER BY name{lock}"
            found = await connection.fetch(sql, *parameters)
            alive = [name for name, session in found if session == escaped(sessions[name])]
            if alive:
                among, parameters = self._among(2, alive)
                await connection.fetch(
                    f"UPDATE gateway SET heard_at = $1, online = true WHERE name IN {among}", at, *parameters
                )
        return frozenset(sessions) - frozenset(alive)

    async def positions(self) -> dict[str, Position]:
        """Where each gateway's changes stand now."""
        async with self._database.reading() as connection:
            rows = await connection.fetch("SELECT name, cursor, tick, mended FROM gateway")
        return {name: Position(cursor, tick, mended) for name, cursor, tick, mended in rows}

    async def changed(self, gateway: str, since: Position, *, limit: int) -> Changed:
        """Twins of one gateway that changed since a position."""
        async with self._database.reading() as connection:
            rows = await connection.fetch("SELECT cursor, tick, mended FROM gateway WHERE name = $1", gateway)
            now = Position(*rows[0]) if rows else Position(0, 0, 0)
            if now.mended != since.mended:
                return Changed(frozenset(), now, all=True)
            keys: set[TwinKey] = set()
            upto = now
            for column, place, after in (("edge_tick", 0, since.cursor), ("cloud_tick", 1, since.tick)):
                found = await connection.fetch(
                    f"SELECT kind, namespace, name, documented, {column} FROM twin"
                    f" WHERE gateway = $1 AND {column} > $2 ORDER BY {column} LIMIT $3",
                    gateway,
                    after,
                    limit + 1,
                )
                if len(found) > limit:
                    if found[limit][4] == found[limit - 1][4]:  # a page cannot end between equal ticks
                        return Changed(frozenset(), now, all=True)
                    upto = upto._replace(**{("cursor", "tick")[place]: found[limit - 1][4]})
                keys.update(TwinKey(Kind(row[0]), row[1], row[2]) for row in found[:limit] if row[3])
        return Changed(frozenset(keys), upto, more=upto != now)

    async def claim(self, worker: str, *, now: int, until: int, limit: int) -> list[str]:
        """Take down streams that nobody holds, renew this worker's own; the gateways it holds then."""
        skip = self._database.dialect.skip_locked
        async with self._database.writing() as connection:
            own = await connection.fetch(f"SELECT name FROM gateway WHERE worker = $1 ORDER BY name{skip}", worker)
            free = await connection.fetch(
                "SELECT name FROM gateway WHERE online AND worker <> $1"
                f" AND (worker_until < $2 OR worker_until > $3) ORDER BY name LIMIT $4{skip}",
                worker,
                now,
                2 * until - now,
                limit,
            )
            if own or free:
                among, parameters = self._among(3, [name for (name,) in (*own, *free)])
                sql = f"UPDATE gateway SET worker = $1, worker_until = $2 WHERE name IN {among}"
                await connection.fetch(sql, worker, until, *parameters)
            held = "SELECT name FROM gateway WHERE worker = $1 AND worker_until > $2 ORDER BY name"
            return [name for (name,) in await connection.fetch(held, worker, now)]

    # -- twins ---------------------------------------------------------------------------------------------------

    async def gateway_of(self, key: TwinKey) -> str:
        """The gateway of a twin that is defined. Raises UnknownTwin."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(f"SELECT t.gateway FROM twin t WHERE {_KEYED} AND t.documented", *_names(key))
        if not rows:
            raise _unknown(key)
        return str(rows[0][0])

    async def twin(self, key: TwinKey) -> TwinDocument:
        """One twin. Raises UnknownTwin."""
        async with self._database.reading() as connection:
            made = await self._documents(connection, f"{LINES} AND {_KEYED}", *_names(key))
        if not made:
            raise _unknown(key)
        return made[0]

    async def twins(
        self, *, kind: str = "", namespace: str = "", gateway: str = "", after: TwinKey | None = None, limit: int
    ) -> list[TwinDocument]:
        """A page of twins in the order of their keys."""
        where, parameters = [LINES], []
        for column, value in (("kind", kind), ("namespace", namespace), ("gateway", gateway)):
            if value:
                parameters.append(value)
                where.append(f"t.{column} = ${len(parameters)}")
        if after is not None:
            at = len(parameters)
            where.append(f"(t.kind, t.namespace, t.name) > (${at + 1}, ${at + 2}, ${at + 3})")
            parameters += _names(after)
        sql = f"{' AND '.join(where)} ORDER BY t.kind, t.namespace, t.name LIMIT ${len(parameters) + 1}"
        async with self._database.reading() as connection:
            return await self._documents(connection, sql, *parameters, limit)

    async def answer(
        self, plan: Plan, *, rows: int, after: TwinKey | None = None, only: Collection[TwinKey] | None = None
    ) -> Answer:
        """Answer a query, of ``only`` these twins if given. Raises QueryAborted if it takes too long."""
        return await answer(self._database, plan, rows=rows, after=after, only=only, max_s=self._query_max_s)

    # -- history, commands, audit --------------------------------------------------------------------------------

    async def history(self, query: HistoryQuery) -> HistoryPage:
        """One page of readings; of the gateway that has the twin now, if any has."""
        async with self._database.reading() as connection:
            rows = await connection.fetch(
                "SELECT id FROM series WHERE kind = $1 AND namespace = $2 AND name = $3 AND uid = $4 AND property = $5"
                " AND gateway = coalesce((SELECT t.gateway FROM twin t WHERE t.documented AND t.kind = $1"
                " AND t.namespace = $2 AND t.name = $3), gateway)",
                *_names(query.key),
                escaped(query.uid),
                escaped(query.property),
            )
            return await history_tables.page(connection, self._periods, [row[0] for row in rows], query)

    async def drop_history(self, *, before: int) -> int:
        """Drop whole periods of the history that ended before a time; how many."""
        async with self._database.writing() as connection:
            return await history_tables.drop_before(connection, self._periods, before)

    async def drop_audit(self, *, before: int) -> int:
        """Drop older lines of the audit log; how many."""
        async with self._database.writing() as connection:
            return len(await connection.fetch("DELETE FROM audit WHERE at < $1 RETURNING seq", before))

    async def command(self, gateway: str, command_id: str) -> CommandState | None:
        """One command, whether it has ended or not."""
        async with self._database.reading() as connection:
            sql = f"SELECT {listed(COMMAND)} FROM command WHERE gateway = $1 AND id = $2"
            rows = await connection.fetch(sql, gateway, escaped(command_id))
        return command_of(rows[0]) if rows else None

    async def audit(self, entry: AuditEntry) -> None:
        """Write one line of the audit log that belongs to no gateway's transaction."""
        async with self._database.writing() as connection:
            await write_audit(connection, entry)

    async def audit_log(self, *, since: int = 0, limit: int = 1000, account: str = "") -> list[AuditEntry]:
        """The newest entries, oldest first."""
        sql = f"SELECT {listed(_AUDIT)} FROM audit WHERE at >= $1"
        parameters: list[object] = [since, limit]
        if account:
            sql += " AND account = $3"
            parameters.append(escaped(account))
        async with self._database.reading() as connection:
            rows = await connection.fetch(f"{sql} ORDER BY seq DESC LIMIT $2", *parameters)
        return [AuditEntry(at, *map(unescaped, words)) for at, *words in reversed(rows)]

    # -- inside --------------------------------------------------------------------------------------------------

    async def _documents(self, connection: Connection, sql: str, *parameters: object) -> list[TwinDocument]:
        lines = [TwinLine(*row) for row in await connection.fetch(sql, *parameters)]
        return await documents(connection, self._database.dialect, lines)

    def _among(self, first: int, names: Collection[str]) -> tuple[str, list[object]]:
        return self._database.dialect.table(first, ("text",), [(name,) for name in names])


def _names(key: TwinKey) -> tuple[str, str, str]:
    return key.kind.value, key.namespace, key.name


def _unknown(key: TwinKey) -> UnknownTwin:
    message = f"there is no twin {key}"
    return UnknownTwin(message, remedy='`edgetwin cloud query "SELECT twin FROM twins"` lists them.')
