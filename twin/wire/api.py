"""Requests and replies of the API: the verbs get, set, query, watch, explain, history, apply, status and mesh.

A request goes to ``et/1/api/<verb>`` with a response topic and correlation data; each reply is a ``Reply`` there.
``watch`` answers with many replies under one correlation: first the twins as they are, then each change.

The cloud has the same verbs on ``et/1/api/<verb>/<account>``, and some that only make sense there: ``cloud_api``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from twin.history import Why
from twin.model import Access, Drop, Keep, Quality, Reason, Site, ValueType
from twin.wire.messages import ErrorBody, Millis, Wire


class Verb(StrEnum):
    """What can be asked for."""

    GET = "get"
    SET = "set"
    QUERY = "query"
    WATCH = "watch"
    EXPLAIN = "explain"
    HISTORY = "history"
    APPLY = "apply"
    STATUS = "status"
    SET_WHERE = "set-where"
    RENEW = "renew"
    AUDIT = "audit"
    WORKLOADS = "workloads"
    MESH = "mesh"


class Reply(Wire):
    """Either a result, whose shape the verb says, or an error."""

    result: dict[str, Any] | None = None
    error: ErrorBody | None = None


class LeafBody(Wire):
    """One property as clients see it."""

    value: Any = None
    at: Millis = 0
    quality: Quality = Quality.GOOD
    reason: Reason = Reason.NONE
    by: str = ""
    unit: str = ""


class TwinBody(Wire):
    """One twin as clients see it. ``desired`` holds the values that stand, ``delta`` those not yet reported."""

    twin: Annotated[str, Field(description="kind/namespace/name")]
    version: int
    uid: str = ""
    model: str = ""
    gateway: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    desired: dict[str, LeafBody] = Field(default_factory=dict)
    reported: dict[str, LeafBody] = Field(default_factory=dict)
    delta: dict[str, Any] = Field(default_factory=dict)


class GetRequest(Wire):
    """Ask for one twin by ``twin``, or for a page of all of a kind, namespace and gateway (all optional)."""

    twin: str = ""
    kind: str = ""
    namespace: str = ""
    gateway: str = ""
    after: Annotated[str, Field(description="the last twin of the page before")] = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class TwinList(Wire):
    """A page of twins in the order of their keys; ``after`` continues it and is empty on the last page."""

    twins: list[TwinBody]
    after: str = ""


class SetRequest(Wire):
    """Write desired values, all or none; ``unset`` deletes. With ``version``, only if it is the current one.

    With ``expires_ms`` the cloud has the gateway write them, once, and only before so many milliseconds are over: a
    command, which leaves nothing behind if the line is down for longer.
    """

    twin: str
    desired: dict[str, Any] = Field(default_factory=dict)
    unset: list[str] = Field(default_factory=list)
    version: int | None = None
    expires_ms: Annotated[int, Field(ge=0, le=86_400_000)] = 0


class SetReply(Wire):
    """The new version; the values are on disk. Of a command: its id; the gateway has written the values."""

    version: int = 0
    command: str = ""


class QueryRequest(Wire):
    """Ask for rows of the twins that fit a query; ``after`` continues an answer that comes in the order of the keys."""

    query: str
    limit: Annotated[int, Field(ge=1, le=10_000, description="rows of one answer, beside the query's own LIMIT")] = 1000
    after: Annotated[str, Field(description="`after` of the page before")] = ""


class QueryReply(Wire):
    """Rows of JSON values, null where there is none. ``more``: others fit; ``after`` continues, if the order allows.

    ``units`` has for each column the unit that all its rows share, or nothing; it is empty if no column has one.
    """

    columns: list[str]
    rows: list[list[Any]] = Field(default_factory=list)
    more: bool = False
    after: str = ""
    units: list[str] = Field(default_factory=list)


class WatchRequest(Wire):
    """Follow one twin, all of a kind, namespace and gateway, or, in the cloud, the result of a ``query``.

    Sent again with ``renew`` at least every 60 s, or it ends; in the cloud by the verb renew.
    With ``every_ms`` a gateway tells each twin at most so often, as it is then, and many twins in one event.
    """

    twin: str = ""
    kind: str = ""
    namespace: str = ""
    gateway: str = ""
    query: Annotated[str, Field(description="a query without ORDER BY, LIMIT, GROUP BY and COUNT(*)")] = ""
    every_ms: Annotated[int, Field(ge=0, le=60_000, description="0: every change; the cloud looks away")] = 0
    renew: bool = False
    stop: bool = False


class LiveChange(StrEnum):
    """What happened to a twin in the result of a live query."""

    ENTERED = "entered"
    CHANGED = "changed"
    LEFT = "left"


class WatchEvent(Wire):
    """A twin as it is now, and which of its properties changed; no ``body`` when it was removed.

    ``initial`` marks the state at the start; ``ready`` comes alone, after the last initial one. Of a live query the
    event has the ``row`` with the columns asked for, and its ``change``; a row that left has none. ``alive`` alone
    answers renew. ``restarted`` is said by the client: the watch began anew, and its initial events come again.
    A watch with ``every_ms`` has ``twins`` as they are now, and those that are ``gone``, and no other parts.
    """

    twin: str = ""
    body: TwinBody | None = None
    desired: list[str] = Field(default_factory=list)
    reported: list[str] = Field(default_factory=list)
    row: dict[str, Any] | None = None
    change: LiveChange | None = None
    twins: list[TwinBody] = Field(default_factory=list)
    gone: list[str] = Field(default_factory=list)
    initial: bool = False
    ready: bool = False
    alive: bool = False
    restarted: bool = False


class ExplainRequest(Wire):
    """Ask why a property has the value it has."""

    twin: str
    property: str


class SlotBody(Wire):
    """One site's write of a leaf, in full."""

    site: Site
    value: Any = None
    deleted: bool = False
    tick: int
    seen: int = 0
    by: str = ""
    at: Millis = 0


class SpecBody(Wire):
    """What the device model says of a property."""

    type: ValueType
    access: Access
    minimum: float | None = None
    maximum: float | None = None
    enum: list[Any] = Field(default_factory=list)
    unit: str = ""
    description: str = ""
    keep: Annotated[Keep, Field(description="which readings go into the history")] = Keep.OFF


class ExplainReply(Wire):
    """Who wrote, who won, who was overruled and why; and whether the device has followed."""

    twin: str
    property: str
    policy: str
    slots: list[SlotBody]
    winner: Site | None = None
    why: str
    reported: LeafBody | None = None
    pending: bool
    rules: list[str]
    spec: Annotated[SpecBody | None, Field(description="what the rules are made of; none of an open property")] = None


class HistoryRequest(Wire):
    """Ask for the readings of one property between two times, both included, oldest first.

    ``after`` continues a page; it is what the page before gave.
    """

    twin: str
    property: str
    since: Millis = 0
    until: Millis = 2**53 - 1
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    after: Annotated[str, Field(pattern=r"^([0-9]{1,16}:[0-9]{1,19})?$")] = ""


class ReadingBody(Wire):
    """One reading."""

    at: Millis
    value: Any = None
    quality: Quality = Quality.GOOD
    reason: Reason = Reason.NONE


class GapBody(Wire):
    """How many readings were dropped between two times, both included, and why; thinning leaves others between them."""

    since: Millis
    until: Millis
    count: int
    why: Why


class HistoryReply(Wire):
    """A page of readings, and every gap that touches the time asked for; ``after`` is empty on the last page."""

    twin: str
    property: str
    unit: str = ""
    keep: Keep = Keep.OFF
    drop: Drop = Drop.OLDEST
    readings: list[ReadingBody] = Field(default_factory=list)
    gaps: list[GapBody] = Field(default_factory=list)
    after: str = ""


class DocumentSource(Wire):
    """One file of documents, as text."""

    name: str
    text: str


class ApplyMode(StrEnum):
    """What to do with documents."""

    APPLY = "apply"
    DELETE = "delete"
    DIFF = "diff"


class ApplyRequest(Wire):
    """Apply, delete or compare documents; all or none."""

    sources: list[DocumentSource]
    mode: ApplyMode = ApplyMode.APPLY
    dry_run: bool = False


class DocumentChange(Wire):
    """What became of one document: created, updated, unchanged or deleted; ``diff`` as unified text."""

    document: str
    action: str
    diff: str = ""


class ApplyReply(Wire):
    """All changes, in the order of the documents, and what deserves a second look."""

    changes: list[DocumentChange]
    warnings: list[str] = Field(default_factory=list)


class StatusRequest(Wire):
    """Ask how the gateway is; in the cloud, how all of them are, a page at a time."""

    gateway: str = ""
    after: Annotated[str, Field(description="the last gateway of the page before")] = ""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class ChildStatus(Wire):
    """One child process of the hub."""

    name: str
    running: bool
    pid: int = 0
    restarts: int = 0
    mapper: Annotated[str, Field(description="the mapper that has this process for itself")] = ""
    limits: Annotated[str, Field(description="what holds its memory and processor, and at what")] = ""
    last_end: Annotated[str, Field(description="how its last run ended, if one did")] = ""
    last_end_at: Millis = 0
    problem: Annotated[str, Field(description="what it found wrong with itself")] = ""


class ConnectionStatus(Wire):
    """One connection of a mapper, as its twin of kind mapper has it."""

    name: str
    mapper: str = ""
    state: Annotated[str, Field(description="connecting, connected, lost, misconfigured, simulated; mapper_down")] = ""
    devices: int = 0
    devices_silent: int = 0
    requests: int = 0
    errors: int = 0
    connects: int = 0
    latency_ms: float = 0.0
    last_error: str = ""


class SyncBody(Wire):
    """How the gateway stands with its cloud. ``unsent`` leaves are on disk here and not in the cloud."""

    state: Annotated[str, Field(description="off, offline, connecting, resync or live")]
    since: Millis
    cloud: Annotated[str, Field(description="host:port of its broker")] = ""
    why: Annotated[str, Field(description="what keeps it from being live")] = ""
    unsent: int = 0
    oldest_unsent_s: Annotated[float, Field(description="age of the oldest unsent leaf")] = 0.0
    lag_s: Annotated[float, Field(description="how long ago the cloud last had all")] = 0.0
    last_resync: Annotated[Millis, Field(description="when both sides were last found equal")] = 0
    last_resync_s: Annotated[float, Field(description="how long that took")] = 0.0
    refused_documents: Annotated[
        dict[str, str], Field(description="documents of the cloud that cannot be served here, and why")
    ] = Field(default_factory=dict)


class StatusReply(Wire):
    """How the gateway is."""

    gateway: str
    version: str
    pid: int
    started_at: Millis
    state_folder: str
    broker: str
    twins: int
    devices: int
    devices_bad: list[str] = Field(default_factory=list)
    devices_simulated: list[str] = Field(default_factory=list)
    reports: int = 0
    updates: int = 0
    refused: int = 0
    children: list[ChildStatus] = Field(default_factory=list)
    mappers_disabled: Annotated[list[str], Field(description="by their Mapper document")] = Field(default_factory=list)
    connections: list[ConnectionStatus] = Field(default_factory=list)
    sync: SyncBody | None = None
    web: Annotated[str, Field(description="address of the dashboard; empty: there is none")] = ""
    alarms: list[str] = Field(default_factory=list)
    firing: Annotated[list[str], Field(description="alarms of rules that fire and that nobody has acknowledged")] = (
        Field(default_factory=list)
    )
