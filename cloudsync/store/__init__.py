"""Where the cloud keeps gateways, twins, documents and history: one contract, in SQLite and in PostgreSQL.

All that changes what a gateway has goes through a transaction on that gateway, which holds a lock on its row: so the
order of its ticks is the order of the commits, whichever worker writes. Reads need no lock.

    worker ──transaction(gateway)──> lock the row ─ join rows, take ticks, move cursors ─> commit ──> answer, send, tell
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cloudsync.store.rollouts import RolloutStore
from cloudsync.store.workloads import WorkloadStore
from twin.document import TwinDocument
from twin.exchange import (
    Command,
    CommandDone,
    DocumentRef,
    DocumentRow,
    DocumentState,
    Row,
    Run,
    SeriesReadings,
    Standing,
)
from twin.history import HistoryPage, HistoryQuery
from twin.model import Site, TwinKey, TwinSpec
from twin.query.plan import Plan
from twin.query.reader import Answer

__all__ = [
    "AuditEntry",
    "Changed",
    "CloudStore",
    "CommandState",
    "GatewayState",
    "GatewayTransaction",
    "Place",
    "Position",
]

Place = tuple[TwinKey, str]
"""Key and uid: one life of a twin."""


@dataclass(slots=True)
class GatewayState:
    """Where the cloud stands with one gateway. What a transaction changes here is written with its commit.

    Times are milliseconds since 1970, by the clock of the worker that wrote.
    """

    gateway: str
    tick: int = 0
    """The cloud's last tick for this gateway; it only rises."""
    cursor: int = 0
    """How far the gateway's rows are on disk here."""
    top: int = 0
    """The greatest tick of the gateway's that is held at all."""
    runs: tuple[Run, ...] = ()
    """Starts of this store as the gateway saw, or will see, them; the newest is appended by the first transaction."""
    met: tuple[Run, ...] = ()
    """Starts of the gateway's store whose rows were taken."""
    session: str = ""
    """The session that stands; messages of any other are dropped."""
    session_run: str = ""
    """The start of this store in which the session began; one that a backup brought back does not go on."""
    peer: Standing | None = None
    """Where the gateway stood when the session began."""
    run: str = ""
    """The start of the gateway's store that holds the session: who it is, if two have one id."""
    heard_at: int = 0
    """When the session was last heard of; another run gets none until it has been silent for a while."""
    online: bool = False
    """Whether the broker has it connected, by its birth and will."""
    forked: bool = False
    """Whether this store was restored and is not mended yet: nothing is sent until it is."""
    introduced: bool = False
    """Whether a first frame went out in this session."""
    position: int = 0
    """How far rows of ours were sent in this session."""
    acked: int = 0
    """How far the gateway has them on disk."""
    sent: tuple[int, ...] = ()
    """The end of each frame on its way."""
    worker: str = ""
    """The worker that repeats what is not answered in time, until ``worker_until``."""
    worker_until: int = 0
    history_log: str = ""
    history_upto: str = ""
    """How far the gateway's history is on disk here."""
    mended: int = 0
    """Rises when twins changed in another way than by rows in the order of ticks; followers look at all. The store
    raises it itself."""
    waiting: int = 0
    """Commands that have not ended."""
    agreed: bool = False
    """Whether the gateway has said in this session that it has all documents as they are here now."""
    compared: Place | None = None
    """How far twins were compared in this session, if this store was restored."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what. ``what`` is one line for people; nothing secret is in it."""

    at: int
    account: str
    action: str
    subject: str
    what: str = ""
    outcome: str = "accepted"


class Position(NamedTuple):
    """How far a follower has seen the changes of one gateway."""

    cursor: int
    tick: int
    mended: int


@dataclass(frozen=True, slots=True)
class Changed:
    """Twins that changed since a position, and the position to go on from. ``all``: any twin of it may have."""

    keys: frozenset[TwinKey]
    upto: Position
    more: bool = False
    all: bool = False


@dataclass(frozen=True, slots=True)
class CommandState:
    """A command that waits for its gateway, or how it ended."""

    command: Command
    done: CommandDone | None = None


class GatewayTransaction(Protocol):
    """What may be done under the lock of one gateway. Nothing of it stands before the ``async with`` has ended well."""

    state: GatewayState

    async def join(self, rows: Sequence[Row]) -> frozenset[TwinKey]:
        """Join rows of either site by ``twin.merge.join_slot``; the documented twins that changed, each one version on.

        Rows of a twin that nothing defines yet wait for it, unseen; one of an open kind needs no document. A reported
        row that is not the edge's is dropped.
        """
        ...

    async def document(self, key: TwinKey) -> TwinDocument | None:
        """A twin of this gateway with this transaction's own changes."""
        ...

    async def rows_after(self, site: Site, tick: int, limit: int) -> list[Row]:
        """The slots of one site with a greater tick, in tick order, at most so many."""
        ...

    async def own_rows(self, first: int, last: int) -> list[Row]:
        """The cloud's slots with first <= tick <= last, in tick order."""
        ...

    async def rows(self, places: Collection[Place]) -> list[Row]:
        """All slots of these twins, of both sites, those that wait included."""
        ...

    async def digests(
        self, *, after: Place | None, upto: Place | None, limit: int, waiting: bool
    ) -> list[tuple[TwinKey, str, bytes]]:
        """``twin.exchange.digest`` of each twin with rows, after < place <= upto, in order, at most so many.

        ``waiting``: of those too that nothing defines yet.
        """
        ...

    async def define(self, *specs: TwinSpec) -> None:
        """Make twins of this gateway, or give them new specs; those that waited are taken as they are.

        Another uid is another, empty twin. Many at once are much quicker than one by one. Raises Refused if a key is
        another gateway's; then none was made.
        """
        ...

    async def remove(self, key: TwinKey) -> None:
        """Delete a twin with all its leaves; nothing happens if there is none. Its version is never given again."""
        ...

    async def documents(self) -> dict[DocumentRef, DocumentRow]:
        """All documents of this gateway, those that are gone included."""
        ...

    async def document_states(self) -> dict[DocumentRef, DocumentState]:
        """The same without their content, which is most of the work."""
        ...

    async def put_document(self, row: DocumentRow) -> None:
        """Keep one document, or what is known of one that is gone."""
        ...

    async def put_documents(self, rows: Sequence[DocumentRow]) -> None:
        """Keep many, each once."""
        ...

    async def add_history(self, series: Sequence[SeriesReadings]) -> None:
        """Keep readings and gaps; what is there already, by (series, at, tick), stays once."""
        ...

    async def put_command(self, state: CommandState) -> None:
        """Keep a command, or how it ended."""
        ...

    async def commands(self) -> list[CommandState]:
        """Those that have not ended, oldest first."""
        ...

    async def audit(self, entry: AuditEntry) -> None:
        """Write one line of the audit log."""
        ...

    async def notes(self, owner: str) -> dict[str, str]:
        """What a dialect keeps beside this gateway's twins, by name."""
        ...

    async def note(self, owner: str, name: str, text: str | None) -> None:
        """Keep a note; None deletes it."""
        ...


class CloudStore(Protocol):
    """The store, shared by workers that know nothing of each other. Every method raises StoreError when it fails."""

    workloads: WorkloadStore
    """What the cloud itself is to have run, and where."""
    rollouts: RolloutStore
    """Bundles of releases, and their way to gateways."""

    async def open(self) -> None:
        """Connect and bring the schema up to date. Raises StoreTooNew for one of a later release."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...

    async def begin_run(self, run: str) -> None:
        """Name this start of the whole store; each gateway's first transaction after it appends it to its runs.

        A run that is known stays where it is: each worker of one start names the same.
        """
        ...

    def transaction(self, gateway: str) -> AbstractAsyncContextManager[GatewayTransaction]:
        """Lock one gateway (it is made if need be), commit at the end of the block, roll back if it raises."""
        ...

    async def gateways(self, names: Collection[str] | None = None) -> list[GatewayState]:
        """All gateways, or these, by name."""
        ...

    async def gateway_of(self, key: TwinKey) -> str:
        """The gateway of a twin that is defined. Raises UnknownTwin."""
        ...

    async def twin(self, key: TwinKey) -> TwinDocument:
        """One twin. Raises UnknownTwin."""
        ...

    async def twins(
        self, *, kind: str = "", namespace: str = "", gateway: str = "", after: TwinKey | None = None, limit: int
    ) -> list[TwinDocument]:
        """A page of twins in the order of their keys."""
        ...

    async def answer(
        self, plan: Plan, *, rows: int, after: TwinKey | None = None, only: Collection[TwinKey] | None = None
    ) -> Answer:
        """Answer a query, of ``only`` these twins if given. Raises QueryAborted if it takes too long."""
        ...

    async def noted(self, owner: str) -> frozenset[str]:
        """The gateways beside whose twins the owner keeps notes."""
        ...

    async def heard(self, sessions: Mapping[str, str], *, at: int) -> frozenset[str]:
        """Note that these sessions are alive, their gateways online; those of which another stands, or none."""
        ...

    async def positions(self) -> dict[str, Position]:
        """Where each gateway's changes stand now."""
        ...

    async def changed(self, gateway: str, since: Position, *, limit: int) -> Changed:
        """Twins of one gateway that changed since a position."""
        ...

    async def history(self, query: HistoryQuery) -> HistoryPage:
        """One page of readings."""
        ...

    async def command(self, gateway: str, command_id: str) -> CommandState | None:
        """One command, whether it has ended or not."""
        ...

    async def audit(self, entry: AuditEntry) -> None:
        """Write one line of the audit log that belongs to no gateway's transaction."""
        ...

    async def audit_log(self, *, since: int = 0, limit: int = 1000, account: str = "") -> list[AuditEntry]:
        """The newest entries, oldest first."""
        ...

    async def claim(self, worker: str, *, now: int, until: int, limit: int) -> list[str]:
        """Take down streams of gateways that are online and that nobody holds, at most so many, and renew this
        worker's own; the gateways it holds then. A lease that ends later than anybody gives one, because a clock was
        wrong, holds nothing.
        """
        ...

    async def drop_history(self, *, before: int) -> int:
        """Drop whole partitions of the history that are older; how many."""
        ...

    async def drop_audit(self, *, before: int) -> int:
        """Drop older lines of the audit log; how many."""
        ...
