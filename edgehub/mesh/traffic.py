"""What went through services and routes lately, worked out from the counters of the data planes. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from mesh.breaker import BreakerState
from mesh.model.services import PortKey, ServiceKey
from mesh.snapshot import EdgeKey, Own, PlaceState, Snapshot, UpstreamView
from mesh.tally import Counts, total
from twin.wire.mesh import CallBody, RouteRates, TrafficBody

WINDOW_S: Final = 10.0
_FAILURES: Final = frozenset(Own) - {Own.REDIRECTED, Own.NO_ROUTE, Own.BAD_REQUEST}
"""Answers of the mesh's own for which the client is not to blame."""
_HEALTH: Final = {PlaceState.EJECTED: "ejected", PlaceState.PROBE_FAILED: "failing"}
_WORST: Final = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)


@dataclass(frozen=True, slots=True)
class Passed:
    """What came by one service or route: what endpoints answered, and what the mesh did in their place."""

    counts: Counts = field(default_factory=Counts)
    answered_here: int = 0
    failed_here: int = 0

    def plus(self, other: Passed) -> Passed:
        """Both together."""
        return Passed(
            self.counts.plus(other.counts),
            self.answered_here + other.answered_here,
            self.failed_here + other.failed_here,
        )

    def minus(self, before: Passed) -> Passed:
        """What has been added since; numbers that went back began anew."""
        if before.answered_here > self.answered_here:
            return self
        return Passed(
            self.counts.minus(before.counts),
            self.answered_here - before.answered_here,
            self.failed_here - before.failed_here,
        )

    @property
    def requests(self) -> int:
        """All of them."""
        return self.counts.requests + self.answered_here

    @property
    def errors(self) -> int:
        """Those that a client saw fail."""
        return self.counts.by_class[5] + self.failed_here


@dataclass(frozen=True, slots=True)
class _Moment:
    at_s: float
    passed: Mapping[str, Passed]
    calls: Mapping[EdgeKey, Counts]


class Traffic:
    """The counters over the last seconds. Names are ``namespace/name`` of services and ``HTTPRoute namespace/name``."""

    def __init__(self) -> None:
        self._moments: deque[_Moment] = deque([_Moment(0.0, {}, {})])
        self._upstreams: tuple[UpstreamView, ...] = ()

    def took(self, snapshot: Snapshot, now_s: float) -> None:
        """The counters as they are now."""
        self._upstreams = snapshot.upstreams
        calls = {edge.key: edge.counts for edge in snapshot.edges}
        if len(self._moments) == 1 and not self._moments[0].at_s:
            self._moments.clear()
        self._moments.append(_Moment(now_s, _passed(snapshot), calls))
        while len(self._moments) > 2 and self._moments[1].at_s <= now_s - WINDOW_S:
            self._moments.popleft()

    def began_anew(self) -> None:
        """The process that counts is another one: nothing can be compared with what was before."""
        self._moments = deque([_Moment(0.0, {}, {})])
        self._upstreams = ()

    def rates(self) -> dict[str, RouteRates]:
        """Of every service and route through which anything ever went."""
        return {name: _rates(passed, self._over_s) for name, passed in self._lately()}

    def bodies(self) -> Iterator[TrafficBody]:
        """The same with the numbers since the beginning; services only."""
        now, lately = self._moments[-1].passed, dict(self._lately())
        for name, passed in now.items():
            if " " in name:
                continue
            rates, recent = _rates(lately[name], self._over_s), lately[name].counts
            yield TrafficBody(
                name=name,
                requests=passed.requests,
                errors=passed.errors,
                bytes_in=passed.counts.bytes_in,
                bytes_out=passed.counts.bytes_out,
                active=passed.counts.active,
                requests_s=rates.requests_s,
                error_percent=rates.error_percent,
                p50_ms=_ms(recent, 0.5),
                p99_ms=rates.p99_ms,
            )

    def calls(self) -> Iterator[CallBody]:
        """Who has called whom lately."""
        first, last = self._moments[0].calls, self._moments[-1].calls
        for key, counts in sorted(last.items()):
            lately = counts.minus(first[key]) if key in first else counts
            tries = lately.requests + lately.failed
            if tries or counts.active:
                yield CallBody(
                    caller=key.caller,
                    service=str(key.called),
                    requests_s=_rounded(tries / self._over_s),
                    p99_ms=_ms(lately, 0.99),
                    loss_percent=_rounded(100 * lately.failed / tries) if tries else 0.0,
                )

    def health(self) -> dict[PortKey, dict[str, str]]:
        """Endpoints that are held off for what they did."""
        found = {}
        for one in self._upstreams:
            if held := {place.place: _HEALTH[place.state] for place in one.places if place.state in _HEALTH}:
                found[one.port] = held
        return found

    def breakers(self) -> dict[ServiceKey, str]:
        """The worst breaker of each service that is not closed."""
        found: dict[ServiceKey, BreakerState] = {}
        for one in self._upstreams:
            if one.breaker is not BreakerState.CLOSED:
                known = found.get(one.port.service, BreakerState.CLOSED)
                found[one.port.service] = max(known, one.breaker, key=_WORST.index)
        return {key: state.value for key, state in found.items()}

    @property
    def _over_s(self) -> float:
        return max(self._moments[-1].at_s - self._moments[0].at_s, 1.0)

    def _lately(self) -> Iterator[tuple[str, Passed]]:
        first, last = self._moments[0].passed, self._moments[-1].passed
        for name, passed in last.items():
            yield name, passed.minus(first[name]) if name in first else passed


def _passed(snapshot: Snapshot) -> dict[str, Passed]:
    found: dict[str, Passed] = {}
    for share in snapshot.shares:
        own = dict(share.own)
        passed = Passed(
            total(counts for _, counts in share.places),
            sum(own.values()),
            sum(number for why, number in own.items() if why in _FAILURES),
        )
        for name in (str(share.key.frontend.service), share.key.route):
            if name:
                found[name] = found[name].plus(passed) if name in found else passed
    return found


def _rates(passed: Passed, over_s: float) -> RouteRates:
    requests = passed.requests
    return RouteRates(
        requests_s=_rounded(requests / over_s),
        error_percent=_rounded(100 * passed.errors / requests) if requests else 0.0,
        p99_ms=_ms(passed.counts, 0.99),
    )


def _ms(counts: Counts, share: float) -> float:
    return _rounded(counts.quantile_s(share) * 1000)


def _rounded(value: float) -> float:
    """Three digits are more than the noise leaves."""
    return float(f"{value:.3g}")
