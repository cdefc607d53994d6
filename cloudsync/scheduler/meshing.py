"""Has the sets of gateways hold the mesh's documents that they use, and where the pods of other gateways are reached.

documents of the cloud ──interest.py──> who needs what ─┐
pods, as gateways tell ──offers.py────> EndpointSlices ─┴─> against what is there ──Placing──> what is other, as a whole

Nothing of it is written down beside the sets themselves: a document that came from here is known by its uid.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cloudsync.placing import CARRIED, Carried, Placing
from cloudsync.scheduler.catalog import Known
from cloudsync.scheduler.interest import KINDS, Name, Needed, Web, needed_for, selectors, used_by, web_of
from cloudsync.scheduler.offers import Offer, Standing, Way, selected, slices
from cloudsync.store import CloudStore
from cloudsync.store.workloads import PodReport
from twin.exchange import DocumentRef, Shared
from twin.model import DEFAULT_NAMESPACE, Kind, TwinKey, Value

AT_ONCE: Final = 8
"""Gateways whose sets are changed at the same time."""
POLL_MS: Final = 1_000
"""How often it is asked what gateways tell of pods and of themselves."""
WHOLE_MS: Final = 9_000
"""How often sets are looked at if nothing else is known to have changed: what was changed at gateways comes back."""
_TOLD: Final = ("ready", "address", "mesh")
Slices: TypeAlias = Mapping[Name, Mapping[str, Mapping[DocumentRef, Carried]]]


@dataclass(frozen=True, slots=True)
class Around:
    """What the mesh needs to know of the rest of the cloud."""

    workloads: Mapping[DocumentRef, Known]
    gateways: frozenset[str]
    """Those that are not shut out."""
    offers: Sequence[Offer]


@dataclass(frozen=True, slots=True)
class _There:
    uid: str
    hash: str


@dataclass(slots=True)
class _Known:
    """What was read last, to see whether it has changed."""

    documents: dict[DocumentRef, Known] = field(default_factory=dict)
    web: Web = field(default_factory=Web)
    keys: frozenset[TwinKey] = frozenset()
    reports: Mapping[TwinKey, PodReport] = field(default_factory=dict)
    asked_at: int = 0
    stands: object = None
    """What all sets follow by now."""
    carried_at: int = 0


class Meshing:
    """Runs after the pods' own errands. ``by`` is who does, in the audit log."""

    def __init__(self, store: CloudStore, placing: Placing, *, by: str) -> None:
        self._store = store
        self._placing = placing
        self._by = by
        self._known = _Known()
        self._idle = False

    async def has_news(self, now: int) -> bool:
        """Whether gateways tell something else of what Services need than they did. Raises StoreError."""
        known = self._known
        if not known.documents or 0 <= now - known.asked_at < POLL_MS:
            return False
        known.asked_at = now
        return await self._store.workloads.reports(known.keys, _TOLD) != known.reports

    async def carry_out(self, around: Around, now: int) -> None:
        """Have all sets follow. Raises StoreError; sets that were changed by then stand."""
        documents = {ref: one for ref, one in around.workloads.items() if ref.kind in KINDS}
        if not documents and self._idle:
            return
        web = self._web(documents)
        pods = selected(selectors(web), [one for one in around.offers if one.gateway in around.gateways])
        self._known.keys = frozenset(
            [one.key for offers in pods.values() for one in offers]
            + [TwinKey(Kind.GATEWAY, DEFAULT_NAMESPACE, name) for name in around.gateways if documents]
        )
        reports = await self._store.workloads.reports(self._known.keys, _TOLD)
        self._known.asked_at = now
        stands = (web, pods, reports, around.gateways)
        if documents and stands == self._known.stands and 0 <= now - self._known.carried_at < WHOLE_MS:
            return  # sets are many rows to read, and gateways that agree are no reason
        self._known.reports, self._known.stands = reports, None
        wanted = _wanted(around, web, documents, pods, self._known.reports)
        there: defaultdict[str, dict[DocumentRef, _There]] = defaultdict(dict)
        for gateway, identity, hash_ in await self._store.workloads.in_sets(KINDS):
            there[gateway][identity.ref] = _There(identity.uid, hash_)
        errands = [
            (gateway, *differing)
            for gateway in sorted(around.gateways | there.keys() if documents else there.keys())
            if (gateway in around.gateways or not documents)
            and any(differing := _differing(wanted.get(gateway, {}), there.get(gateway, {})))
        ]
        for start in range(0, len(errands), AT_ONCE):
            part = errands[start : start + AT_ONCE]
            await asyncio.gather(*(self._placing.carry(name, put, gone, by=self._by) for name, put, gone in part))
        self._idle = not documents
        self._known.stands, self._known.carried_at = stands, now

    def _web(self, documents: dict[DocumentRef, Known]) -> Web:
        known = self._known
        same = known.documents.keys() == documents.keys()
        if not same or any(known.documents[ref] is not one for ref, one in documents.items()):
            known.web = web_of(one.document for one in documents.values())
            known.documents = documents
        return known.web


def _wanted(
    around: Around,
    web: Web,
    documents: Mapping[DocumentRef, Known],
    pods: Mapping[Name, Sequence[Offer]],
    reports: Mapping[TwinKey, PodReport],
) -> dict[str, dict[DocumentRef, Carried]]:
    """What each gateway is to have."""
    said = {report.gateway: _told(report) for key, report in reports.items() if key.kind is Kind.GATEWAY}
    ways = {gateway: _way(one) for gateway, one in said.items()}
    standings = {
        (report.gateway, key): Standing(report.reported.get("ready") is True, _text(report.reported.get("address")))
        for key, report in reports.items()
        if key.kind is Kind.POD
    }
    specs = dict(selectors(web))
    made: Slices = {name: slices(name, specs[name], offers, standings, ways) for name, offers in pods.items()}
    own: defaultdict[str, set[Name]] = defaultdict(set)
    for name, offers in pods.items():
        for one in offers:
            own[one.gateway].add(name)
    contents = {ref: Carried(Shared(one.workload.raw), one.workload.hash) for ref, one in documents.items()}
    found: dict[str, dict[DocumentRef, Carried]] = {}
    alike: dict[frozenset[Name], tuple[Needed, dict[DocumentRef, Carried]]] = {}
    for gateway in around.gateways:
        used = used_by(web, gateway, _names(said.get(gateway, {}).get("interest")), own[gateway])
        if used not in alike:
            needed = needed_for(web, used)
            alike[used] = needed, {ref: contents[ref] for ref in needed.refs}
        needed, listed = alike[used]
        found[gateway] = dict(listed)
        for name in needed.services & made.keys():
            for other, ones in made[name].items():
                if other != gateway:  # it knows its own pods better
                    found[gateway].update(ones)
    return found


def _differing(
    wanted: Mapping[DocumentRef, Carried], there: Mapping[DocumentRef, _There]
) -> tuple[dict[DocumentRef, Carried], list[DocumentRef]]:
    """What is to be put into a set, and what is to go. What the gateway has of its own is left as it is."""
    put: dict[DocumentRef, Carried] = {}
    for ref, one in wanted.items():
        had = there.get(ref)
        if had is None or (had.hash != one.hash and had.uid.startswith(CARRIED)):
            put[ref] = one
    gone = [ref for ref, one in there.items() if ref not in wanted and one.uid.startswith(CARRIED)]
    return put, gone


def _told(report: PodReport) -> Mapping[str, Value]:
    said = report.reported.get("mesh")
    return said if isinstance(said, dict) else {}


def _way(said: Mapping[str, Value]) -> Way:
    return Way(_text(said.get("address")), _text(said.get("tunnel")), _text(said.get("zone")))


def _names(value: Value) -> Iterable[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""
