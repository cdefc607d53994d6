"""Documents of the cloud's own: apply, delete and diff of what runs, of Services and of all that is said of them.

They belong to no gateway; the scheduler puts what they ask for, and what gateways use, into the sets of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from cloudsync.scheduler.reading import document_of
from cloudsync.store import AuditEntry, CloudStore
from cloudsync.store.workloads import Workload, WorkloadTransaction
from twin.exchange import DocumentRef
from twin.manifest.catalog import Action, Applied, RegistryView, Stored, applied, content_hash, deleted
from twin.manifest.differences import difference
from twin.manifest.document import MESH, NETWORK, Document, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest
from twin.sealing import Sealer
from twin.wire.api import ApplyMode, DocumentChange

KINDS: Final = frozenset(
    {
        DocumentKind.POD,
        DocumentKind.DEPLOYMENT,
        DocumentKind.CONFIG_MAP,
        DocumentKind.SECRET,
        DocumentKind.GATEWAY,
        *NETWORK,
        *MESH,
    }
)
"""What the cloud keeps for itself."""


class Workloads:
    """Changes the documents of the cloud's own, all of a request or none; Secrets are kept encrypted."""

    def __init__(self, store: CloudStore, sealer: Sealer, *, new_uid: Callable[[], str]) -> None:
        self._store = store
        self._sealer = sealer
        self._new_uid = new_uid

    async def known(self, refs: Iterable[Ref]) -> frozenset[Ref]:
        """Those of these that there are."""
        found = await self._store.workloads.get([_wide(ref) for ref in refs])
        return frozenset(Ref(DocumentKind(one.ref.kind), one.ref.namespace, one.ref.name) for one in found)

    async def planned(self, documents: Sequence[Document], mode: ApplyMode) -> list[DocumentChange]:
        """What would come of it; nothing is changed. Raises InvalidManifest with every problem."""
        if not documents:
            return []
        documents = self._sealer.sealed(documents)
        found = await self._store.workloads.get([_wide(one.ref) for one in documents])
        return _told(*self._outcome(found, documents, mode), documents, mode)

    async def change(self, documents: Sequence[Document], mode: ApplyMode, *, by: str, at: int) -> list[DocumentChange]:
        """Change them. Raises InvalidManifest with every problem; then nothing has changed."""
        if not documents:
            return []
        documents = self._sealer.sealed(documents)
        async with self._store.workloads.transaction() as tx:
            found = await tx.get([_wide(one.ref) for one in documents])
            base, outcome = self._outcome(found, documents, mode)
            await _write(tx, {one.ref: one for one in found}, documents, outcome, by, at)
        return _told(base, outcome, documents, mode)

    def _outcome(
        self, found: Sequence[Workload], documents: Sequence[Document], mode: ApplyMode
    ) -> tuple[RegistryView, Applied]:
        base = RegistryView({one.ref: one for one in map(_stored, found) if one is not None})
        if mode is ApplyMode.DELETE:
            return base, deleted(base, [one.ref for one in documents])[1]
        return base, applied(base, documents, self._new_uid)[1]


async def _write(
    tx: WorkloadTransaction,
    found: Mapping[DocumentRef, Workload],
    documents: Sequence[Document],
    outcome: Applied,
    by: str,
    at: int,
) -> None:
    by_ref = {one.ref: one for one in documents}
    put: list[Workload] = []
    for change in outcome.changed:
        await tx.audit(AuditEntry(at, by, "apply", f"{change.ref}", f"{change.action}"))
        if change.action is Action.DELETED:
            continue
        document, former = by_ref[change.ref], found.get(_wide(change.ref))
        raw, hash_ = document.raw, content_hash(document.raw)
        owner, made, why, since = (former.owner, former.made, former.why, former.at) if former else ("", "", "", at)
        put.append(Workload(_wide(change.ref), change.uid, change.generation, hash_, raw, owner, made, why, since))
    await tx.put(put)
    await tx.delete([_wide(one.ref) for one in outcome.changed if one.action is Action.DELETED])


def _told(base: RegistryView, outcome: Applied, documents: Sequence[Document], mode: ApplyMode) -> list[DocumentChange]:
    texts: dict[Ref, str] = {}
    if mode is ApplyMode.DIFF:
        for one in documents:
            stored = base.stored.get(one.ref)
            texts[one.ref] = difference(stored.document if stored else None, one)
    return [
        DocumentChange(document=str(one.ref), action=one.action, diff=texts.get(one.ref, "")) for one in outcome.changes
    ]


def _stored(workload: Workload) -> Stored | None:
    try:
        document = document_of(workload.ref, workload.raw)
    except InvalidManifest:
        return None  # of another release: it is written anew
    return Stored(document, workload.uid, workload.generation, workload.hash)


def _wide(ref: Ref) -> DocumentRef:
    return DocumentRef(ref.kind.value, ref.namespace, ref.name)
