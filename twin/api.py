"""The verbs, served: requests in over a link, the engine asked, replies out. One server for both sides."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import (
    EdgetwinError,
    InvalidMessage,
    InvalidName,
    LinkError,
    NotAllowed,
)
from twin.link import Link, Message
from twin.metrics.model import Metric, MetricType, Samples, Times
from twin.model import TwinKey
from twin.view import explanation, twin_body
from twin.watches import Filter, Watches
from twin.wire import topics
from twin.wire.api import (
    ExplainReply,
    ExplainRequest,
    GetRequest,
    Reply,
    SetReply,
    SetRequest,
    TwinList,
    Verb,
    WatchRequest,
)
from twin.wire.codec import decode, encode
from twin.wire.messages import ErrorBody

log = logging.getLogger(__name__)

MAX_REQUESTS: Final = 256
"""Requests under way at once; more are refused, so that no client can fill the memory."""

Q = TypeVar("Q", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and where the replies go."""

    account: str
    response_topic: str
    correlation: bytes


@dataclass(frozen=True, slots=True)
class Served(Generic[Q]):
    """One verb: the model of its requests, and what answers them (None: the replies were sent already)."""

    request: type[Q]
    answer: Callable[[Q, Caller], Awaitable[BaseModel | None]]


@dataclass(frozen=True, slots=True)
class Door:
    """Where requests come in, and who asks: on a gateway the response topic says it, in the cloud the request's own.

    ``caller`` may raise NotAllowed, which is answered, and InvalidName, which is not.
    """

    filters: tuple[str, ...]
    caller: Callable[[Message], Caller]


def _named_by_reply(message: Message) -> Caller:
    return Caller(message.response_topic.split("/")[3], message.response_topic, message.correlation)


LOCAL_DOOR: Final = Door((topics.ALL_REQUESTS,), _named_by_reply)


class VerbTimes:
    """How long requests took by verb, and which were refused with which code."""

    def __init__(self) -> None:
        self.times: dict[str, Times] = {}
        self.refused: dict[tuple[str, str], int] = {}

    def add(self, verb: str, time_s: float, code: str = "") -> None:
        """Count one; the ``code`` of its error, if it was one."""
        self.times.setdefault(verb, Times()).add(time_s)
        if code:
            self.refused[verb, code] = self.refused.get((verb, code), 0) + 1


API_TIMES: Final = Metric("edgetwin_api_seconds", MetricType.HISTOGRAM, "How long requests of a verb took", ("verb",))
API_REFUSED: Final = Metric(
    "edgetwin_api_refused_total", MetricType.COUNTER, "Requests that were answered with an error", ("verb", "code")
)
VERB_METRICS: Final = (API_TIMES, API_REFUSED)
UNKNOWN_VERB: Final = "unknown"


def put_verbs(samples: Samples, verbs: VerbTimes) -> None:
    """What is known of the verbs that a server serves."""
    for verb, times in verbs.times.items():
        samples.put_times(API_TIMES, times, verb)
    for (verb, code), count in verbs.refused.items():
        samples.put(API_REFUSED, count, verb, code)


class ApiServer:
    """Serves verbs over a link."""

    def __init__(self, link: Link, verbs: Mapping[Verb, Served[Any]], *, door: Door = LOCAL_DOOR) -> None:
        self._link = link
        self._verbs = verbs
        self._door = door
        self._under_way: set[asyncio.Task[None]] = set()
        self._stops: list[Callable[[], None]] = []
        self.verbs = VerbTimes()

    async def open(self) -> None:
        """Start to take requests."""
        for one in self._door.filters:
            self._stops.append(await self._link.subscribe(one, self._on_request))

    async def close(self) -> None:
        """Take no more, and give up what is under way."""
        for stop in self._stops:
            stop()
        self._stops.clear()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _on_request(self, message: Message) -> None:
        if not topics.is_reply(message.response_topic):
            log.debug("a request on %s has no response topic below et/1/reply; dropped", message.topic)
            return
        try:
            caller = self._door.caller(message)
        except NotAllowed as refused:
            send_reply(self._link, _named_by_reply(message), refused)
            return
        except InvalidName as error:
            log.debug("a request is dropped: %s", error.message)
            return
        if len(self._under_way) >= MAX_REQUESTS:
            busy = EdgetwinError(f"{MAX_REQUESTS} requests are under way", remedy="Ask again in a second.")
            send_reply(self._link, caller, busy)
            return
        task = asyncio.get_running_loop().create_task(self._serve(message, caller))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _serve(self, message: Message, caller: Caller) -> None:
        verb, began_s, code = topics.parse_request(message.topic), time.monotonic(), ""
        try:
            served = self._verbs.get(Verb(verb)) if verb in set(Verb) else None
            if served is None:
                text = f"there is no verb {verb!r} here"
                raise InvalidMessage(text, remedy="Verbs are " + ", ".join(sorted(self._verbs)) + ".")
            request = decode(served.request, message.payload, what=f"request {verb}")
            answer = await served.answer(request, caller)
        except EdgetwinError as error:
            code = error.code
            send_reply(self._link, caller, error)
        except Exception:  # a supervisor boundary: one bad request must not end the hub
            log.exception("request %s failed", verb)
            internal = EdgetwinError(f"request {verb} failed inside the hub", remedy="The hub's log has the reason.")
            code = internal.code
            send_reply(self._link, caller, internal)
        else:
            if answer is not None:
                send_reply(self._link, caller, answer)
        self.verbs.add(verb if verb in self._verbs else UNKNOWN_VERB, time.monotonic() - began_s, code)


def send_reply(link: Link, caller: Caller, answer: BaseModel | EdgetwinError, *, strict: bool = False) -> None:
    """Send one reply to a caller. Raises LinkError only if it is ``strict``: else a time-out tells the caller."""
    if isinstance(answer, EdgetwinError):
        reply = Reply(error=ErrorBody(code=answer.code, message=answer.message, remedy=answer.remedy))
        payload = encode(reply)
    else:
        payload = b'{"result":%b}' % encode(answer)  # a Reply, without turning the answer into a dict first
    try:
        link.publish(caller.response_topic, payload, qos=1, correlation=caller.correlation)
    except (LinkError, InvalidName) as error:
        if strict:
            raise
        log.debug("no reply to %s: %s", caller.account, error.message)


class TwinVerbs:
    """get, set, watch and explain on an engine."""

    def __init__(self, engine: TwinEngine, link: Link, clock: Clock) -> None:
        self._engine = engine
        self._watches = Watches(engine, clock, lambda caller, event: send_reply(link, caller, event, strict=True))

    def verbs(self) -> dict[Verb, Served[Any]]:
        """What an ApiServer is to serve."""
        return {
            Verb.GET: Served(GetRequest, self.get),
            Verb.SET: Served(SetRequest, self.set),
            Verb.WATCH: Served(WatchRequest, self._watches.watch),
            Verb.EXPLAIN: Served(ExplainRequest, self.explain),
        }

    async def get(self, request: GetRequest, _: Caller) -> TwinList:
        """One twin, or a page of them; nothing that is not on disk yet."""
        await self._engine.decided()
        if request.twin:
            return TwinList(twins=[twin_body(self._engine.document(TwinKey.parse(request.twin)))])
        wanted = Filter.of(request)
        after = TwinKey.parse(request.after) if request.after else None
        keys = [key for key in self._engine if wanted.fits_twin(self._engine, key) and (after is None or key > after)]
        page = keys[: request.limit]
        more = str(page[-1]) if len(keys) > len(page) else ""
        return TwinList(twins=[twin_body(self._engine.document(key)) for key in page], after=more)

    async def set(self, request: SetRequest, caller: Caller) -> SetReply:
        """Desired values, answered when they are on disk."""
        key = TwinKey.parse(request.twin)
        if not request.desired and not request.unset:
            text = f"request set of {key} names no property"
            raise InvalidMessage(text, remedy='Send {"twin": ..., "desired": {"property": value}}.')
        commit = self._engine.set_desired(
            key, request.desired, unset=request.unset, by=caller.account, version=request.version
        )
        version = self._engine.document(key).version
        await commit.stored()
        return SetReply(version=version)

    async def explain(self, request: ExplainRequest, _: Caller) -> ExplainReply:
        """Why a property has the value it has."""
        await self._engine.decided()
        key = TwinKey.parse(request.twin)
        return explanation(self._engine.document(key), key, request.property)
