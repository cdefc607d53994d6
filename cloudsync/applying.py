"""The verb apply in the cloud: files of documents in, each gateway's set changed as a whole or not at all.

    Device ──────────────────> the set of the gateway that it names, with copies of the model and connection it uses
    Pod, Deployment, ... ────> the cloud's own documents, for the scheduler
    others ──────────────────> every set that uses them

Every set is checked before the first is changed; a change in between makes that one gateway's part fail as a whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from cloudsync.hub import Hub
from cloudsync.placing import Part, Placing
from cloudsync.store import CloudStore
from cloudsync.workloads import KINDS, Workloads
from twin.errors import UnknownTwin
from twin.exchange import DocumentRef
from twin.manifest.document import CLOUD_ONLY, Document, DocumentKind, Manifest, Ref
from twin.manifest.kinds import DeviceSpec
from twin.manifest.problems import InvalidManifest, Problem
from twin.manifest.read import read_documents
from twin.manifest.yaml import Source
from twin.model import Kind, TwinKey
from twin.sealing import Sealer
from twin.wire.api import ApplyMode, ApplyReply, ApplyRequest, DocumentChange


class Applying:
    """Puts documents into the sets of gateways."""

    def __init__(
        self,
        hub: Hub,
        store: CloudStore,
        *,
        known: Callable[[str], Awaitable[bool]],
        new_uid: Callable[[], str],
        sealer: Sealer,
    ) -> None:
        self._hub = hub
        self._placing = Placing(hub, store, new_uid=new_uid)
        self._workloads = Workloads(store, sealer, new_uid=new_uid)
        self._store = store
        self._known = known

    async def apply(self, request: ApplyRequest, *, by: str) -> ApplyReply:
        """Do as the request says. Raises InvalidManifest with every problem; then nothing has changed."""
        manifest = read_documents([Source(one.name, one.text.encode()) for one in request.sources])
        remove = request.mode is ApplyMode.DELETE
        ours = await self._ours(manifest, remove=remove)
        own = {one.ref for one in ours}
        rest = [one for one in manifest.documents if one.ref not in own]
        parts, unused = await self._parts(rest, remove=remove)
        changes: list[DocumentChange] = []
        problems: list[Problem] = []
        writes = not request.dry_run and request.mode is not ApplyMode.DIFF
        for rehearsal in (True, False) if writes else (True,):
            changes.clear()
            for part in parts:
                try:
                    changes += (
                        await self._placing.planned(part, request.mode)
                        if rehearsal
                        else await self._placing.place(part, request.mode, by=by)
                    )
                except InvalidManifest as error:
                    problems += error.problems
            try:
                changes += (
                    await self._workloads.planned(ours, request.mode)
                    if rehearsal
                    else await self._workloads.change(ours, request.mode, by=by, at=self._hub.now_ms)
                )
            except InvalidManifest as error:
                problems += error.problems
            if problems:
                raise InvalidManifest(problems)
        warnings = [*map(str, manifest.warnings), *map(str, unused)]
        return ApplyReply(changes=changes, warnings=warnings)

    async def _ours(self, manifest: Manifest, *, remove: bool) -> list[Document]:
        """The documents that the cloud keeps for itself; what only gateways have of these kinds is deleted there."""
        found = [one for one in manifest.documents if one.kind in KINDS]
        if not remove or not found:
            return found
        known = await self._workloads.known([one.ref for one in found])
        return [one for one in found if one.ref in known or one.kind in CLOUD_ONLY]

    async def _parts(self, documents: Sequence[Document], *, remove: bool) -> tuple[list[Part], list[Problem]]:
        """The documents by the gateways that they are for, and those that no gateway uses."""
        parts: dict[str, Part] = {}
        problems: list[Problem] = []
        others = {one.ref: one for one in documents if one.kind is not DocumentKind.DEVICE}
        for device in documents:
            if not isinstance(device.spec, DeviceSpec):
                continue
            gateway = device.spec.gateway_name
            found = [problem async for problem in self._misplaced(device, gateway)]
            problems += found
            if not found:
                part = parts.setdefault(gateway, Part(gateway))
                part.documents[device.ref] = device
                used = () if remove else _used(device.ref, device.spec)
                part.documents.update({ref: others[ref] for ref in used if ref in others})
        if problems:
            raise InvalidManifest(problems)
        placed = {ref for part in parts.values() for ref in part.documents}
        for state in await self._store.gateways() if others else ():
            rows = await self._read(state.gateway)
            for ref, document in others.items():
                if rows.get(DocumentRef(ref.kind, ref.namespace, ref.name)):
                    parts.setdefault(state.gateway, Part(state.gateway)).documents[ref] = document
                    placed.add(ref)
        unused = [_unused(document) for ref, document in others.items() if ref not in placed]
        return [parts[name] for name in sorted(parts)], unused

    async def _misplaced(self, device: Document, gateway: str) -> AsyncIterator[Problem]:
        path = ("spec", "gateway")
        if not gateway:
            yield device.problem(path, "the device names no gateway", "Add `gateway: <name of the gateway>` to spec.")
            return
        if not await self._known(gateway):
            remedy = f"`edgetwin cloud token create --gateway {gateway}` lets it join."
            yield device.problem(path, f"no gateway {gateway} has joined", remedy)
            return
        key = TwinKey(Kind.DEVICE, device.namespace, device.name)
        try:
            owner = await self._store.gateway_of(key)
        except UnknownTwin:
            return
        if owner != gateway:
            text = f"{key} is a twin of gateway {owner}"
            yield device.problem(path, text, "Delete the device there first, or give this one another name.")

    async def _read(self, gateway: str) -> dict[DocumentRef, bool]:
        """Which documents a gateway has."""
        async with self._store.transaction(gateway) as tx:
            return {ref: bool(row.state.uid) for ref, row in (await tx.documents()).items()}


def _used(device: Ref, spec: DeviceSpec) -> Sequence[Ref]:
    used = [Ref(DocumentKind.DEVICE_MODEL, device.namespace, spec.device_model_ref.name)]
    if spec.connection is not None:
        used.append(Ref(DocumentKind.CONNECTION, device.namespace, spec.connection))
    return used


def _unused(document: Document) -> Problem:
    if document.kind is DocumentKind.PUSH:
        text = f"no gateway has {document.ref}, so none gets it"
        return document.problem((), text, "Apply it at the gateways that are to push; then it is changed from here.")
    text = f"{document.ref} is used by no device, so no gateway gets it"
    return document.problem((), text, "Apply it together with a device that uses it.")
