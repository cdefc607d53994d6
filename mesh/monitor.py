"""Counts what passes through the data planes of one process.

    Share   one way of a frontend: route and backend     ├─ Tally of each endpoint
    edge    who calls whom                               └─ Tally

A plane asks for its Share when it takes up a rule, for the caller's edge when a client connects, and then only adds to
their counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import is_
from types import MappingProxyType
from typing import Final

from mesh.access_log import AccessLog
from mesh.model.services import PortKey, ServiceKey
from mesh.snapshot import (
    EdgeCounts,
    EdgeKey,
    Own,
    PlaceState,
    PlaceView,
    ShareCounts,
    ShareKey,
    Snapshot,
    UpstreamView,
)
from mesh.tally import Counts, Tally
from mesh.target import Target, Trial
from mesh.upstream import Upstream, Upstreams

MOST_EDGES: Final = 4_096
"""Pairs of callers and called that are told apart; what is over that is counted as called by ``others``."""
MOST_SHARES: Final = 20_000
OUTSIDE: Final = "outside"
GATEWAY: Final = "gateway"
OTHERS: Final = "others"


class Share:
    """What came by one way of a frontend."""

    __slots__ = ("_before", "_gone", "_parts", "_state", "_tallies", "degraded", "key", "own", "retries", "told")

    def __init__(self, key: ShareKey) -> None:
        self.key = key
        self.own: dict[Own, int] = {}
        self.retries = 0
        """Tries that were repetitions. Planes add to it."""
        self.degraded = 0
        """Answers that a degrade rule gave. Planes add to it."""
        self.told: ShareCounts | None = None
        """What was told of it last."""
        self._tallies: dict[Target, Tally] = {}
        self._gone = Tally()
        self._before = ShareCounts(key)
        self._parts: list[Counts] = []
        self._state: tuple[int, ...] = ()

    def of(self, target: Target) -> Tally:
        """The counters of an endpoint."""
        tally = self._tallies.get(target)
        if tally is None:
            tally = self._tallies[target] = Tally()
        return tally

    def answered_here(self, why: Own) -> None:
        """The mesh answered itself, or turned a connection away."""
        self.own[why] = self.own.get(why, 0) + 1

    def counts(self, upstream: Upstream | None) -> ShareCounts:
        """As a value, the same one as the last time if nothing has changed.

        Endpoints that are gone are counted together, so that sums never go back.
        """
        parts = [tally.counts() for tally in self._tallies.values()]
        state = (upstream.changes if upstream else -1, sum(self.own.values()), self.retries, self.degraded)
        # Nearly always nothing is new of nearly all: this is asked for thousands of endpoints each second.
        if state == self._state and len(parts) == len(self._parts) and all(map(is_, parts, self._parts)):
            return self._before
        self._state, self._parts = state, parts
        places: dict[str, Counts] = {}
        for target, tally in list(self._tallies.items()):
            place = target.place
            if tally.active == 0 and (upstream is None or upstream.targets.get(place) is not target):
                self._gone.absorb(tally)
                del self._tallies[target]
            else:
                counts = tally.counts()
                places[place] = places[place].plus(counts) if place in places else counts
        gone = self._gone.counts()
        if gone != _NOTHING:
            places[""] = gone
        counted = ShareCounts(self.key, tuple(places.items()), tuple(self.own.items()), self.retries, self.degraded)
        if counted != self._before:
            self._before = counted
        return self._before


_NOTHING: Final = Counts()


class Monitor:
    """All counters of one process."""

    def __init__(self, upstreams: Upstreams, log: AccessLog | None = None) -> None:
        self.log = log
        """Where passages are written; None: nowhere."""
        self._upstreams = upstreams
        self._shares: dict[ShareKey, Share] = {}
        self._edges: dict[EdgeKey, Tally] = {}
        self._callers: Mapping[str, str] = MappingProxyType({})
        self._told_edges: dict[EdgeKey, Counts] = {}
        self._told_views: dict[Upstream, tuple[object, UpstreamView]] = {}

    # -- for planes --------------------------------------------------------------------------------------------------

    def share(self, frontend: PortKey, route: str = "", backend: PortKey | None = None) -> Share:
        """The counters of one way of a frontend; planes keep them with the rule."""
        key = ShareKey(frontend, route, backend)
        share = self._shares.get(key)
        if share is None:
            share = Share(key)
            if len(self._shares) < MOST_SHARES:
                self._shares[key] = share
        return share

    def caller(self, address: str) -> str:
        """Who an address belongs to."""
        return self._callers.get(address) or (GATEWAY if address.startswith(("127.", "::1")) else OUTSIDE)

    def edge(self, address: str, called: ServiceKey) -> Tally:
        """The counters of a caller and a service; planes keep them with the client's connection."""
        key = EdgeKey(self.caller(address), called)
        tally = self._edges.get(key)
        if tally is None:
            if len(self._edges) >= MOST_EDGES:
                key = EdgeKey(OTHERS, called)
                tally = self._edges.get(key)
            if tally is None:
                tally = self._edges[key] = Tally()
        return tally

    # -- for their owner ---------------------------------------------------------------------------------------------

    def callers(self, names: Mapping[str, str]) -> None:
        """Whose addresses are whose, for the call graph; for connections that come from now on."""
        self._callers = MappingProxyType(dict(names))

    def forget(self, frontends: Iterable[PortKey]) -> None:
        """Frontends that are gone."""
        gone = set(frontends)
        services = {port.service for port in gone}
        for key in [key for key in self._shares if key.frontend in gone]:
            del self._shares[key]
        left = {key.frontend.service for key in self._shares}
        for edge in [key for key in self._edges if key.called in services - left]:
            del self._edges[edge]
            self._told_edges.pop(edge, None)

    def snapshot(self, now_s: float, *, whole: bool = False) -> Snapshot:
        """What has changed since the last one; ``whole``: everything."""
        shares, edges = [], []
        for key, share in self._shares.items():
            counts = share.counts(self._upstreams.get(key.backend) if key.backend else None)
            if whole or share.told is not counts:
                share.told = counts
                shares.append(counts)
        for edge, tally in self._edges.items():
            between = tally.counts()
            if whole or self._told_edges.get(edge) is not between:
                self._told_edges[edge] = between
                edges.append(EdgeCounts(edge, between))
        before = self._told_views
        views = self._told_views = {one: self._looked_at(one, now_s) for one in self._upstreams.all()}
        upstreams = [
            view for one, (_, view) in views.items() if whole or one not in before or before[one][1] is not view
        ]
        gone = tuple(one.key for one in before if one not in views and self._upstreams.get(one.key) is None)
        dropped = self.log.dropped if self.log else 0
        return Snapshot(now_s, tuple(shares), tuple(edges), tuple(upstreams), gone, dropped)

    def _looked_at(self, upstream: Upstream, now_s: float) -> tuple[object, UpstreamView]:
        """How it stands; the same value as the last time if nothing has changed."""
        upstream.in_use(now_s)
        breaker = upstream.breaker
        state = (
            upstream.changes,
            upstream.failures,
            upstream.ejections,
            upstream.retries.refused,
            (breaker.state, breaker.opened) if breaker else None,
        )
        before = self._told_views.get(upstream)
        if before is not None and before[0] == state:
            return before
        view = view_of(upstream, now_s)
        return state, before[1] if before is not None and before[1] == view else view


def view_of(upstream: Upstream, now_s: float) -> UpstreamView:
    """One upstream as it stands."""
    in_use = set(upstream.in_use(now_s))
    places = tuple(
        PlaceView(place, _state(target, target in in_use), target.failures)
        for place, target in upstream.targets.items()
    )
    return UpstreamView(
        port=upstream.key,
        places=places,
        breaker=upstream.breaker_state,
        breaker_opened=upstream.breaker.opened if upstream.breaker else 0,
        panic=upstream.panic,
        ejections=upstream.ejections,
        retries_refused=upstream.retries.refused,
    )


def _state(target: Target, in_use: bool) -> PlaceState:
    if target.probe_failed:
        return PlaceState.PROBE_FAILED
    if target.ejected:
        return PlaceState.EJECTED
    if target.trial is not Trial.NONE:
        return PlaceState.TRIAL
    if in_use:
        return PlaceState.IN_USE
    return PlaceState.RESERVE if target.endpoint.ready else PlaceState.NOT_READY
