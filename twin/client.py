"""The one typed client of the API, on the gateway and in the cloud.

async with TwinClient(link, account="me", client="1") as client:
    twin = await client.get("plant/tank")
    await client.set("plant/tank", {"valve": 40})
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel

from twin.errors import EdgetwinError, RequestTimeout, error_from_wire
from twin.link import Link, Message, Unsubscribe
from twin.wire import topics
from twin.wire.api import (
    ApplyMode,
    ApplyReply,
    ApplyRequest,
    DocumentSource,
    ExplainReply,
    ExplainRequest,
    GetRequest,
    HistoryReply,
    HistoryRequest,
    QueryReply,
    QueryRequest,
    Reply,
    SetReply,
    SetRequest,
    StatusReply,
    StatusRequest,
    TwinBody,
    TwinList,
    Verb,
    WatchEvent,
    WatchRequest,
)
from twin.wire.codec import decode, encode

RENEW_S: Final = 20.0
MAX_WAITING_EVENTS: Final = 10_000

R = TypeVar("R", bound=BaseModel)


class TwinClient:
    """Asks the verbs over a link. ``account`` is the broker account, ``client`` tells apart clients that share it."""

    def __init__(self, link: Link, *, account: str, client: str, timeout_s: float = 10.0) -> None:
        self._link = link
        self._topic = topics.reply(account, client)
        self._timeout_s = timeout_s
        self._numbers = itertools.count(1)
        self._waiting: dict[bytes, asyncio.Queue[Reply]] = {}
        self._unsubscribe: Unsubscribe | None = None

    async def __aenter__(self) -> Self:
        """Listen for replies. Raises LinkError if the broker does not let us."""
        self._unsubscribe = await self._link.subscribe(self._topic, self._on_reply)
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Stop listening."""
        if self._unsubscribe is not None:
            self._unsubscribe()

    async def get(self, twin: str) -> TwinBody:
        """One twin. Raises UnknownTwin."""
        reply = await self._ask(Verb.GET, GetRequest(twin=twin), TwinList)
        return reply.twins[0]

    async def list(self, *, kind: str = "", namespace: str = "") -> AsyncIterator[TwinBody]:
        """All twins of a kind and namespace, page by page, in the order of their keys."""
        after = ""
        while True:
            request = GetRequest(kind=kind, namespace=namespace, after=after)
            page = await self._ask(Verb.GET, request, TwinList)
            for twin in page.twins:
                yield twin
            if not (after := page.after):
                return

    async def set(
        self, twin: str, desired: Mapping[str, Any], *, unset: Sequence[str] = (), version: int | None = None
    ) -> int:
        """Write desired values and return the new version; they are on disk then. Raises Refused."""
        request = SetRequest(twin=twin, desired=dict(desired), unset=list(unset), version=version)
        return (await self._ask(Verb.SET, request, SetReply)).version

    async def query(self, text: str, *, limit: int = 1000, after: str = "") -> QueryReply:
        """Ask for a page of rows of the twins that fit. Raises InvalidQuery with the position, QueryAborted."""
        return await self._ask(Verb.QUERY, QueryRequest(query=text, limit=limit, after=after), QueryReply)

    async def explain(self, twin: str, name: str) -> ExplainReply:
        """Why a property has the value it has."""
        return await self._ask(Verb.EXPLAIN, ExplainRequest(twin=twin, property=name), ExplainReply)

    async def history(self, request: HistoryRequest) -> HistoryReply:
        """One page of readings. Raises UnknownTwin, UnknownProperty, HistoryOff."""
        return await self._ask(Verb.HISTORY, request, HistoryReply)

    async def apply(
        self, sources: Sequence[DocumentSource], *, mode: ApplyMode = ApplyMode.APPLY, dry_run: bool = False
    ) -> ApplyReply:
        """Apply, delete or compare documents, all or none. Raises InvalidDocuments with every problem."""
        request = ApplyRequest(sources=list(sources), mode=mode, dry_run=dry_run)
        return await self._ask(Verb.APPLY, request, ApplyReply)

    async def status(self) -> StatusReply:
        """How the gateway is."""
        return await self._ask(Verb.STATUS, StatusRequest(), StatusReply)

    @contextlib.asynccontextmanager
    async def watch(
        self, twin: str = "", *, kind: str = "", namespace: str = ""
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Follow twins: ``async with client.watch(...) as events: async for event in events``.

        First the twins as they are, then an event with ``ready``, then each change. A reader that falls
        10 000 events behind loses the newest; the twin itself is never behind.
        """
        request = WatchRequest(twin=twin, kind=kind, namespace=namespace)
        correlation, queue = self._new_request()
        self._send(Verb.WATCH, request, correlation)
        renewal = asyncio.get_running_loop().create_task(self._renew(request, correlation))
        try:
            yield self._events(queue)
        finally:
            renewal.cancel()
            self._waiting.pop(correlation, None)
            with contextlib.suppress(EdgetwinError):  # the hub's lease ends it anyway
                self._send(Verb.WATCH, request.model_copy(update={"stop": True}), correlation)

    async def _events(self, queue: asyncio.Queue[Reply]) -> AsyncIterator[WatchEvent]:
        ready = False
        while True:
            reply = await self._next(queue, Verb.WATCH, None if ready else self._timeout_s)
            event = _result(reply, WatchEvent)
            ready = ready or event.ready
            yield event

    async def _renew(self, request: WatchRequest, correlation: bytes) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            with contextlib.suppress(EdgetwinError):  # the next renewal may do better
                self._send(Verb.WATCH, request.model_copy(update={"renew": True}), correlation)

    async def _ask(self, verb: Verb, request: BaseModel, model: type[R]) -> R:
        correlation, queue = self._new_request()
        try:
            self._send(verb, request, correlation)
            return _result(await self._next(queue, verb, self._timeout_s), model)
        finally:
            del self._waiting[correlation]

    def _new_request(self) -> tuple[bytes, asyncio.Queue[Reply]]:
        correlation = str(next(self._numbers)).encode()
        queue: asyncio.Queue[Reply] = asyncio.Queue(MAX_WAITING_EVENTS)
        self._waiting[correlation] = queue
        return correlation, queue

    def _send(self, verb: Verb, request: BaseModel, correlation: bytes) -> None:
        topic = topics.request(verb)
        self._link.publish(topic, encode(request), qos=1, response_topic=self._topic, correlation=correlation)

    async def _next(self, queue: asyncio.Queue[Reply], verb: Verb, timeout_s: float | None) -> Reply:
        try:
            async with asyncio.timeout(timeout_s):  # wait_for of Python 3.11 may swallow a cancellation
                return await queue.get()
        except TimeoutError:
            text = f"no answer to {verb} in {timeout_s:g} s"
            raise RequestTimeout(text, remedy="`edgetwin status` shows whether the hub runs.") from None

    def _on_reply(self, message: Message) -> None:
        queue = self._waiting.get(message.correlation)
        if queue is None:
            return
        try:
            reply = decode(Reply, message.payload, what="reply", max_bytes=64 * 1024 * 1024)
        except EdgetwinError as error:
            reply = Reply.model_validate({"error": {"code": error.code, "message": error.message}})
        with contextlib.suppress(asyncio.QueueFull):
            queue.put_nowait(reply)


def _result(reply: Reply, model: type[R]) -> R:
    if reply.error is not None:
        raise error_from_wire(reply.error.code, reply.error.message, reply.error.remedy)
    return model.model_validate(reply.result)
