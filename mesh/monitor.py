"""Counts what passes through the data planes of one process.

    Share   one way of a frontend: route and backend     ├─ Tally of each endpoint
    edge    who calls whom                               └─ Tally

A plane asks for its Share when it takes up a rule, for the caller's edge when a client connects, and then only adds to
their counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from mesh.access_log import AccessLog
from mesh.model import PortKey, ServiceKey
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

    __slots__ = ("_gone", "_tallies", "degraded", "key", "own", "retries")

    def __init__(self, key: ShareKey) -> None:
        self.key = key
        self.own: dict[Own, int] = {}
        self.retries = 0
        """Tries that were repetitions. Planes add to it."""
        self.degraded = 0
        """Answers that a degrade rule gave. Planes add to it."""
        self._tallies: dict[Target, Tally] = {}
        self._gone = Tally()

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
        """As a value. Endpoints that are gone are counted together, so that sums never go back."""
        places: dict[str, Counts] = {}
        for target, tally in list(self._tallies.items()):
            place = target.endpoint.place
            if tally.active == 0 and (upstream is None or upstream.targets.get(place) is not target):
                self._gone.absorb(tally)
                del self._tallies[target]
            else:
                counts = tally.counts()
                places[place] = places[place].plus(counts) if place in places else counts
        gone = self._gone.counts()
        if gone != _NOTHING:
            places[""] = gone
        return ShareCounts(self.key, tuple(places.items()), tuple(self.own.items()), self.retries, self.degraded)


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
        self._told_shares: dict[ShareKey, ShareCounts] = {}
        self._told_edges: dict[EdgeKey, Counts] = {}
        self._told_upstreams: dict[PortKey, UpstreamView] = {}

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
            self._told_shares.pop(key, None)
        left = {key.frontend.service for key in self._shares}
        for edge in [key for key in self._edges if key.called in services - left]:
            del self._edges[edge]
            self._told_edges.pop(edge, None)

    def snapshot(self, now_s: float, *, whole: bool = False) -> Snapshot:
        """What has changed since the last one; ``whole``: everything."""
        if whole:
            self._told_shares, self._told_edges, self._told_upstreams = {}, {}, {}
        shares, edges, upstreams = [], [], []
        for key, share in self._shares.items():
            upstream = self._upstreams.get(key.backend) if key.backend else None
            counts = share.counts(upstream)
            if self._told_shares.get(key) != counts:
                self._told_shares[key] = counts
                shares.append(counts)
        for edge, tally in self._edges.items():
            between = tally.counts()
            if self._told_edges.get(edge) != between:
                self._told_edges[edge] = between
                edges.append(EdgeCounts(edge, between))
        views = {upstream.key: view_of(upstream, now_s) for upstream in self._upstreams.all()}
        gone = tuple(port for port in self._told_upstreams if port not in views)
        upstreams = [view for port, view in views.items() if self._told_upstreams.get(port) != view]
        self._told_upstreams = views
        dropped = self.log.dropped if self.log else 0
        return Snapshot(now_s, tuple(shares), tuple(edges), tuple(upstreams), gone, dropped)


def view_of(upstream: Upstream, now_s: float) -> UpstreamView:
    """One upstream as it stands."""
    in_use = set(upstream.in_use(now_s))
    places = tuple(
        PlaceView(place, _state(target, target in in_use), target.active) for place, target in upstream.targets.items()
    )
    return UpstreamView(
        port=upstream.key,
        places=places,
        breaker=upstream.breaker_state,
        breaker_opened=upstream.breaker.opened if upstream.breaker else 0,
        panic=upstream.panic,
        ejections=upstream.ejections,
        active=upstream.active,
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
