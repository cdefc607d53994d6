"""Brings what a gateway has to what the cluster says, and tells when a pod that was to go is gone.

cluster ──desired──> plan (pure) ──Placing──> the gateway's set ──sync──> gateway
                       └─ refused ──> status and an Event
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Final

from cloudsync.kube.client import KubeClient
from cloudsync.kube.errors import Absent, Conflict
from cloudsync.kube.objects import PODS, KubeObject, part, text
from cloudsync.kube.plan import Plan, planned
from cloudsync.kube.secrets import sealed
from cloudsync.kube.view import ClusterView, Desired
from cloudsync.placing import Part, Placing
from cloudsync.sets import read_set
from cloudsync.store import CloudStore
from twin.document import live
from twin.errors import UnknownTwin
from twin.exchange import DocumentRef, DocumentRow
from twin.manifest.agreement import summary
from twin.manifest.document import Document, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest
from twin.merge import value_of
from twin.model import DEFAULT_NAMESPACE, Kind, TwinKey, Value
from twin.wire.api import ApplyMode

BY: Final = "kubernetes"
"""Who the audit log says it was."""
_ONCE: Final = {DocumentKind.POD: Kind.POD, DocumentKind.DEVICE: Kind.DEVICE}
"""Kinds of which a name is at one gateway at a time."""

log = logging.getLogger(__name__)

Rows = Mapping[DocumentRef, DocumentRow]


class Settling:
    """One for all gateways. Methods raise StoreError and KubeError; what was done until then stands."""

    def __init__(
        self, client: KubeClient, view: ClusterView, store: CloudStore, placing: Placing, cluster: str
    ) -> None:
        self._client = client
        self._view = view
        self._store = store
        self._placing = placing
        self._cluster = cluster
        self._refused: dict[str, dict[Ref, str]] = {}

    def refused(self, gateway: str) -> Mapping[Ref, str]:
        """What of the cluster's a gateway cannot have, and why."""
        return self._refused.get(gateway, {})

    async def settle(self, gateway: str) -> bool:
        """Do it for one gateway. False: something waits until it has left another gateway."""
        rows = await self._rows(gateway)
        desired = self._view.desired(gateway, self._cluster)
        gone = {Ref(DocumentKind(ref.kind), ref.namespace, ref.name): row.state.gone for ref, row in _known(rows)}
        base = read_set(rows)
        desired.refused |= sealed(desired.wanted, base, text(await self._said(gateway), "secrets_key"))
        plan = planned(base, desired.wanted, self._cluster, gone)
        self._refused[gateway] = desired.refused | dict(plan.refused)
        kept = [ref for ref in plan.delete if ref not in desired.refused]  # what was there of it stays
        put = [one for one in plan.put if not await self._elsewhere(one.ref, gateway)]
        try:
            await self._put(gateway, put, desired)
            if kept:
                part_ = Part(gateway, _documents(rows, kept))
                await self._placing.place(part_, ApplyMode.DELETE, by=BY)
        except InvalidManifest as error:  # somebody else changed the set meanwhile
            log.info("%s: looked at again: %s", gateway, error)
            return False
        _tell(gateway, plan, put, kept)
        return len(put) == len(plan.put)

    async def end_deleted(self, gateway: str) -> None:
        """Let those pods go in the cluster that the gateway says are gone."""
        leaving = [pod for pod in self._view.of_gateway(PODS, gateway) if pod.deleting]
        if not leaving:
            return
        rows = await self._rows(gateway)
        said = part(await self._said(gateway), "pods")
        for pod in leaving:
            if is_gone(pod, rows, said):
                try:
                    await self._client.delete(PODS, pod.place, uid=pod.uid, grace_s=0)
                except (Absent, Conflict):
                    log.debug("pod %s was gone already", pod.place)
                else:
                    log.info("pod %s is gone at gateway %s", pod.place, gateway)

    async def _put(self, gateway: str, put: list[Document], desired: Desired) -> None:
        if put:
            documents = {one.ref: one for one in put}
            uids = {ref: uid for ref, uid in desired.wanted.uids.items() if ref in documents}
            await self._placing.place(Part(gateway, documents, uids), ApplyMode.APPLY, by=BY)

    async def _rows(self, gateway: str) -> Rows:
        async with self._store.transaction(gateway) as tx:
            return await tx.documents()

    async def _elsewhere(self, ref: Ref, gateway: str) -> bool:
        if ref.kind not in _ONCE:
            return False
        try:
            return await self._store.gateway_of(TwinKey(_ONCE[ref.kind], ref.namespace, ref.name)) != gateway
        except UnknownTwin:
            return False

    async def _said(self, gateway: str) -> Mapping[str, Value]:
        """What the gateway's own twin says."""
        try:
            twin = await self._store.twin(TwinKey(Kind.GATEWAY, DEFAULT_NAMESPACE, gateway))
        except UnknownTwin:
            return {}
        return {name: value_of(slot) for name, slot in live(twin.reported).items()}


def is_gone(pod: KubeObject, rows: Rows, said: Mapping[str, Value]) -> bool:
    """Whether nothing of a pod is at its gateway: it never was sent there, or the gateway knows that it has to go and
    has nothing of it any more.
    """
    of_pods = [row.state for ref, row in rows.items() if ref.kind == DocumentKind.POD]
    if any(pod.uid == state.uid for state in of_pods):
        return False
    if not any(pod.uid in state.gone for state in of_pods):
        return True
    there = part(said, "there").values()
    return text(said, "seen") == summary(of_pods) and pod.uid not in there


def _known(rows: Rows) -> Iterator[tuple[DocumentRef, DocumentRow]]:
    return ((ref, row) for ref, row in rows.items() if ref.kind in set(DocumentKind))


def _documents(rows: Rows, refs: list[Ref]) -> dict[Ref, Document]:
    stored = read_set(rows).stored
    return {ref: stored[ref].document for ref in refs if ref in stored}


def _tell(gateway: str, plan: Plan, put: list[Document], gone: list[Ref]) -> None:
    for one in put:
        log.info("%s: %s from the cluster", gateway, one.ref)
    for ref in gone:
        log.info("%s: %s is gone in the cluster", gateway, ref)
    for ref, why in plan.refused.items():
        log.debug("%s: %s is refused: %s", gateway, ref, why)
