"""Changes the set of documents of one gateway, as a whole or not at all; whoever decides what is in it comes here.

apply, scheduler, Kubernetes ──> Part ──> checked ──> rows, twins, audit log: one transaction ──> the gateway
what the mesh of a gateway uses ──> Carried, which stands alone ──> rows, audit log ─────┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cloudsync.definitions import define_devices
from cloudsync.documents import send_changed
from cloudsync.hub import Hub
from cloudsync.sets import known_rows, read_set, row_after
from cloudsync.store import AuditEntry, CloudStore
from cloudsync.turn import Turn
from cloudsync.writing import write_document_desired
from twin.exchange import DocumentRef, DocumentRow
from twin.manifest.agreement import deleted as over
from twin.manifest.agreement import replaced, unknown
from twin.manifest.catalog import Action, Applied, applied, deleted
from twin.manifest.differences import difference
from twin.manifest.document import Document, Ref
from twin.manifest.problems import InvalidManifest
from twin.manifest.references import broken_references
from twin.model import Value
from twin.wire.api import ApplyMode, DocumentChange

CARRIED: Final = "carried-"
"""Begins the uid of a document that is in a set because the gateway uses it, and only the cloud changes."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A document as gateways get it, checked already."""

    raw: Mapping[str, Value]
    hash: str


@dataclass(slots=True)
class Part:
    """What goes to one gateway. ``uids`` of documents whose life begins elsewhere."""

    gateway: str
    documents: dict[Ref, Document] = field(default_factory=dict)
    uids: dict[Ref, str] = field(default_factory=dict)


class Placing:
    """Puts documents into the sets of gateways, and takes them out."""

    def __init__(self, hub: Hub, store: CloudStore, *, new_uid: Callable[[], str]) -> None:
        self._hub = hub
        self._store = store
        self._new_uid = new_uid

    async def planned(self, part: Part, mode: ApplyMode) -> list[DocumentChange]:
        """What would come of it; nothing is changed. Raises InvalidManifest with every problem."""
        async with self._store.transaction(part.gateway) as tx:
            return (await _planned(Turn(tx, now_us=0), part, mode, self._new_uid))[1]

    async def place(self, part: Part, mode: ApplyMode, *, by: str) -> list[DocumentChange]:
        """Change the set of one gateway. Raises InvalidManifest with every problem; then nothing has changed."""
        async with self._hub.change(part.gateway) as turn:
            outcome, changes = await _planned(turn, part, mode, self._new_uid)
            await _write(turn, part, outcome, by)
        return changes

    async def remove(self, gateway: str, refs: Iterable[Ref], *, by: str) -> None:
        """Take documents out of the set of one gateway; one that is not in it is as wanted already.

        Raises InvalidManifest if others need them; then nothing has changed.
        """
        async with self._hub.change(gateway) as turn:
            base = read_set(await turn.tx.documents())
            after, outcome = deleted(base, [ref for ref in refs if ref in base.stored])
            if problems := list(broken_references(after)):
                raise InvalidManifest(problems)
            await _write(turn, Part(gateway), outcome, by)

    async def carry(
        self, gateway: str, put: Mapping[DocumentRef, Carried], gone: Iterable[DocumentRef], *, by: str
    ) -> None:
        """Bring documents that stand alone into the set of one gateway, and take others out. Raises StoreError.

        One that the gateway has of its own under such a name is left as it is.
        """
        async with self._hub.change(gateway) as turn:
            states = await turn.tx.document_states()
            rows: list[DocumentRow] = []
            for ref, one in put.items():
                own = states.get(ref) or unknown(ref)
                if own.hash != one.hash and (not own.uid or own.uid.startswith(CARRIED)):
                    uid = own.uid or CARRIED + self._new_uid()
                    rows.append(DocumentRow(replaced(own, uid, own.generation + 1, one.hash), one.raw))
            taken = [state for ref in gone if (state := states.get(ref, unknown(ref))).uid.startswith(CARRIED)]
            rows += [DocumentRow(over(state), None) for state in taken]
            if rows:
                await turn.tx.put_documents(rows)
                what = f"{len(rows) - len(taken)} documents carried to {gateway}, {len(taken)} taken away"
                await turn.tx.audit(AuditEntry(turn.now_ms, by, "carry", f"{rows[0].state.ref.kind} and others", what))
                send_changed(turn, rows)


async def _planned(
    turn: Turn, part: Part, mode: ApplyMode, new_uid: Callable[[], str]
) -> tuple[Applied, list[DocumentChange]]:
    """What becomes of the set. Raises InvalidManifest."""
    base = read_set(await turn.tx.documents())
    if mode is ApplyMode.DELETE:
        after, outcome = deleted(base, part.documents)
    else:
        after, outcome = applied(base, list(part.documents.values()), new_uid, part.uids)
    if problems := list(broken_references(after)):
        raise InvalidManifest(problems)
    texts = {}
    if mode is ApplyMode.DIFF:
        before = {ref: one.document for ref, one in base.stored.items()}
        texts = {ref: difference(before.get(ref), document) for ref, document in part.documents.items()}
    where = f" at {part.gateway}"
    return outcome, [
        DocumentChange(document=f"{one.ref}{where}", action=one.action, diff=texts.get(one.ref, ""))
        for one in outcome.changes
    ]


async def _write(turn: Turn, part: Part, outcome: Applied, by: str) -> None:
    known = known_rows(await turn.tx.documents())
    rows = []
    for change in outcome.changed:
        document = None if change.action is Action.DELETED else part.documents[change.ref]
        rows.append(row_after(known(change.ref), change, document))
        entry = AuditEntry(turn.now_ms, by, "apply", f"{change.ref}", f"{change.action} at {part.gateway}")
        await turn.tx.audit(entry)
    await turn.tx.put_documents(rows)
    newly = await define_devices(turn, {row.state.ref for row in rows})
    for key, said in newly.items():
        await write_document_desired(turn, key, said, by=by)
    send_changed(turn, rows)
