"""What the scheduler remembers between two rounds of documents that have not changed: each is read once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cloudsync.scheduler.carrying import OWNER, WORKLOAD
from cloudsync.scheduler.model import Amounts, Deployment, Pod, PodName
from cloudsync.scheduler.reading import deployment_of, document_of, pod_of, used_by
from cloudsync.store import CloudStore
from cloudsync.store.workloads import Identity, Workload
from twin.exchange import DocumentRef
from twin.manifest.document import Document, DocumentKind
from twin.manifest.kube import PodSpec
from twin.manifest.kube_rules import annotations_of
from twin.manifest.problems import InvalidManifest
from twin.manifest.references import needed_by

log = logging.getLogger(__name__)

CARRIED: Final = (DocumentKind.POD, DocumentKind.CONFIG_MAP, DocumentKind.SECRET)
"""The kinds that go to gateways."""


@dataclass(frozen=True, slots=True)
class Known:
    """One workload as it was read."""

    workload: Workload
    document: Document
    meaning: Pod | Deployment | None
    needs: frozenset[DocumentRef] = frozenset()
    """What has to go with a pod."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A pod in a gateway's set that no placement names."""

    used: Amounts
    workload: str
    """Uid of the workload it was made from, if it came from a cloud."""
    owner: str
    document: Document | None = None
    """None: it is not understood here."""


class Catalog:
    """Workloads, and pods that gateways have of their own, as they were read last."""

    def __init__(self, store: CloudStore) -> None:
        self._store = store
        self._known: dict[DocumentRef, Known] = {}
        self._strangers: dict[str, dict[Identity, Stranger]] = {}
        self.whys: dict[DocumentRef, str] = {}
        """What was written down last of each pod."""

    async def workloads(self) -> Mapping[DocumentRef, Known]:
        """All of them. Raises StoreError."""
        found = {one.ref: one for one in await self._store.workloads.identities()}
        for ref in self._known.keys() - found.keys():
            del self._known[ref]
            self.whys.pop(ref, None)
        new = [ref for ref, one in found.items() if ref not in self._known or self._known[ref].workload.identity != one]
        for workload in await self._store.workloads.get(new):
            self.whys[workload.ref] = workload.why
            known = _read(workload)
            if known is None:
                self._known.pop(workload.ref, None)
            else:
                self._known[workload.ref] = known
        return self._known

    async def strangers(self, rows: Mapping[str, frozenset[Identity]]) -> Mapping[str, Mapping[Identity, Stranger]]:
        """What is to be known of pods in sets that no placement names. Raises StoreError."""
        for gateway, identities in rows.items():
            had = self._strangers.get(gateway, {})
            if identities - had.keys():
                async with self._store.transaction(gateway) as tx:
                    documents = await tx.documents()
                for identity in identities - had.keys():
                    row = documents.get(identity.ref)
                    if row is not None and row.raw is not None:
                        had[identity] = _stranger(identity.ref, row.raw)
            self._strangers[gateway] = {identity: one for identity, one in had.items() if identity in identities}
        self._strangers = {gateway: one for gateway, one in self._strangers.items() if gateway in rows}
        return self._strangers


def pod_name(ref: DocumentRef) -> PodName:
    """The name of a Pod document."""
    return PodName(ref.namespace, ref.name)


def pod_ref(name: PodName) -> DocumentRef:
    """The document of a pod."""
    return DocumentRef(DocumentKind.POD.value, name.namespace, name.name)


def _read(workload: Workload) -> Known | None:
    try:
        document = document_of(workload.ref, workload.raw)
    except InvalidManifest as error:
        log.warning("%s %s/%s is of another release and is left alone: %s", *workload.ref, error)
        return None
    if isinstance(document.spec, PodSpec):
        refs = needed_by(document.namespace, document.spec)
        needs = frozenset(DocumentRef(one.kind.value, one.namespace, one.name) for one in refs)
        return Known(workload, document, pod_of(workload, document), needs)
    meaning = deployment_of(workload, document) if document.kind is DocumentKind.DEPLOYMENT else None
    return Known(workload, document, meaning)


def _stranger(ref: DocumentRef, raw: Mapping[str, object]) -> Stranger:
    try:
        document = document_of(ref, dict(raw))  # type: ignore[arg-type]  # what was stored is JSON
    except InvalidManifest:
        return Stranger(Amounts(pods=1), "", "")
    used = used_by([document.spec]) if isinstance(document.spec, PodSpec) else Amounts()
    notes = annotations_of(document)
    return Stranger(used, notes.get(WORKLOAD, ""), notes.get(OWNER, ""), document)
