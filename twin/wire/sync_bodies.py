"""The messages between gateway and cloud as they stand in JSON; ``twin.exchange`` says what they mean.

Rows of one twin stand together, in columns: names, values, ticks. Places of a message that would repeat are said once.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict, StrictBool, StrictFloat, StrictInt, StrictStr

from twin.exchange import Outcome, RefusedFor
from twin.history import Why
from twin.model import Quality, Reason
from twin.wire.messages import Wire

_LIMIT = 2**63
Tick = Annotated[int, Strict(), Field(ge=0, lt=_LIMIT, description="a site's own counter")]
Step = Annotated[int, Strict(), Field(gt=-_LIMIT, lt=_LIMIT)]
Id = Annotated[str, Strict(), Field(min_length=1, max_length=256)]
Uid = Annotated[str, Strict(), Field(max_length=256)]
PlaceBody = Annotated[tuple[StrictStr, Uid], Field(description="kind/namespace/name and uid: one life of a twin")]
MarkBody = Annotated[
    tuple[Annotated[int, Strict(), Field(ge=0)], Quality, Reason],
    Field(description="place in the columns, quality and reason of a value that is not good"),
]


class StandingBody(Wire):
    """Where a site stands: its own starts with the first tick of each, the peer's that it met, and its cursor."""

    runs: list[tuple[Id, Step]] = Field(default_factory=list)
    met: list[Id] = Field(default_factory=list)
    cursor: Tick = 0
    top: Tick = 0


class RowsBody(Wire):
    """Slots of one twin that one account wrote, in columns of one length."""

    of: Annotated[Literal["reported", "edge", "cloud"], Field(description="reported, or desired by which site")] = (
        "reported"
    )
    by: StrictStr = ""
    names: list[StrictStr]
    values: Annotated[list[Any], Field(description="JSON values; null where `deleted` says so")]
    ticks: Annotated[list[Step], Field(description="beyond the message's `base`")]
    at: Annotated[list[Step], Field(description="milliseconds beyond tick / 1000; all 0 if left out")] = Field(
        default_factory=list
    )
    seen: Annotated[list[Tick], Field(description="all 0 if left out")] = Field(default_factory=list)
    deleted: Annotated[list[StrictInt], Field(description="places in the columns")] = Field(default_factory=list)
    marks: list[MarkBody] = Field(default_factory=list)


class TwinRowsBody(Wire):
    """Slots of one twin."""

    twin: StrictStr
    uid: Uid = ""
    rows: list[RowsBody]


class SyncHello(Wire):
    """The edge asks for a session."""

    type: Literal["hello"]
    nonce: Id
    standing: StandingBody


class SyncWelcome(Wire):
    """The cloud gives one."""

    type: Literal["welcome"]
    nonce: Id
    session: Id
    standing: StandingBody


class SyncRefusal(Wire):
    """The cloud gives none now."""

    type: Literal["refusal"]
    nonce: Id
    why: RefusedFor
    retry_after_s: Annotated[StrictFloat | StrictInt, Field(ge=0, le=86_400)]


class SyncFrame(Wire):
    """All of the sender's own slots with from < tick <= upto."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["frame"]
    session: Id
    from_: Annotated[Tick, Field(alias="from")]
    upto: Tick
    base: Tick = 0
    twins: list[TwinRowsBody] = Field(default_factory=list)


class SyncAck(Wire):
    """How far the peer's rows are on disk; ``again``: the frame began beyond that."""

    type: Literal["ack"]
    session: Id
    cursor: Tick
    again: StrictBool = False


class SyncDigests(Wire):
    """A hash for every twin of the sender between two places."""

    type: Literal["digests"]
    session: Id
    digests: Annotated[
        list[tuple[StrictStr, Uid, StrictStr]], Field(description="twin, uid, and 16 bytes in base64 without padding")
    ] = Field(default_factory=list)
    recovering: StrictBool = False
    after: PlaceBody | None = None
    upto: PlaceBody | None = None


class SyncTwins(Wire):
    """Whole twins; as an answer to digests also the names of those that the answerer wants."""

    type: Literal["twins"]
    session: Id
    base: Tick = 0
    twins: list[TwinRowsBody] = Field(default_factory=list)
    answer: StrictBool = False
    differing: list[PlaceBody] = Field(default_factory=list)
    upto: PlaceBody | None = None


class RefBody(Wire):
    """Names one document, of any kind."""

    kind: Id
    namespace: Id
    name: Id


class DocumentStateBody(RefBody):
    """What is known of one document; without a uid there is none."""

    uid: Uid = ""
    generation: Tick = 0
    hash: Uid = ""
    gone: list[Id] = Field(default_factory=list)


class DocumentRowBody(DocumentStateBody):
    """The same with its content; without ``raw`` there is none."""

    raw: dict[str, Any] | None = None


class SyncDocumentDigests(Wire):
    """What the edge has of every document, and the twins that it makes without one."""

    type: Literal["document-digests"]
    session: Id
    states: list[DocumentStateBody] = Field(default_factory=list)
    own: list[PlaceBody] = Field(default_factory=list)
    summary: Annotated[Uid, Field(description="one hash over all states, in place of them")] = ""


class SyncDocuments(Wire):
    """Documents that differ or have changed, and those that the sender wants in return."""

    type: Literal["documents"]
    session: Id
    rows: list[DocumentRowBody] = Field(default_factory=list)
    wanted: list[RefBody] = Field(default_factory=list)


class SeriesBody(Wire):
    """Readings of one property in columns of one length, and what is missing of it."""

    twin: StrictStr
    uid: Uid = ""
    property: StrictStr
    at: Annotated[list[Step], Field(description="the first in milliseconds since 1970, then steps")] = Field(
        default_factory=list
    )
    ticks: Annotated[list[Step], Field(description="the first, then steps")] = Field(default_factory=list)
    values: list[Any] = Field(default_factory=list)
    marks: list[MarkBody] = Field(default_factory=list)
    gaps: Annotated[
        list[tuple[Step, Step, Tick, Why]], Field(description="first and last time, how many, why; all of each cause")
    ] = Field(default_factory=list)


class SyncHistory(Wire):
    """A piece of the edge's history; ``from`` and ``upto`` are places in the log ``log``, in the edge's own words."""

    model_config = ConfigDict(serialize_by_alias=True)

    type: Literal["history"]
    session: Id
    log: Uid
    from_: Annotated[Uid, Field(alias="from")] = ""
    upto: Uid
    series: list[SeriesBody] = Field(default_factory=list)


class SyncHistoryAck(Wire):
    """How far the history is on the cloud's disk."""

    type: Literal["history-ack"]
    session: Id
    log: Uid = ""
    upto: Uid = ""


class SyncCommand(Wire):
    """Desired values to be written once, and only before ``expires_at``."""

    type: Literal["command"]
    session: Id
    id: Id
    expires_at: Tick
    twin: StrictStr
    desired: dict[str, Any]
    by: StrictStr = ""


class SyncCommandDone(Wire):
    """What became of a command."""

    type: Literal["command-done"]
    session: Id
    id: Id
    outcome: Outcome
    code: StrictStr = ""
    message: StrictStr = ""
    remedy: StrictStr = ""


class SyncAlive(Wire):
    """Nothing else was to be said for a while."""

    type: Literal["alive"]
    session: Id


class SyncAsk(Wire):
    """The cloud wants the edge to begin a session, or to send digests of its documents."""

    type: Literal["ask"]
    session: Uid = ""
    hello: StrictBool = False
    documents: StrictBool = False
