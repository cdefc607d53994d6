"""The one typed client of the API, on the gateway and, with ``cloud=True``, in the cloud.

async with TwinClient(link, account="me", client="1") as client:
    twin = await client.get("plant/tank")
    await client.set("plant/tank", {"valve": 40})
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from pydantic import BaseModel

from twin.errors import EdgetwinError, LinkError, NotAllowed, RequestTimeout, error_from_wire
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
from twin.wire.cloud_api import (
    AuditReply,
    AuditRequest,
    CloudStatusReply,
    KeepWatchRequest,
    SetWhereReply,
    SetWhereRequest,
    WorkloadsReply,
    WorkloadsRequest,
)
from twin.wire.codec import decode, encode
from twin.wire.mesh import MeshReply, MeshRequest
from twin.wire.messages import ErrorBody

RENEW_S: Final = 20.0
RENEW_CLOUD_S: Final = 5.0
"""A worker of the cloud may die, and its watches with it: so often does the client ask whether its own lives."""
LOST_AFTER_S: Final = 12.0
AGAIN_S: Final = 0.2
"""A request for which the broker had nobody is sent again so much later: a hub that comes back, or its broker, does
not subscribe at once.
"""
MAX_WAITING_EVENTS: Final = 10_000

R = TypeVar("R", bound=BaseModel)


class TwinClient:
    """Asks the verbs over a link. ``account`` is the broker account, ``client`` tells apart clients that share it."""

    def __init__(self, link: Link, *, account: str, client: str, timeout_s: float = 10.0, cloud: bool = False) -> None:
        self._link = link
        self._account = account
        self._cloud = cloud
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

    async def list(self, *, kind: str = "", namespace: str = "", gateway: str = "") -> AsyncIterator[TwinBody]:
        """All twins of a kind, namespace and gateway, page by page, in the order of their keys."""
        after = ""
        while True:
            page = await self.page(GetRequest(kind=kind, namespace=namespace, gateway=gateway, after=after))
            for twin in page.twins:
                yield twin
            if not (after := page.after):
                return

    async def page(self, request: GetRequest) -> TwinList:
        """One page of twins."""
        return await self._ask(Verb.GET, request, TwinList)

    async def set(
        self, twin: str, desired: Mapping[str, Any], *, unset: Sequence[str] = (), version: int | None = None
    ) -> int:
        """Write desired values and return the new version; they are on disk then. Raises Refused."""
        request = SetRequest(twin=twin, desired=dict(desired), unset=list(unset), version=version)
        return (await self.asked_to_set(request)).version

    async def command(
        self, twin: str, desired: Mapping[str, Any], *, expires_s: float, version: int | None = None
    ) -> str:
        """Have the gateway write desired values before ``expires_s`` is over, once; returns the command's id.

        Only in the cloud. Raises CommandEnded if it expired or the gateway refused.
        """
        expires_ms = max(1, round(expires_s * 1000))
        request = SetRequest(twin=twin, desired=dict(desired), version=version, expires_ms=expires_ms)
        return (await self.asked_to_set(request)).command

    async def asked_to_set(self, request: SetRequest) -> SetReply:
        """``set`` or ``command``, as the request says."""
        return await self._ask(Verb.SET, request, SetReply, timeout_s=request.expires_ms / 1000 + self._timeout_s)

    async def set_where(
        self, where: str, desired: Mapping[str, Any], *, unset: Sequence[str] = (), dry_run: bool = False
    ) -> AsyncIterator[SetWhereReply]:
        """Write desired values of all twins that fit; gives the progress, which at last is ``finished``."""
        request = SetWhereRequest(where=where, desired=dict(desired), unset=list(unset), dry_run=dry_run)
        correlation, queue = self._new_request()
        try:
            self._send(Verb.SET_WHERE, request, correlation)
            finished = False
            while not finished:
                reply = _result(await self._next(queue, Verb.SET_WHERE, self._timeout_s), SetWhereReply)
                finished = reply.finished
                yield reply
        finally:
            del self._waiting[correlation]

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

    async def mesh(self, request: MeshRequest) -> MeshReply:
        """How the mesh of a gateway is, and what its twins do not say."""
        return await self._ask(Verb.MESH, request, MeshReply)

    async def cloud_status(self, *, gateway: str = "", after: str = "", limit: int = 100) -> CloudStatusReply:
        """How the cloud and its gateways are, a page of them."""
        request = StatusRequest(gateway=gateway, after=after, limit=limit)
        return await self._ask(Verb.STATUS, request, CloudStatusReply)

    async def audit(self, request: AuditRequest) -> AuditReply:
        """Who changed what in the cloud."""
        return await self._ask(Verb.AUDIT, request, AuditReply)

    async def workloads(self, request: WorkloadsRequest) -> WorkloadsReply:
        """What the cloud itself is to have run, and where it is, a page of it."""
        return await self._ask(Verb.WORKLOADS, request, WorkloadsReply)

    @contextlib.asynccontextmanager
    async def watch(
        self,
        twin: str = "",
        *,
        kind: str = "",
        namespace: str = "",
        gateway: str = "",
        query: str = "",
        every_ms: int = 0,
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Follow twins: ``async with client.watch(...) as events: async for event in events``.

        First the twins, or in the cloud the rows of a query, as they are, then an event with ``ready``, then each
        change. A reader that falls 10 000 events behind loses the newest; the twin itself is never behind.
        With ``every_ms`` a gateway tells of each twin at most so often, many in one event.
        """
        request = WatchRequest(
            twin=twin, kind=kind, namespace=namespace, gateway=gateway, query=query, every_ms=every_ms
        )
        watch = _Watched(request, *self._new_request())
        self._send(Verb.WATCH, request, watch.correlation)
        renewal = asyncio.get_running_loop().create_task(self._renew(watch))
        try:
            yield self._events(watch)
        finally:
            renewal.cancel()
            self._waiting.pop(watch.correlation, None)
            with contextlib.suppress(EdgetwinError):  # the hub's lease ends it anyway
                self._keep(watch, stop=True)

    async def _events(self, watch: _Watched) -> AsyncIterator[WatchEvent]:
        ready = False
        while True:
            wait_s = (LOST_AFTER_S if self._cloud else None) if ready else self._timeout_s
            try:
                event = _result(await self._next(watch.queue, Verb.WATCH, wait_s), WatchEvent)
            except RequestTimeout:
                if not ready:
                    raise
                self._begin_again(watch)
                ready = False
                event = WatchEvent(restarted=True)
            ready = ready or event.ready
            if not event.alive:
                yield event

    def _begin_again(self, watch: _Watched) -> None:
        """Ask anew, under another correlation, lest a worker that was only slow goes on as well."""
        self._waiting.pop(watch.correlation, None)
        watch.correlation, watch.queue = self._new_request()
        self._send(Verb.WATCH, watch.request, watch.correlation)

    async def _renew(self, watch: _Watched) -> None:
        while True:
            await asyncio.sleep(RENEW_CLOUD_S if self._cloud else RENEW_S)
            with contextlib.suppress(EdgetwinError):  # the next renewal may do better
                self._keep(watch)

    def _keep(self, watch: _Watched, *, stop: bool = False) -> None:
        if self._cloud:
            self._send(Verb.RENEW, KeepWatchRequest(stop=stop), watch.correlation)
        else:
            update = {"stop": True} if stop else {"renew": True}
            self._send(Verb.WATCH, watch.request.model_copy(update=update), watch.correlation)

    async def _ask(self, verb: Verb, request: BaseModel, model: type[R], *, timeout_s: float | None = None) -> R:
        correlation, queue = self._new_request()
        try:
            self._send(verb, request, correlation)
            return _result(await self._next(queue, verb, timeout_s or self._timeout_s), model)
        finally:
            del self._waiting[correlation]

    def _new_request(self) -> tuple[bytes, asyncio.Queue[Reply]]:
        correlation = str(next(self._numbers)).encode()
        queue: asyncio.Queue[Reply] = asyncio.Queue(MAX_WAITING_EVENTS)
        self._waiting[correlation] = queue
        return correlation, queue

    def _send(self, verb: Verb, request: BaseModel, correlation: bytes) -> None:
        topic = topics.cloud_request(verb, self._account) if self._cloud else topics.request(verb)
        queue = self._waiting.get(correlation)

        def refused(reason: str) -> None:
            text = f"account {self._account} may not ask for {verb}: the broker says {reason}"
            error = ErrorBody(code=NotAllowed.code, message=text, remedy="Ask with an account whose role allows it.")
            if queue is not None:
                with contextlib.suppress(asyncio.QueueFull):
                    queue.put_nowait(Reply(error=error))

        def unheard() -> None:
            asyncio.get_running_loop().call_later(AGAIN_S, again)

        def again() -> None:
            if queue is not None and self._waiting.get(correlation) is queue:
                with contextlib.suppress(LinkError):  # then its time runs out
                    self._send(verb, request, correlation)

        self._link.publish(
            topic,
            encode(request),
            qos=1,
            response_topic=self._topic,
            correlation=correlation,
            refused=refused,
            unheard=unheard,
        )

    async def _next(self, queue: asyncio.Queue[Reply], verb: Verb, timeout_s: float | None) -> Reply:
        try:
            async with asyncio.timeout(timeout_s):  # wait_for of Python 3.11 may swallow a cancellation
                return await queue.get()
        except TimeoutError:
            text = f"no answer to {verb} in {timeout_s:g} s"
            remedy = "`edgetwin cloud status` shows whether the cloud runs, and whether this account may ask."
            raise RequestTimeout(
                text, remedy=remedy if self._cloud else "`edgetwin status` shows whether the hub runs."
            ) from None

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


@dataclass(slots=True)
class _Watched:
    """A watch that is kept; another correlation when it had to begin again."""

    request: WatchRequest
    correlation: bytes
    queue: asyncio.Queue[Reply]


def _result(reply: Reply, model: type[R]) -> R:
    if reply.error is not None:
        raise error_from_wire(reply.error.code, reply.error.message, reply.error.remedy)
    return model.model_validate(reply.result)
