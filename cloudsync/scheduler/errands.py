"""Has the sets of gateways follow what is written down, gateway by gateway; each may be the last one of this worker."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Final

from cloudsync.placing import Part, Placing
from cloudsync.scheduler.carrying import Errand, errand, placed_raw
from cloudsync.scheduler.looking import Seen
from cloudsync.scheduler.reading import document_of
from cloudsync.store import CloudStore
from cloudsync.store.workloads import Placement, PlacementState, Workload
from twin.envelope import EnvelopeError
from twin.exchange import DocumentRef
from twin.manifest.catalog import content_hash
from twin.manifest.document import Document, DocumentKind, Ref
from twin.manifest.problems import InvalidManifest
from twin.sealing import Sealer, SecretKeyError
from twin.wire.api import ApplyMode

log = logging.getLogger(__name__)

AT_ONCE: Final = 8
"""Gateways whose sets are changed at the same time."""


class Changed(Exception):
    """Something else was changed since the world was looked at; it is looked at anew."""


class Carrier:
    """Runs errands. ``by`` is who does, in the audit log."""

    def __init__(self, store: CloudStore, placing: Placing, sealer: Sealer, *, by: str) -> None:
        self._store = store
        self._placing = placing
        self._sealer = sealer
        self._by = by
        self._told: dict[str, str] = {}

    async def carry_out(self, seen: Seen, now: int) -> None:
        """Have the sets follow. Raises StoreError, and Changed when something else was written meanwhile.

        Sets that were changed by then stand; what is not written down of them is found out by the next look.
        """
        errands = [one for gateway in sorted(seen.placements) if not (one := _errand(seen, gateway, now)).empty]
        errands.sort(key=lambda one: not one.remove)  # a pod has one twin: first it goes where it is not to be
        begin = [placement for one in errands for placement in one.begin]
        revision = await self._written(seen.revision, begin, []) if begin else seen.revision
        for start in range(0, len(errands), AT_ONCE):
            part = errands[start : start + AT_ONCE]
            done = await asyncio.gather(*(self._run(one, seen) for one in part), return_exceptions=True)
            ran = [(one, came) for one, came in zip(part, done, strict=True) if isinstance(came, list)]
            placed = [placement for _, came in ran for placement in came]
            over = [place for one, _ in ran for place in one.forget]
            if placed or over:
                revision = await self._written(revision, placed, over)
            for came in done:
                if isinstance(came, BaseException):
                    raise came

    async def _written(self, revision: int, placed: list[Placement], over: list[tuple[str, DocumentRef]]) -> int:
        """Write down how it is now, unless another has changed something: one who was held up must not undo it."""
        async with self._store.workloads.transaction() as tx:
            if tx.revision != revision + 1:
                raise Changed
            await tx.place(placed)
            await tx.forget(over)
        return revision + 1

    async def _run(self, one: Errand, seen: Seen) -> list[Placement] | None:
        """Change the set of one gateway; the placements as they are now. None: its documents do not allow it."""
        documents = {
            ref: document
            for ref in one.put
            if (document := self._document(seen.workloads[ref].workload, one.gateway, seen)) is not None
        }
        try:
            if documents:
                part = Part(one.gateway, {document.ref: document for document in documents.values()})
                await self._placing.place(part, ApplyMode.APPLY, by=self._by)
            if one.remove:
                refs = [Ref(DocumentKind(ref.kind), ref.namespace, ref.name) for ref in one.remove]
                await self._placing.remove(one.gateway, refs, by=self._by)
        except InvalidManifest as error:
            self._tell(one.gateway, str(error))
            return None
        if len(documents) == len(one.put):
            self._told.pop(one.gateway, None)
        return [replace(one.put[ref], hash=content_hash(document.raw)) for ref, document in documents.items()]

    def _document(self, workload: Workload, gateway: str, seen: Seen) -> Document | None:
        """The document as the gateway gets it; None: not now."""
        document = document_of(workload.ref, placed_raw(workload, gateway))
        if document.kind is not DocumentKind.SECRET:
            return document
        reader = seen.readers.get(gateway)
        if reader is None:
            self._tell(gateway, f"it has not told the key that {document.ref} is to be encrypted with")
            return None
        try:
            return document_of(workload.ref, self._sealer.sealed_for(reader, document))
        except (SecretKeyError, EnvelopeError) as error:
            self._tell(gateway, str(error))
            return None

    def _tell(self, gateway: str, text: str) -> None:
        if self._told.get(gateway) != text:
            log.warning("the documents of gateway %s stay as they are: %s", gateway, text)
            self._told[gateway] = text


def _errand(seen: Seen, gateway: str, now: int) -> Errand:
    placements = seen.placements[gateway]
    wanted: dict[DocumentRef, str] = {}
    for ref, placement in placements.items():
        known = seen.workloads.get(ref)
        is_here = ref.kind == DocumentKind.POD and placement.state is PlacementState.BOUND
        if known is None or not is_here or known.workload.uid != placement.uid:
            continue
        for needed in (ref, *known.needs):
            if needed not in seen.workloads:
                continue
            one = seen.workloads[needed].workload
            wanted[needed] = f"{one.uid}:{one.generation}"
            if needed.kind == DocumentKind.SECRET:  # encrypted anew for another key
                wanted[needed] += f":{seen.readers.get(gateway, '')[:16]}"
    return errand(gateway, placements, seen.there.get(gateway, {}), wanted, now)
