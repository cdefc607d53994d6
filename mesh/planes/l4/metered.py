"""Raw connections and datagram flows as the monitor counts them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mesh.access_log import Passage
from mesh.model.policies import When
from mesh.model.programme import Frontend
from mesh.model.services import PortKey
from mesh.monitor import Monitor, Share
from mesh.planes.l4.call import Call, Why
from mesh.snapshot import Own
from mesh.tally import Tally
from mesh.target import Outcome, Target
from mesh.upstream import Refusal, Upstream

_FAILED: Final = frozenset({Outcome.RESET, Outcome.TIMEOUT, Outcome.CONNECT_FAILED})
_OWN: Final[dict[Why, Own]] = {
    When.OVER_LIMIT: Own.RATE_LIMITED,
    When.BREAKER_OPEN: Own.BREAKER_OPEN,
    When.NO_ENDPOINT: Own.NO_ROUTE,
    Refusal.BREAKER_OPEN: Own.BREAKER_OPEN,
    Refusal.NO_ENDPOINT: Own.NO_ENDPOINT,
    Refusal.OVER_CONNECTIONS: Own.OVER_CONNECTIONS,
    Refusal.OVER_REQUESTS: Own.OVER_REQUESTS,
}


class Metered:
    """Tells the monitor: a RawWatcher and a DatagramWatcher."""

    def __init__(self, monitor: Monitor, clock: Callable[[], float]) -> None:
        self._monitor = monitor
        self._clock = clock

    # -- connections ---------------------------------------------------------------------------------------------------

    def stands(self, call: Call) -> None:
        """A client is connected to an endpoint."""
        assert call.target is not None
        call.tallies = (
            self._share(call).of(call.target),
            self._monitor.edge(call.client, call.frontend.key.service),
        )
        for tally in call.tallies:
            tally.active += 1
            tally.answered(0, call.took_s)

    def moved(self, call: Call, up_bytes: int, down_bytes: int) -> None:
        """So much more was carried."""
        for tally in call.tallies:
            tally.bytes_in += up_bytes
            tally.bytes_out += down_bytes

    def ended(self, call: Call, outcome: Outcome) -> None:
        """It is over."""
        failed = outcome in _FAILED
        for tally in call.tallies:
            tally.active -= 1
            tally.failed += failed
        log = self._monitor.log
        if log is not None and log.wants(self._clock(), failed=failed):
            log.add(self._passage(call, failed=failed))

    def refused(self, call: Call, why: Why) -> None:
        """It was turned away."""
        own = _OWN.get(why, Own.NO_ROUTE)
        self._share(call).answered_here(own)
        log = self._monitor.log
        if log is not None and log.wants(self._clock(), failed=True):
            log.add(self._passage(call, failed=True, own=own))

    def _share(self, call: Call) -> Share:
        return self._monitor.share(call.frontend.key, call.route, call.upstream.key if call.upstream else None)

    def _passage(self, call: Call, *, failed: bool, own: str = "") -> Passage:
        up_bytes, down_bytes = call.all_moved()
        return Passage(
            client=call.client,
            caller=self._monitor.caller(call.client),
            service=str(call.frontend.key.service),
            route=call.route,
            backend=str(call.upstream.key) if call.upstream else "",
            endpoint=call.target.endpoint.place if call.target else "",
            host=call.server_name,
            bytes_in=up_bytes,
            bytes_out=down_bytes,
            took_ms=round(call.took_s * 1000, 3),
            own=own,
            failed=failed,
        )

    # -- datagrams -----------------------------------------------------------------------------------------------------

    def flow(
        self, frontend: Frontend, route: str, upstream: Upstream, target: Target, client: str
    ) -> tuple[Tally, ...]:
        """The counters of a new flow."""
        share = self._monitor.share(frontend.key, route, upstream.key)
        tallies = (share.of(target), self._monitor.edge(client, frontend.key.service))
        for tally in tallies:
            tally.active += 1
        return tallies

    def no_flow(self, frontend: Frontend, backend: PortKey | None, why: Why) -> None:
        """A datagram was dropped."""
        self._monitor.share(frontend.key, "", backend).answered_here(_OWN.get(why, Own.NO_ROUTE))
