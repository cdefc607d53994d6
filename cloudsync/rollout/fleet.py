"""The gateways as rollouts see them: what the store knows of each, in one read of all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from cloudsync.rollout.plan import Seen
from cloudsync.scheduler.model import LABEL_GATEWAY
from cloudsync.scheduler.reading import gateway_facts
from cloudsync.sessions import is_online
from cloudsync.sets import read_document
from cloudsync.store import CloudStore
from cloudsync.store.workloads import Presence
from twin.document import DELETED, Leaf, Slot, Tombstone, TwinDocument
from twin.errors import InvalidMessage
from twin.exchange import DocumentRef, DocumentRow, DocumentState
from twin.manifest.document import DocumentKind
from twin.merge import standing, value_of
from twin.model import DEFAULT_NAMESPACE, ConflictPolicy, Kind, TwinKey, Value
from twin.release import RELEASE, UPDATE, read_release, read_report

SOMEBODY: Final = "?"
"""The order of a release that a person desired, or of a later edgetwin."""
_PAGE: Final = 500

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gateway:
    """One of them, with what a choice among them may ask for."""

    name: str
    seen: Seen
    runs: str = ""
    """The version that it says it runs."""
    labels: dict[str, str] = field(default_factory=dict)


def key_of(gateway: str) -> TwinKey:
    """The gateway's own twin."""
    return TwinKey(Kind.GATEWAY, DEFAULT_NAMESPACE, gateway)


async def look(
    store: CloudStore, known: Callable[[str], Awaitable[bool]], now: int, *, labels: bool = False
) -> dict[str, Gateway]:
    """All that have joined, are not revoked and have said what they are. Raises StoreError."""
    presences = {one.gateway: one for one in await store.workloads.presences()}
    twins: list[TwinDocument] = []
    while True:
        after = twins[-1].spec.key if twins else None
        page = await store.twins(kind=Kind.GATEWAY.value, after=after, limit=_PAGE)
        twins += page
        if len(page) < _PAGE:
            break
    found = {}
    for twin in twins:
        name = twin.spec.gateway
        if twin.spec.key == key_of(name) and name in presences and await known(name):
            found[name] = _gateway(twin, presences[name], now)
    return await _with_labels(store, found, twins) if labels else found


def _gateway(twin: TwinDocument, presence: Presence, now: int) -> Gateway:
    report, version = _read(read_report, twin.reported.get(UPDATE)), twin.reported.get("version")
    runs = report.version if report is not None else str(version.value) if version is not None else ""
    stands = standing(twin.desired.get(RELEASE, Leaf()), ConflictPolicy.LATEST)
    release = _read(read_release, stands)
    order = release.order if release is not None else ""
    return Gateway(
        twin.spec.gateway,
        Seen(is_online(presence, now), order or (SOMEBODY if stands is not None else ""), report),
        runs,
    )


def _read(read: Callable[[Value], T], slot: Slot | None) -> T | None:
    """What a leaf says; None if it says nothing that is understood here."""
    if slot is None or isinstance(slot.value, Tombstone):
        return None
    try:
        return read(slot.value)
    except InvalidMessage:
        return None


async def _with_labels(store: CloudStore, found: dict[str, Gateway], twins: list[TwinDocument]) -> dict[str, Gateway]:
    """The same with the labels of their documents, as the scheduler sees them."""
    refs = {DocumentRef(DocumentKind.GATEWAY.value, DEFAULT_NAMESPACE, name): name for name in found}
    documents = {}
    for one in await store.workloads.get(list(refs)):
        state = DocumentState(one.ref, one.uid, one.generation, one.hash, frozenset())
        documents[refs[one.ref]] = read_document(DocumentRow(state, one.raw))
    made = {}
    for twin in twins:
        if (gateway := found.get(twin.spec.gateway)) is not None:
            reported = {name: value_of(slot) for name, slot in twin.reported.items() if slot.value is not DELETED}
            about = gateway_facts(documents.get(gateway.name), gateway.name, reported)
            labels = {LABEL_GATEWAY: gateway.name, **about.labels}
            made[gateway.name] = replace(gateway, labels=labels)
    return made
