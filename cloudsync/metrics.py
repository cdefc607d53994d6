"""The metrics of a cloud's worker: their names in one table, and their values. What the store knows every worker tells.

worker-1 listens on the port of `metrics.listen`, worker-2 on the next one, and so on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from cloudsync.duty import Duty
from cloudsync.sessions import is_online, is_unacked
from cloudsync.store import CloudStore, GatewayState
from twin.api import VERB_METRICS, VerbTimes, put_verbs
from twin.clock import Clock
from twin.errors import StoreError
from twin.metrics.machine import PROCESS, put_process
from twin.metrics.model import Metric, MetricType, Samples, Times, catalog
from twin.metrics.server import MetricsServer
from twin.metrics.text import exposition

log = logging.getLogger(__name__)

_COUNTER, _GAUGE = MetricType.COUNTER, MetricType.GAUGE
_CACHED_S: Final = 5.0
"""What the store knows is asked for so often at most, however many scrape."""

GATEWAYS: Final = Metric("edgetwin_cloud_gateways", _GAUGE, "Gateways by how they are reached", ("state",))
MENDING: Final = Metric(
    "edgetwin_cloud_gateways_mending", _GAUGE, "Gateways that complete what a restored store has lost"
)
UNACKED: Final = Metric("edgetwin_cloud_gateways_unacked", _GAUGE, "Gateways that have not taken all yet")
COMMANDS: Final = Metric("edgetwin_cloud_commands_waiting", _GAUGE, "Commands that have not ended")
LEASES: Final = Metric("edgetwin_cloud_leases", _GAUGE, "Gateways whose down stream a worker looks after", ("worker",))
DUTY: Final = Metric("edgetwin_cloud_duty", _GAUGE, "1 while this worker has the duty", ("duty",))
MESSAGES: Final = Metric("edgetwin_cloud_messages_total", _COUNTER, "Messages of the sync", ("direction", "type"))
DROPPED: Final = Metric("edgetwin_cloud_messages_dropped_total", _COUNTER, "Messages that could not be read or sent")
COMMITS: Final = Metric("edgetwin_cloud_commit_seconds", MetricType.HISTOGRAM, "How long commits took")
TURNS: Final = Metric(
    "edgetwin_cloud_turn_seconds", MetricType.HISTOGRAM, "How long turns on a gateway took, commit included"
)
ROLLOUTS: Final = Metric("edgetwin_cloud_rollouts", _GAUGE, "Rollouts by phase", ("phase",))
STORE_UP: Final = Metric("edgetwin_cloud_store_up", _GAUGE, "1 if the store answered when it was asked last")

METRICS: Final = catalog(
    *(GATEWAYS, MENDING, UNACKED, COMMANDS, LEASES, DUTY, MESSAGES, DROPPED, COMMITS, TURNS, ROLLOUTS, STORE_UP),
    *VERB_METRICS,
    *PROCESS,
)
"""All that there are; docs/metrics.md lists them."""


class Line(Protocol):
    """What a worker's line has counted: messages by direction and type."""

    messages: dict[tuple[str, str], int]
    dropped: int


class Turns(Protocol):
    """What a worker's hub has measured."""

    turn_times: Times
    commit_times: Times


class WorkerMetrics:
    """One worker's."""

    def __init__(
        self,
        name: str,
        store: CloudStore,
        hub: Turns,
        line: Line,
        verbs: VerbTimes,
        duties: Sequence[Duty],
        clock: Clock,
    ) -> None:
        self._name = name
        self._store = store
        self._hub = hub
        self._line = line
        self._verbs = verbs
        self._duties = duties
        self._clock = clock
        self._asked_s: float | None = None
        self._of_store = Samples()

    @contextlib.asynccontextmanager
    async def served(self, host: str, port: int) -> AsyncIterator[None]:
        """Serve them until the end. An address that cannot be had is told, and keeps the worker from nothing."""
        server = MetricsServer(self.text)
        try:
            await server.open(host, port)
            log.info("metrics of %s are at http://%s:%d/metrics", self._name, host, port)
        except OSError as error:
            log.error("metrics cannot be served on %s:%d: %s", host, port, error.strerror or error)
        try:
            yield
        finally:
            await server.close()

    async def text(self) -> bytes:
        """All of them now."""
        samples = await self._stored()
        put_process(samples, self._name)
        for (direction, kind), count in self._line.messages.items():
            samples.put(MESSAGES, count, direction, kind)
        samples.put(DROPPED, self._line.dropped)
        samples.put_times(COMMITS, self._hub.commit_times)
        samples.put_times(TURNS, self._hub.turn_times)
        for duty in self._duties:
            samples.put(DUTY, duty.holds, duty.name)
        put_verbs(samples, self._verbs)
        return exposition(METRICS.values(), samples)

    async def _stored(self) -> Samples:
        now_s = self._clock.monotonic_s()
        if self._asked_s is None or now_s - self._asked_s >= _CACHED_S:
            self._asked_s = now_s
            self._of_store = Samples()
            try:
                async with asyncio.timeout(_CACHED_S):
                    put_store(self._of_store, await self._store.gateways(), self._clock.now_us() // 1000)
                    phases = [one.phase.value for one in await self._store.rollouts.rollouts()]
                for phase in sorted(set(phases)):
                    self._of_store.put(ROLLOUTS, phases.count(phase), phase)
                self._of_store.put(STORE_UP, 1)
            except (StoreError, TimeoutError):
                self._of_store.put(STORE_UP, 0)
        return Samples(dict(self._of_store.values), dict(self._of_store.times))


def put_store(samples: Samples, gateways: Sequence[GatewayState], now_ms: int) -> None:
    """What the rows of all gateways say."""
    online = sum(is_online(one, now_ms) for one in gateways)
    samples.put(GATEWAYS, online, "online")
    samples.put(GATEWAYS, len(gateways) - online, "away")
    samples.put(MENDING, sum(one.forked for one in gateways))
    samples.put(UNACKED, sum(is_unacked(one) for one in gateways))
    samples.put(COMMANDS, sum(one.waiting for one in gateways))
    workers = [one.worker for one in gateways if one.worker and one.worker_until > now_ms]
    for worker in sorted(set(workers)):
        samples.put(LEASES, workers.count(worker), worker)
