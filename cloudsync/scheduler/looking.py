"""The world as the store has it, for one round of the scheduler."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from cloudsync.scheduler.catalog import CARRIED, Catalog, Known, Stranger, pod_name, pod_ref
from cloudsync.scheduler.meshing import Around
from cloudsync.scheduler.model import Amounts, Deployment, Gateway, Placed, Pod, PodName, World
from cloudsync.scheduler.offers import Offer, offer_of
from cloudsync.scheduler.reading import gateway_facts
from cloudsync.sessions import is_online
from cloudsync.store import CloudStore
from cloudsync.store.workloads import Identity, Placement, PlacementState, Presence
from twin.document import SlotValue, Tombstone
from twin.exchange import DocumentRef
from twin.manifest.document import DocumentKind
from twin.manifest.kube import PodSpec
from twin.model import DEFAULT_NAMESPACE, Kind, TwinKey, Value

FACTS_MS: Final = 60_000
"""How long what gateways report of themselves is taken as it was."""
NEW_FACTS_MS: Final = 1_000
"""The same while one of them is new; a gateway that has said nothing yet gets no pods."""
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything of one moment."""

    revision: int
    world: World
    workloads: Mapping[DocumentRef, Known]
    placements: Mapping[str, Mapping[DocumentRef, Placement]]
    """By gateway."""
    readers: Mapping[str, str]
    """The public key of each gateway that reads Secrets."""
    there: Mapping[str, Mapping[DocumentRef, str]]
    """What each gateway has of the kinds that are carried, by its hash."""
    adopted: tuple[Placement, ...]
    """Documents at gateways that came from here, and of which no placement is known: this store was restored."""
    strangers: Mapping[str, Mapping[Identity, Stranger]] = field(default_factory=dict)
    """Pods that no placement names, by gateway."""

    def around(self) -> Around:
        """What the mesh needs to know of it."""
        gateways = frozenset(name for name, one in self.world.gateways.items() if not one.revoked)
        return Around(self.workloads, gateways, list(self._offers()))

    def _offers(self) -> Iterator[Offer]:
        for gateway, placements in self.placements.items():
            for ref, placement in placements.items():
                known = self.workloads.get(ref)
                is_there = ref.kind == DocumentKind.POD and placement.state is PlacementState.BOUND
                if is_there and known is not None and known.workload.uid == placement.uid:
                    yield offer_of(gateway, known.document)
        for gateway, strangers in self.strangers.items():
            for stranger in strangers.values():
                document = stranger.document
                spec = document.spec if document is not None else None
                if document is not None and isinstance(spec, PodSpec) and spec.node_name in (None, gateway):
                    yield offer_of(gateway, document)


class Looking:
    """Reads the world; remembers what does not change."""

    def __init__(self, store: CloudStore, known: Callable[[str], Awaitable[bool]]) -> None:
        self._store = store
        self._known = known
        self._catalog = Catalog(store)
        self._facts: dict[str, Mapping[str, Value]] = {}
        self._facts_at = 0

    @property
    def whys(self) -> dict[DocumentRef, str]:
        """What was written down last of what keeps each pod from having a gateway."""
        return self._catalog.whys

    async def look(self, revision: int, now: int, listening: int) -> Seen:
        """``listening``: since when somebody would have heard a gateway. Raises StoreError."""
        workloads = await self._catalog.workloads()
        placements: dict[str, dict[DocumentRef, Placement]] = defaultdict(dict)
        for one in await self._store.workloads.placements():
            placements[one.gateway][one.ref] = one
        if not workloads and not placements:
            return Seen(revision, World({}, {}, {}, ()), {}, {}, {}, {}, ())
        there: dict[str, dict[DocumentRef, str]] = defaultdict(dict)
        unnamed: dict[str, set[Identity]] = defaultdict(set)
        for gateway, identity, hash_ in await self._store.workloads.in_sets(CARRIED):
            there[gateway][identity.ref] = hash_
            if identity.ref.kind == DocumentKind.POD and identity.ref not in placements.get(gateway, {}):
                unnamed[gateway].add(identity)
        strangers = await self._catalog.strangers({name: frozenset(one) for name, one in unnamed.items()})
        adopted = tuple(_adopted(strangers, workloads, placements, now))
        for one in adopted:
            placements[one.gateway][one.ref] = one
        # Read after the sets: a gateway that agrees then agrees to what was removed by then.
        presences = await self._store.workloads.presences()
        gateways = await self._gateways(presences, workloads, strangers, adopted, now, listening)
        pods = {one.meaning.name: one.meaning for one in workloads.values() if isinstance(one.meaning, Pod)}
        deployments = {
            one.meaning.uid: one.meaning for one in workloads.values() if isinstance(one.meaning, Deployment)
        }
        placed = tuple(
            _placed(one, removed=one.ref not in there.get(one.gateway, {}))
            for of in placements.values()
            for one in of.values()
            if one.ref.kind == DocumentKind.POD
        )
        pods = await self._with_readiness(pods, deployments, placements)
        readers = {name: key for name, said in self._facts.items() if isinstance(key := said.get("secrets_key"), str)}
        world = World(pods, deployments, gateways, placed)
        return Seen(revision, world, workloads, placements, readers, there, adopted, strangers)

    async def _gateways(
        self,
        presences: Sequence[Presence],
        workloads: Mapping[DocumentRef, Known],
        strangers: Mapping[str, Mapping[Identity, Stranger]],
        adopted: Sequence[Placement],
        now: int,
        listening: int,
    ) -> dict[str, Gateway]:
        ours = {(one.gateway, one.ref) for one in adopted}
        reported = await self._reported(now, {one.gateway for one in presences if is_online(one, now)})
        found: dict[str, Gateway] = {}
        for one in presences:
            said = workloads.get(DocumentRef(DocumentKind.GATEWAY.value, DEFAULT_NAMESPACE, one.gateway))
            heard_at = one.heard_at if one.heard_at <= now else 0  # of a clock that was ahead
            own = [
                (identity.ref, stranger)
                for identity, stranger in strangers.get(one.gateway, {}).items()
                if (one.gateway, identity.ref) not in ours
            ]
            facts = gateway_facts(said.document if said else None, one.gateway, reported.get(one.gateway, {}))
            found[one.gateway] = replace(
                facts,
                online=is_online(one, now) and one.gateway in reported,
                silent_ms=max(0, now - max(heard_at, listening)),
                agreed=one.agreed,
                revoked=not await self._known(one.gateway),
                own=frozenset(pod_name(ref) for ref, _ in own),
                used=_sum(stranger.used for _, stranger in own),
            )
        return found

    async def _reported(self, now: int, online: set[str]) -> Mapping[str, Mapping[str, Value]]:
        """What each gateway says of itself; asked for again when one is there of which nothing is known."""
        age_ms = now - self._facts_at
        if age_ms >= FACTS_MS or (age_ms >= NEW_FACTS_MS and online - self._facts.keys()):
            facts: dict[str, Mapping[str, Value]] = {}
            after: TwinKey | None = None
            while True:
                page = await self._store.twins(kind=Kind.GATEWAY.value, after=after, limit=_PAGE)
                for twin in page:
                    facts[twin.spec.gateway] = {name: _plain(slot.value) for name, slot in twin.reported.items()}
                if len(page) < _PAGE:
                    break
                after = page[-1].spec.key
            self._facts, self._facts_at = facts, now
        return self._facts

    async def _with_readiness(
        self,
        pods: dict[PodName, Pod],
        deployments: Mapping[str, Deployment],
        placements: Mapping[str, Mapping[DocumentRef, Placement]],
    ) -> dict[PodName, Pod]:
        """Ask how pods are of Deployments that exchange their template; of others it does not matter."""
        changing = {
            one.owner
            for one in pods.values()
            if one.owner in deployments and one.made != deployments[one.owner].template.made
        }
        asked = {one.name for one in pods.values() if one.owner in changing}
        keys = {TwinKey(Kind.POD, *name): name for name in asked}
        reports = await self._store.workloads.reports(keys, ("ready",))
        for key, report in reports.items():
            placement = placements.get(report.gateway, {}).get(pod_ref(keys[key]))
            bound = placement is not None and placement.state is PlacementState.BOUND
            if bound and report.reported.get("ready") is True:
                pods[keys[key]] = replace(pods[keys[key]], ready=True)
        return pods


def _adopted(
    strangers: Mapping[str, Mapping[Identity, Stranger]],
    workloads: Mapping[DocumentRef, Known],
    placements: Mapping[str, Mapping[DocumentRef, Placement]],
    now: int,
) -> list[Placement]:
    """Placements for pods that came from this cloud, as far as it still knows what they were made from."""
    bound = {one.ref for of in placements.values() for one in of.values() if one.state is PlacementState.BOUND}
    owners = {one.workload.uid for one in workloads.values() if isinstance(one.meaning, Deployment)}
    found = []
    for gateway, of in sorted(strangers.items()):
        for identity, stranger in of.items():
            known = workloads.get(identity.ref)
            same = known is not None and known.workload.uid == stranger.workload
            if not same and stranger.owner not in owners:
                continue
            state = PlacementState.BOUND if same and identity.ref not in bound else PlacementState.LEAVING
            bound.add(identity.ref)
            found.append(Placement(gateway, identity.ref, stranger.workload, stranger.owner, state, now))
    return found


def _placed(one: Placement, *, removed: bool) -> Placed:
    return Placed(
        pod_name(one.ref), one.gateway, one.uid, one.owner, one.state, one.since, one.grace_s, removed=removed
    )


def _plain(value: SlotValue) -> Value:
    return None if isinstance(value, Tombstone) else value


def _sum(amounts: Iterable[Amounts]) -> Amounts:
    total = Amounts()
    for one in amounts:
        total = Amounts(
            total.cpu_milli + one.cpu_milli,
            total.memory_bytes + one.memory_bytes,
            total.pods + one.pods,
            total.ports | one.ports,
        )
    return total
