"""The verbs over HTTP, with an OpenAPI description: for dashboards and scripts. Each asks over MQTT in the user's name.

request ──> user of the API token ──> TwinClient of that account ──> a worker ──> the answer, or the error, as JSON
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Final, Literal, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import Field

from cloudsync.http_errors import TooMany, answer_of, body_of
from cloudsync.identity.bearer import Bearer, Caller
from twin.client import TwinClient
from twin.errors import EdgetwinError, InvalidMessage
from twin.wire.api import (
    ApplyReply,
    ApplyRequest,
    ExplainReply,
    GetRequest,
    HistoryReply,
    HistoryRequest,
    QueryReply,
    QueryRequest,
    SetReply,
    SetRequest,
    TwinBody,
    TwinList,
)
from twin.wire.cloud_api import (
    AuditReply,
    AuditRequest,
    CloudStatusReply,
    SetWhereReply,
    SetWhereRequest,
    WorkloadsReply,
    WorkloadsRequest,
)
from twin.wire.codec import MAX_REQUEST_BYTES, decode, encode
from twin.wire.messages import ErrorBody, Wire

PREFIX: Final = "/api/v1"
MAX_STREAMS: Final = 200
"""Watches of one web process at once."""
KEEP_ALIVE_S: Final = 15.0

ClientOf = Callable[[str], Awaitable[TwinClient]]
"""The client that asks in the name of an account."""

_ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorBody, "description": "the request is not understood"},
    401: {"model": ErrorBody, "description": "no API token, or one that is not known"},
    403: {"model": ErrorBody, "description": "the role does not allow it"},
    404: {"model": ErrorBody, "description": "there is no such twin"},
    409: {"model": ErrorBody, "description": "the twin is at another version"},
    413: {"model": ErrorBody, "description": "too much in one request"},
    422: {"model": ErrorBody, "description": "refused; nothing was changed"},
    429: {"model": ErrorBody, "description": "too many at once"},
    503: {"model": ErrorBody, "description": "the cloud cannot answer just now"},
}
_BODIES: Final = "application/json"

_Kind = Annotated[str, Path(description="device, shadow, mapper, gateway, pod or route")]
_After = Annotated[str, Query(description="`after` of the page before")]


class SetBody(Wire):
    """Desired values, all or none; see the verb set."""

    desired: dict[str, Any] = Field(default_factory=dict)
    unset: list[str] = Field(default_factory=list)
    version: int | None = None
    expires_ms: Annotated[int, Field(ge=0, le=86_400_000)] = 0


def rest_router(client_of: ClientOf, bearer: Bearer) -> APIRouter:  # noqa: C901  # a list of routes, one after another
    """All routes of the API."""
    made = APIRouter(prefix=PREFIX, tags=["twins"], responses=_ERRORS)
    streams = asyncio.Semaphore(MAX_STREAMS)
    user = Annotated[Caller, Depends(bearer)]

    @made.get("/twins", summary="A page of twins, in the order of their names.")
    async def twins(
        caller: user,
        kind: str = "",
        namespace: str = "",
        gateway: str = "",
        after: _After = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> TwinList:
        request = GetRequest(kind=kind, namespace=namespace, gateway=gateway, after=after, limit=limit)
        return await (await client_of(caller.name)).page(request)

    @made.get("/twins/{kind}/{namespace}/{name}", summary="One twin.")
    async def twin(caller: user, kind: _Kind, namespace: str, name: str) -> TwinBody:
        return await (await client_of(caller.name)).get(f"{kind}/{namespace}/{name}")

    @made.patch(
        "/twins/{kind}/{namespace}/{name}",
        summary="Write desired values; with `expires_ms`, as a command.",
        openapi_extra=_body(SetBody),
    )
    async def set_(caller: user, kind: _Kind, namespace: str, name: str, request: Request) -> SetReply:
        body = await _read(request, SetBody)
        asked = SetRequest(
            twin=f"{kind}/{namespace}/{name}",
            desired=body.desired,
            unset=body.unset,
            version=body.version,
            expires_ms=body.expires_ms,
        )
        return await (await client_of(caller.name)).asked_to_set(asked)

    @made.get("/twins/{kind}/{namespace}/{name}/explain", summary="Why a property has the value it has.")
    async def explain(
        caller: user, kind: _Kind, namespace: str, name: str, property: str
    ) -> ExplainReply:  # the verb's own word
        return await (await client_of(caller.name)).explain(f"{kind}/{namespace}/{name}", property)

    @made.get("/twins/{kind}/{namespace}/{name}/history", summary="A page of readings of one property.")
    async def history(
        caller: user,
        kind: _Kind,
        namespace: str,
        name: str,
        property: str,
        since: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        until: Annotated[int, Query(ge=0, lt=2**53)] = 2**53 - 1,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        after: Annotated[str, Query(pattern=r"^([0-9]{1,16}:[0-9]{1,19})?$")] = "",
    ) -> HistoryReply:
        asked = HistoryRequest(
            twin=f"{kind}/{namespace}/{name}", property=property, since=since, until=until, limit=limit, after=after
        )
        return await (await client_of(caller.name)).history(asked)

    @made.post("/query", summary="Rows of the twins that fit a query.", openapi_extra=_body(QueryRequest))
    async def query(caller: user, request: Request) -> QueryReply:
        asked = await _read(request, QueryRequest)
        client = await client_of(caller.name)
        return await client.query(asked.query, limit=asked.limit, after=asked.after)

    @made.post(
        "/set-where", summary="Write desired values of all twins that fit.", openapi_extra=_body(SetWhereRequest)
    )
    async def set_where(caller: user, request: Request) -> SetWhereReply:
        asked = await _read(request, SetWhereRequest)
        client = await client_of(caller.name)
        errors = []
        last = SetWhereReply(matched=0)
        async for last in client.set_where(asked.where, asked.desired, unset=asked.unset, dry_run=asked.dry_run):
            errors += last.errors
        return last.model_copy(update={"errors": errors})

    @made.post("/apply", summary="Apply, delete or compare documents.", openapi_extra=_body(ApplyRequest))
    async def apply(caller: user, request: Request) -> ApplyReply:
        asked = await _read(request, ApplyRequest)
        client = await client_of(caller.name)
        return await client.apply(asked.sources, mode=asked.mode, dry_run=asked.dry_run)

    @made.get("/status", summary="How the cloud and its gateways are, a page of them.")
    async def status(
        caller: user, gateway: str = "", after: _After = "", limit: Annotated[int, Query(ge=1, le=1000)] = 100
    ) -> CloudStatusReply:
        return await (await client_of(caller.name)).cloud_status(gateway=gateway, after=after, limit=limit)

    @made.get("/workloads", summary="What the cloud itself is to have run, and where it is, a page.")
    async def workloads(
        caller: user,
        kind: Literal["pods", "deployments"] = "pods",
        namespace: str = "",
        after: _After = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> WorkloadsReply:
        asked = WorkloadsRequest(kind=kind, namespace=namespace, after=after, limit=limit)
        return await (await client_of(caller.name)).workloads(asked)

    @made.get("/audit", summary="Who changed what, the newest entries.")
    async def audit(
        caller: user,
        account: str = "",
        since: Annotated[int, Query(ge=0, lt=2**53)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> AuditReply:
        asked = AuditRequest(account=account, since=since, limit=limit)
        return await (await client_of(caller.name)).audit(asked)

    @made.get(
        "/watch",
        summary="Twins, or rows of a query, and then each change, as server-sent events.",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}, "description": "one WatchEvent in each event"}},
    )
    async def watch(
        caller: user, twin: str = "", kind: str = "", namespace: str = "", gateway: str = "", query: str = ""
    ) -> StreamingResponse:
        if streams.locked():
            message = f"{MAX_STREAMS} watches are open"
            raise TooMany(message, remedy="Close those that nobody reads, or watch over MQTT.")
        client = await client_of(caller.name)

        async def events() -> AsyncIterator[bytes]:
            async with (
                streams,
                client.watch(twin, kind=kind, namespace=namespace, gateway=gateway, query=query) as found,
            ):
                try:
                    async for text in _with_signs_of_life(found):
                        yield text
                except EdgetwinError as error:
                    body = ErrorBody(code=error.code, message=error.message, remedy=error.remedy)
                    yield b"event: error\ndata: " + encode(body) + b"\n\n"

        return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    return made


def refuse_clearly(app: FastAPI) -> None:
    """Answer parameters that do not fit in the form of every other error."""

    async def of_parameters(_: Request, error: Exception) -> Any:
        assert isinstance(error, RequestValidationError)
        problem = error.errors()[0]
        where = ".".join(str(step) for step in problem["loc"][1:])
        message = f"{where}: {problem['msg']}" if where else str(problem["msg"])
        return answer_of(InvalidMessage(message, remedy="GET /openapi.json says what each route takes."))

    app.add_exception_handler(RequestValidationError, of_parameters)


W = TypeVar("W", bound=Wire)


async def _read(request: Request, model: type[W]) -> W:
    """The body, through the one strict door from bytes to messages."""
    return decode(model, await body_of(request, MAX_REQUEST_BYTES), what="request")


def _body(model: type[Wire]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {_BODIES: {"schema": model.model_json_schema()}}}}


async def _with_signs_of_life(events: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Events as text, and a comment when there was none for a while, so that a reader who left is noticed."""
    waiting: asyncio.Task[Any] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({waiting}, timeout=KEEP_ALIVE_S)
            if not done:
                yield b": still here\n\n"
                continue
            task, waiting = waiting, None
            try:
                event = task.result()
            except StopAsyncIteration:
                return
            yield b"data: " + encode(event) + b"\n\n"
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
