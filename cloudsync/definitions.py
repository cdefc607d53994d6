"""From documents to twins: the cloud derives the spec of a device's twin from the same documents as the edge does."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from cloudsync.sets import read_document
from cloudsync.turn import Turn
from twin.errors import Refused
from twin.exchange import DocumentRef, DocumentRow, DocumentState, Place
from twin.manifest.document import Document, DocumentKind
from twin.manifest.specs import DeviceTwin, device_twin
from twin.model import Kind, TwinKey, TwinSpec, Value
from twin.resident import newly_said

log = logging.getLogger(__name__)

MAX_UNDOCUMENTED = 10_000
_WITH_TWINS = (DocumentKind.DEVICE, DocumentKind.DEVICE_MODEL, DocumentKind.POD)


async def define_devices(turn: Turn, changed: Collection[DocumentRef]) -> dict[TwinKey, dict[str, Value]]:
    """Define the twins of devices again whose document, or whose model, has changed; remove those that are gone.

    What their documents desire that they did not before, by twin: whoever applied the documents writes it.
    """
    if not any(ref.kind in _WITH_TWINS for ref in changed):
        return {}
    documents = await turn.tx.documents()
    for ref in changed:
        if ref.kind == DocumentKind.POD and ref in documents and not documents[ref].state.uid:
            await turn.remove(TwinKey(Kind.POD, ref.namespace, ref.name))  # its gateway defines it, by its rows
    models: dict[DocumentRef, Document | None] = {}
    specs: list[TwinSpec] = []
    for ref, row in documents.items():
        if ref.kind != DocumentKind.DEVICE or not (ref in changed or _model_of(ref, row) in changed):
            continue
        made = _made(row, documents, models) if row.state.uid else None
        if made is not None and made.spec.gateway in ("", turn.state.gateway):
            specs.append(replace(made.spec, gateway=turn.state.gateway, desired=made.desired))
        elif made is not None or not row.state.uid:
            if made is not None:
                text = "%s: %s names another gateway; its document is kept, and no twin is made of it"
                log.warning(text, turn.state.gateway, made.spec.key)
            await turn.remove(TwinKey(Kind.DEVICE, ref.namespace, ref.name))
    newly = {spec.key: said for spec in specs if spec.desired and (said := await _newly_said(turn, spec))}
    refused = await _defined(turn, specs)
    return {key: said for key, said in newly.items() if key not in refused}


async def remove_undocumented(turn: Turn, own: frozenset[Place]) -> None:
    """Remove the twins of kinds without documents that the edge has no longer."""
    for kind in (Kind.GATEWAY, Kind.MAPPER, Kind.ROUTE, Kind.ALARM, Kind.PUSH):
        after, upto = (TwinKey(kind, "", ""), ""), (TwinKey(kind, "~", ""), "")  # '~' comes after every name
        found = await turn.tx.digests(after=after, upto=upto, limit=MAX_UNDOCUMENTED, waiting=False)
        for key, uid, _ in found:
            if (key, uid) not in own:
                await turn.remove(key)


async def remove_ghosts(turn: Turn, states: Mapping[DocumentRef, DocumentState]) -> None:
    """Remove the twins of pods that are in nobody's documents any more, once both sites have the same documents.

    Their rows came late, from a gateway that did not know yet; and a pod that moved has its twin elsewhere.
    """
    lives = {
        (TwinKey(Kind.POD, ref.namespace, ref.name), state.uid)
        for ref, state in states.items()
        if ref.kind == DocumentKind.POD and state.uid
    }
    after, upto = (TwinKey(Kind.POD, "", ""), ""), (TwinKey(Kind.POD, "~", ""), "")  # '~' comes after every name
    found = await turn.tx.digests(after=after, upto=upto, limit=MAX_UNDOCUMENTED, waiting=True)
    gone = {key for key, uid, _ in found if (key, uid) not in lives}
    reported = {(key, uid) for key, uid, _ in found}
    for key in sorted(gone):
        document = await turn.tx.document(key)
        if document is not None and (key, document.spec.uid) not in lives:
            await turn.remove(key)
    for key, uid in sorted(lives & reported):
        if await turn.tx.document(key) is None:
            try:
                await turn.define(TwinSpec(key, uid, gateway=turn.state.gateway))
            except Refused as error:
                log.warning("%s: %s", turn.state.gateway, error.message)


def _made(
    row: DocumentRow, documents: Mapping[DocumentRef, DocumentRow], models: dict[DocumentRef, Document | None]
) -> DeviceTwin | None:
    """The twin of a device's document; None if its model is missing, or one of both is not understood here."""
    named = _model_of(row.state.ref, row)
    if named not in models:
        models[named] = read_document(documents[named]) if named in documents else None
    model, device = models[named], read_document(row)
    return None if device is None or model is None else device_twin(model, device, row.state.uid)


async def _newly_said(turn: Turn, spec: TwinSpec) -> dict[str, Value]:
    known = await turn.tx.document(spec.key)
    return newly_said(spec, known.spec.desired if known is not None and known.spec.uid == spec.uid else {})


async def _defined(turn: Turn, specs: Sequence[TwinSpec]) -> set[TwinKey]:
    """Define all; those that another gateway has are refused, and the others are not."""
    try:
        await turn.define(*specs)
    except Refused:
        refused = set()
        for spec in specs:
            try:
                await turn.define(spec)
            except Refused as error:
                log.warning("%s: %s", turn.state.gateway, error.message)
                refused.add(spec.key)
        return refused
    return set()


def _model_of(ref: DocumentRef, row: DocumentRow) -> DocumentRef:
    spec = row.raw.get("spec") if row.raw is not None else None
    model = spec.get("deviceModelRef") if isinstance(spec, dict) else None
    name = model.get("name") if isinstance(model, dict) else None
    return DocumentRef(DocumentKind.DEVICE_MODEL, ref.namespace, name if isinstance(name, str) else "")
