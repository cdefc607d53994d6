"""What the mesh has seen, as values: what crosses from the data planes to whoever shows, merges or judges it.

    Monitor (each worker) ──Snapshot: what has changed──> Collected ──Snapshot: all──> alerts, twins, metrics, CLI

Numbers are absolute, so a snapshot that is lost or comes twice does no harm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from mesh.breaker import BreakerState
from mesh.model.services import PortKey, ServiceKey
from mesh.tally import Counts


class Own(StrEnum):
    """Why the mesh answered itself, or turned a connection away."""

    RATE_LIMITED = "rateLimited"
    BREAKER_OPEN = "breakerOpen"
    NO_ENDPOINT = "noEndpoint"
    OVER_CONNECTIONS = "maxConnections"
    OVER_REQUESTS = "maxRequests"
    NO_ROUTE = "noRoute"
    BAD_REQUEST = "badRequest"
    TIMEOUT = "timeout"
    UNREACHED = "unreached"
    """Endpoints there were, but none of those tried answered."""
    REDIRECTED = "redirected"


@dataclass(frozen=True, slots=True, order=True)
class ShareKey:
    """One way of one frontend: its route (empty: none was written) and the port that it leads to (None: none)."""

    frontend: PortKey
    route: str = ""
    backend: PortKey | None = None


@dataclass(frozen=True, slots=True)
class ShareCounts:
    """What came by one way. ``places`` are the endpoints; the empty one stands for those that are gone."""

    key: ShareKey
    places: tuple[tuple[str, Counts], ...] = ()
    own: tuple[tuple[Own, int], ...] = ()
    retries: int = 0
    degraded: int = 0


@dataclass(frozen=True, slots=True, order=True)
class EdgeKey:
    """Who calls whom. ``caller`` is ``namespace/name`` of a service or pod, or ``outside`` or ``gateway``."""

    caller: str
    called: ServiceKey


@dataclass(frozen=True, slots=True)
class EdgeCounts:
    """What went from one to the other."""

    key: EdgeKey
    counts: Counts


class PlaceState(StrEnum):
    """How an endpoint is treated."""

    IN_USE = "inUse"
    RESERVE = "reserve"
    """Nothing is held against it; nearer or fresher ones are used."""
    TRIAL = "trial"
    EJECTED = "ejected"
    PROBE_FAILED = "probeFailed"
    NOT_READY = "notReady"


@dataclass(frozen=True, slots=True)
class PlaceView:
    """One endpoint of an upstream."""

    place: str
    state: PlaceState
    failures: int = 0
    """Tries that it did not answer."""


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """One port of a service, as it stands."""

    port: PortKey
    places: tuple[PlaceView, ...] = ()
    breaker: BreakerState = BreakerState.CLOSED
    breaker_opened: int = 0
    panic: bool = False
    ejections: int = 0
    retries_refused: int = 0

    @property
    def usable(self) -> int:
        """How many endpoints there are of which nothing bad is known."""
        return sum(one.state in (PlaceState.IN_USE, PlaceState.RESERVE, PlaceState.TRIAL) for one in self.places)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen until ``at_s`` of the monotonic clock. ``gone`` ports have no upstream any more."""

    at_s: float
    shares: tuple[ShareCounts, ...] = ()
    edges: tuple[EdgeCounts, ...] = ()
    upstreams: tuple[UpstreamView, ...] = ()
    gone: tuple[PortKey, ...] = ()
    dropped_log_lines: int = 0


# -- several workers ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Worker:
    shares: dict[ShareKey, ShareCounts] = field(default_factory=dict)
    edges: dict[EdgeKey, EdgeCounts] = field(default_factory=dict)
    upstreams: dict[PortKey, UpstreamView] = field(default_factory=dict)
    dropped_log_lines: int = 0

    def took(self, snapshot: Snapshot) -> None:
        self.shares |= {one.key: one for one in snapshot.shares}
        self.edges |= {one.key: one for one in snapshot.edges}
        for port in snapshot.gone:
            self.upstreams.pop(port, None)
        self.upstreams |= {one.port: one for one in snapshot.upstreams}
        self.dropped_log_lines = snapshot.dropped_log_lines


class Collected:
    """All workers' snapshots together. What a worker that has ended had counted stays counted."""

    def __init__(self) -> None:
        self._workers: dict[str, _Worker] = {}
        self._ended = _Worker()
        self._at_s = 0.0

    def took(self, worker: str, snapshot: Snapshot) -> None:
        """One worker's changes."""
        self._workers.setdefault(worker, _Worker()).took(snapshot)
        self._at_s = max(self._at_s, snapshot.at_s)

    def ended(self, worker: str) -> None:
        """A worker is gone, or starts anew: its counters begin at nothing again."""
        gone = self._workers.pop(worker, None)
        if gone is None:
            return
        shares = [_idle(one) for one in gone.shares.values()]
        edges = [replace(one, counts=replace(one.counts, active=0)) for one in gone.edges.values()]
        self._ended.shares = merged_shares([*self._ended.shares.values(), *shares])
        self._ended.edges = merged_edges([*self._ended.edges.values(), *edges])
        self._ended.dropped_log_lines += gone.dropped_log_lines

    def forget(self, frontends: Iterable[PortKey]) -> None:
        """Frontends that are gone: nothing more is told of them."""
        gone = set(frontends)
        for worker in (*self._workers.values(), self._ended):
            worker.shares = {key: one for key, one in worker.shares.items() if key.frontend not in gone}

    def all(self) -> Snapshot:
        """Everything."""
        workers = [*self._workers.values(), self._ended]
        return Snapshot(
            at_s=self._at_s,
            shares=tuple(merged_shares([one for worker in workers for one in worker.shares.values()]).values()),
            edges=tuple(merged_edges([one for worker in workers for one in worker.edges.values()]).values()),
            upstreams=tuple(
                merged_upstreams([one for worker in workers for one in worker.upstreams.values()]).values()
            ),
            dropped_log_lines=sum(worker.dropped_log_lines for worker in workers),
        )


def merged_shares(shares: Iterable[ShareCounts]) -> dict[ShareKey, ShareCounts]:
    """Those with the same key added up."""
    merged: dict[ShareKey, ShareCounts] = {}
    for one in shares:
        known = merged.get(one.key)
        merged[one.key] = one if known is None else _both(known, one)
    return merged


def _both(one: ShareCounts, other: ShareCounts) -> ShareCounts:
    places = dict(one.places)
    for place, counts in other.places:
        places[place] = places[place].plus(counts) if place in places else counts
    own = dict(one.own)
    for reason, number in other.own:
        own[reason] = own.get(reason, 0) + number
    return ShareCounts(
        key=one.key,
        places=tuple(places.items()),
        own=tuple(own.items()),
        retries=one.retries + other.retries,
        degraded=one.degraded + other.degraded,
    )


def _idle(share: ShareCounts) -> ShareCounts:
    return replace(share, places=tuple((place, replace(counts, active=0)) for place, counts in share.places))


def merged_edges(edges: Iterable[EdgeCounts]) -> dict[EdgeKey, EdgeCounts]:
    """Those with the same key added up."""
    merged: dict[EdgeKey, EdgeCounts] = {}
    for one in edges:
        known = merged.get(one.key)
        merged[one.key] = one if known is None else EdgeCounts(one.key, known.counts.plus(one.counts))
    return merged


_WORST = {state: at for at, state in enumerate((BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN))}
_BEST = {state: at for at, state in enumerate(PlaceState)}


def merged_upstreams(views: Iterable[UpstreamView]) -> dict[PortKey, UpstreamView]:
    """Each worker sees for itself: the breaker is shown at its worst, an endpoint too, and numbers are added up."""
    merged: dict[PortKey, UpstreamView] = {}
    for one in views:
        known = merged.get(one.port)
        if known is None:
            merged[one.port] = one
            continue
        places = {place.place: place for place in known.places}
        for place in one.places:
            other = places.get(place.place)
            if other is not None:
                worse = max(place.state, other.state, key=_BEST.__getitem__)
                place = PlaceView(place.place, worse, place.failures + other.failures)
            places[place.place] = place
        merged[one.port] = UpstreamView(
            port=one.port,
            places=tuple(places.values()),
            breaker=max(known.breaker, one.breaker, key=_WORST.__getitem__),
            breaker_opened=known.breaker_opened + one.breaker_opened,
            panic=known.panic or one.panic,
            ejections=known.ejections + one.ejections,
            retries_refused=known.retries_refused + one.retries_refused,
        )
    return merged
