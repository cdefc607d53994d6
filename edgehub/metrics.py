"""The metrics of a gateway: their names in one table, and their values as the hub knows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from twin.alarm import AlarmState, Severity
from twin.api import VERB_METRICS, VerbTimes, put_verbs
from twin.metrics.machine import PROCESS, put_process
from twin.metrics.model import Metric, MetricType, Samples, Times, catalog
from twin.metrics.text import exposition
from twin.wire.api import StatusReply

_COUNTER, _GAUGE = MetricType.COUNTER, MetricType.GAUGE

TWINS: Final = Metric("edgetwin_twins", _GAUGE, "Twins of this gateway", ("kind",))
BAD: Final = Metric("edgetwin_devices_bad", _GAUGE, "Devices with a value of bad quality")
REPORTS: Final = Metric("edgetwin_reports_total", _COUNTER, "Reports that were taken")
READINGS: Final = Metric("edgetwin_readings_total", _COUNTER, "Values in those reports")
REFUSED: Final = Metric("edgetwin_refused_total", _COUNTER, "Messages and values that were refused")
COMMITS: Final = Metric("edgetwin_commit_seconds", MetricType.HISTOGRAM, "How long commits took")
STORE_FAILED: Final = Metric("edgetwin_store_failed", _GAUGE, "1 while the store takes no changes")
STATE_BYTES: Final = Metric("edgetwin_state_bytes", _GAUGE, "Size of a file of the state folder", ("file",))
DISK_FREE: Final = Metric("edgetwin_disk_free_bytes", _GAUGE, "Room on the disk of the state folder")
DISK_SIZE: Final = Metric("edgetwin_disk_size_bytes", _GAUGE, "Size of the disk of the state folder")
CONNECTED: Final = Metric("edgetwin_sync_connected", _GAUGE, "1 while there is a session with the cloud")
STATE: Final = Metric("edgetwin_sync_state", _GAUGE, "1 for the state that the sync is in, 0 for others", ("state",))
SINCE: Final = Metric("edgetwin_sync_since_seconds", _GAUGE, "Since when it is in this state, seconds since 1970")
UNSENT: Final = Metric("edgetwin_sync_unsent_leaves", _GAUGE, "Leaves that the cloud does not have yet")
LAG: Final = Metric("edgetwin_sync_lag_seconds", _GAUGE, "How long ago the cloud last had all")
RESYNCS: Final = Metric("edgetwin_sync_resyncs_total", _COUNTER, "How often both sides came to be equal again")
MESSAGES: Final = Metric("edgetwin_sync_messages_total", _COUNTER, "Messages of the sync", ("direction",))
BYTES: Final = Metric("edgetwin_sync_bytes_total", _COUNTER, "Their bytes as they went over the line", ("direction",))
DROPPED: Final = Metric(
    "edgetwin_sync_dropped_total", _COUNTER, "Messages of the cloud that were dropped or unreadable"
)
MAPPER_UP: Final = Metric(
    "edgetwin_mapper_connected", _GAUGE, "1 while the mapper is connected", ("connection", "mapper")
)
MAPPER_REQUESTS: Final = Metric(
    "edgetwin_mapper_requests_total", _COUNTER, "Requests to devices", ("connection", "mapper")
)
MAPPER_ERRORS: Final = Metric(
    "edgetwin_mapper_errors_total", _COUNTER, "Requests that failed", ("connection", "mapper")
)
MAPPER_CONNECTS: Final = Metric(
    "edgetwin_mapper_connects_total", _COUNTER, "Times that a connection was made", ("connection", "mapper")
)
MAPPER_SILENT: Final = Metric(
    "edgetwin_mapper_devices_silent", _GAUGE, "Devices that do not answer", ("connection", "mapper")
)
MAPPER_LATENCY: Final = Metric(
    "edgetwin_mapper_latency_seconds", _GAUGE, "How long a request takes lately", ("connection", "mapper")
)
POD_PHASE: Final = Metric("edgetwin_pod_phase", _GAUGE, "1 for the phase that a pod is in", ("pod", "phase"))
POD_READY: Final = Metric("edgetwin_pod_ready", _GAUGE, "1 while a pod is ready", ("pod",))
POD_RESTARTS: Final = Metric("edgetwin_pod_restarts_total", _COUNTER, "Restarts of a pod's containers", ("pod",))
PUSH_OK: Final = Metric("edgetwin_push_delivering", _GAUGE, "0 while the last try of a push has failed", ("push",))
PUSH_WAITING: Final = Metric("edgetwin_push_waiting_readings", _GAUGE, "Readings that wait for a push", ("push",))
PUSH_LAG: Final = Metric("edgetwin_push_lag_seconds", _GAUGE, "Age of the oldest of them", ("push",))
PUSH_SENT: Final = Metric("edgetwin_push_sent_total", _COUNTER, "Readings that were delivered", ("push",))
PUSH_DROPPED: Final = Metric(
    "edgetwin_push_dropped_total", _COUNTER, "Readings that the buffer dropped before that", ("push",)
)
PUSH_ASIDE: Final = Metric(
    "edgetwin_push_aside_total", _COUNTER, "Readings that the target refused for good", ("push",)
)
CHILD_UP: Final = Metric("edgetwin_child_running", _GAUGE, "1 while a process of the hub's runs", ("child",))
CHILD_RESTARTS: Final = Metric("edgetwin_child_restarts_total", _COUNTER, "How often it was started again", ("child",))
ALARMS: Final = Metric("edgetwin_alarms", _GAUGE, "Alarms of rules by state and severity", ("state", "severity"))
TROUBLES: Final = Metric("edgetwin_hub_alarms", _GAUGE, "What the hub itself has to say, the lines ALARM of status")
STARTED: Final = Metric("edgetwin_started_seconds", _GAUGE, "When the hub was started, seconds since 1970")

METRICS: Final = catalog(
    *(TWINS, BAD, REPORTS, READINGS, REFUSED, COMMITS, STORE_FAILED, STATE_BYTES, DISK_FREE, DISK_SIZE),
    *(CONNECTED, STATE, SINCE, UNSENT, LAG, RESYNCS, MESSAGES, BYTES, DROPPED),
    *(MAPPER_UP, MAPPER_REQUESTS, MAPPER_ERRORS, MAPPER_CONNECTS, MAPPER_SILENT, MAPPER_LATENCY),
    *(PUSH_OK, PUSH_WAITING, PUSH_LAG, PUSH_SENT, PUSH_DROPPED, PUSH_ASIDE),
    *(POD_PHASE, POD_READY, POD_RESTARTS, CHILD_UP, CHILD_RESTARTS, ALARMS, TROUBLES, STARTED),
    *VERB_METRICS,
    *PROCESS,
)
"""All that there are; docs/metrics.md lists them."""
SYNC_STATES: Final = ("off", "offline", "connecting", "resync", "live")
PHASES: Final = ("Pending", "Running", "Succeeded", "Failed")
PROCESS_NAME: Final = "hub"


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One pod as its twin tells of it."""

    name: str
    phase: str
    ready: bool
    restarts: int


@dataclass(frozen=True, slots=True)
class PushFacts:
    """One push as its twin tells of it."""

    name: str
    delivering: bool
    waiting: int
    lag_s: int
    sent: int
    dropped: int
    aside: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What the hub knows beside its status."""

    twins: dict[str, int]
    commits: Times
    store_failed: bool
    resyncs: int = 0
    messages: tuple[int, int] = (0, 0)
    """Up and down."""
    payload_bytes: tuple[int, int] = (0, 0)
    dropped: int = 0
    pods: tuple[PodFacts, ...] = ()
    pushes: tuple[PushFacts, ...] = ()
    alarms: tuple[tuple[AlarmState, Severity], ...] = ()
    files: dict[str, int] = field(default_factory=dict)
    disk: tuple[int, int] | None = None
    """Free and whole."""
    verbs: VerbTimes = field(default_factory=VerbTimes)


def metrics_text(status: StatusReply, counts: Counts) -> bytes:
    """All metrics now."""
    samples = Samples()
    put_process(samples, PROCESS_NAME)
    _put_hub(samples, status, counts)
    _put_sync(samples, status, counts)
    _put_mappers(samples, status)
    _put_pods(samples, counts.pods)
    _put_pushes(samples, counts.pushes)
    put_verbs(samples, counts.verbs)
    for child in status.children:
        samples.put(CHILD_UP, child.running, child.name)
        samples.put(CHILD_RESTARTS, child.restarts, child.name)
    return exposition(METRICS.values(), samples)


def _put_hub(samples: Samples, status: StatusReply, counts: Counts) -> None:
    for kind, number in counts.twins.items():
        samples.put(TWINS, number, kind)
    for metric, value in (
        (BAD, len(status.devices_bad)),
        (REPORTS, status.reports),
        (READINGS, status.updates),
        (REFUSED, status.refused),
        (STORE_FAILED, counts.store_failed),
        (TROUBLES, len(status.alarms)),
        (STARTED, status.started_at / 1000),
    ):
        samples.put(metric, value)
    samples.put_times(COMMITS, counts.commits)
    for name, size in counts.files.items():
        samples.put(STATE_BYTES, size, name)
    if counts.disk is not None:
        samples.put(DISK_FREE, counts.disk[0])
        samples.put(DISK_SIZE, counts.disk[1])
    for state, severity in _pairs():
        samples.put(ALARMS, counts.alarms.count((state, severity)), state, severity)


def _put_sync(samples: Samples, status: StatusReply, counts: Counts) -> None:
    sync = status.sync
    if sync is None:
        return
    samples.put(CONNECTED, sync.state in ("resync", "live"))
    for state in SYNC_STATES:
        samples.put(STATE, sync.state == state, state)
    for metric, value in ((SINCE, sync.since / 1000), (UNSENT, sync.unsent), (LAG, sync.lag_s)):
        samples.put(metric, value)
    samples.put(RESYNCS, counts.resyncs)
    samples.put(DROPPED, counts.dropped)
    for direction, messages, size in zip(("up", "down"), counts.messages, counts.payload_bytes, strict=True):
        samples.put(MESSAGES, messages, direction)
        samples.put(BYTES, size, direction)


def _put_mappers(samples: Samples, status: StatusReply) -> None:
    for one in status.connections:
        labels = one.name, one.mapper
        samples.put(MAPPER_UP, one.state in ("connected", "simulated"), *labels)
        samples.put(MAPPER_REQUESTS, one.requests, *labels)
        samples.put(MAPPER_ERRORS, one.errors, *labels)
        samples.put(MAPPER_CONNECTS, one.connects, *labels)
        samples.put(MAPPER_SILENT, one.devices_silent, *labels)
        samples.put(MAPPER_LATENCY, one.latency_ms / 1000, *labels)


def _put_pods(samples: Samples, pods: Iterable[PodFacts]) -> None:
    for pod in pods:
        for phase in PHASES:
            samples.put(POD_PHASE, pod.phase == phase, pod.name, phase)
        samples.put(POD_READY, pod.ready, pod.name)
        samples.put(POD_RESTARTS, pod.restarts, pod.name)


def _put_pushes(samples: Samples, pushes: Iterable[PushFacts]) -> None:
    for push in pushes:
        samples.put(PUSH_OK, push.delivering, push.name)
        samples.put(PUSH_WAITING, push.waiting, push.name)
        samples.put(PUSH_LAG, push.lag_s, push.name)
        samples.put(PUSH_SENT, push.sent, push.name)
        samples.put(PUSH_DROPPED, push.dropped, push.name)
        samples.put(PUSH_ASIDE, push.aside, push.name)


def _pairs() -> Iterator[tuple[AlarmState, Severity]]:
    for state in AlarmState:
        for severity in Severity:
            yield state, severity
