"""The page as an ASGI application: its files, logging in, what is live, and the few things that a page may ask for.

browser ──> Guard ──> login, session, token of the page ──> TwinClient in the visitor's name ──> the answer as JSON
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from importlib.resources import files
from typing import Final, NoReturn
from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from twin.errors import (
    EdgetwinError,
    InvalidMessage,
    InvalidName,
    LinkError,
    NotAllowed,
    Refused,
    StoreError,
    UnknownTwin,
)
from twin.model import Kind, TwinKey
from twin.page import static
from twin.page.board import Boards
from twin.page.guard import MAX_BODY_BYTES, Guard, refusal
from twin.page.history import chart_of
from twin.page.listing import Wish
from twin.page.live import EventStream, Live, Shared
from twin.page.rate import Attempts
from twin.page.sessions import LIFE_MS, Sessions, csrf, is_csrf
from twin.page.site import Gatekeeper, PageSite, Visitor
from twin.wire.api import SetReply, SetRequest
from twin.wire.codec import decode

MAX_STREAMS: Final = 60
"""Pages that are open at once."""
BODY_S: Final = 10.0
MAX_LOG_LINES: Final = 1000
_COOKIE: Final = "edgetwin"
_STATUSES: Final = (
    (InvalidMessage, 400),
    (InvalidName, 400),
    (UnknownTwin, 404),
    (NotAllowed, 403),
    (Refused, 422),
    (LinkError, 503),
    (StoreError, 503),
)
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}


class LoginBody(BaseModel):
    """Who wants to log in; a cloud goes by the secret alone."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=200)
    secret: str = Field(max_length=2000, repr=False)


class Page:
    """One page and everybody who looks at it. ``names`` are the hosts it answers to, ``secure`` if it has TLS."""

    def __init__(
        self, site: PageSite, gatekeeper: Gatekeeper, sessions: Sessions, *, names: Iterable[str], secure: bool
    ) -> None:
        self._site = site
        self._gatekeeper = gatekeeper
        self._sessions = sessions
        self._secure = secure
        self._cookie = f"__Host-{_COOKIE}" if secure else _COOKIE
        self._boards = Boards()
        self._parts: dict[str, dict[str, Shared]] = {}
        self._attempts = Attempts(time.monotonic)
        self._hashing = asyncio.Lock()
        self.streams = 0
        """Pages that are open."""
        self.app: Final[ASGIApp] = Guard(self._made(), names)
        self.paths: Final = (*(path for path, _ in _static()), "/page/{rest:path}")
        """Where it answers, for an application that it is a part of."""

    async def close(self) -> None:
        """Follow nothing any more."""
        await self._boards.close()

    def _made(self) -> Starlette:
        asked = {
            "/page/me": self._me,
            "/page/live": self._live,
            "/page/explain": self._explain,
            "/page/history": self._history,
            "/page/log": self._log,
        }
        told = {"/page/set": self._set, "/page/logout": self._logout}
        return Starlette(
            routes=[
                *(Route(path, _file(name), methods=["GET"]) for path, name in _static()),
                Route("/page/login", _answering(self._login), methods=["POST"]),
                *(Route(path, _answering(self._in(one, changes=False))) for path, one in asked.items()),
                *(Route(path, _answering(self._in(one, changes=True)), methods=["POST"]) for path, one in told.items()),
            ],
            exception_handlers={404: _nothing, 405: _nothing},
        )

    # -- who asks ------------------------------------------------------------------------------------------------

    async def _login(self, request: Request) -> Response:
        where = request.client.host if request.client is not None else "unknown"
        if wait_s := self._attempts.wait_s(where):
            later = refusal(429, "too_many", "too many logins that were wrong", f"Wait {wait_s:.0f} s.")
            later.headers["retry-after"] = f"{wait_s:.0f}"
            return later
        asked = decode(LoginBody, await _body(request), what="the login")
        async with self._hashing:  # one at a time: each takes 16 MB
            if self._attempts.wait_s(where):
                return refusal(429, "too_many", "too many logins that were wrong", "Wait a minute.")
            holder = await self._gatekeeper.admit(asked.name, asked.secret)
            if holder is None:
                self._attempts.failed(where)
                return refusal(
                    401, "wrong_login", "that is not the login", "Passwords tell small letters from capitals."
                )
        self._attempts.succeeded(where)
        visitor = await self._gatekeeper.visitor(holder)
        if visitor is None:
            return refusal(401, "wrong_login", "that login is not good any more", "Ask for another.")
        token = self._sessions.begin(holder)
        answer = self._who(token, visitor)
        answer.set_cookie(
            *(self._cookie, token), max_age=LIFE_MS // 1000, httponly=True, samesite="strict", secure=self._secure
        )
        return answer

    async def _logout(self, request: Request, _: Visitor) -> Response:
        self._sessions.end(self._token(request))
        answer = Response(status_code=204)
        answer.delete_cookie(self._cookie, httponly=True, samesite="strict", secure=self._secure)
        return answer

    async def _me(self, request: Request, visitor: Visitor) -> Response:
        return self._who(self._token(request), visitor)

    def _who(self, token: str, visitor: Visitor) -> Response:
        return _json(
            {
                "user": visitor.name,
                "may_write": visitor.may_write,
                "csrf": csrf(token),
                "place": self._site.name,
                "fleet": self._site.fleet,
            }
        )

    def _token(self, request: Request) -> str:
        return request.cookies.get(self._cookie, "")

    def _in(
        self, then: Callable[[Request, Visitor], Awaitable[Response]], *, changes: bool
    ) -> Callable[[Request], Awaitable[Response]]:
        async def asked(request: Request) -> Response:
            token = self._token(request)
            holder = self._sessions.holder(token)
            visitor = await self._gatekeeper.visitor(holder) if holder is not None else None
            if visitor is None:
                return refusal(401, "not_logged_in", "nobody is logged in", "Log in.")
            if changes and not is_csrf(token, request.headers.get("x-csrf", "")):
                return refusal(403, "csrf", "the request does not come from this page", "Load the page again.")
            return await then(request, visitor)

        return asked

    # -- what is asked -------------------------------------------------------------------------------------------

    async def _live(self, request: Request, visitor: Visitor) -> Response:
        if self.streams >= MAX_STREAMS:
            return refusal(503, "too_many", f"{MAX_STREAMS} pages are open", "Close some.")
        asked = dict(parse_qsl(request.url.query, keep_blank_values=True, max_num_fields=10))
        gateway, wants, quiet = (asked.pop(name, "") for name in ("gateway", "parts", "quiet"))
        wish = Wish.model_validate(asked)
        holder = self._sessions.holder(self._token(request))
        token = self._token(request)

        async def may_stay() -> bool:
            held = self._sessions.holder(token)
            return held is not None and held == holder and await self._gatekeeper.visitor(held) is not None

        kind = wish.kind if wish.kind == Kind.ALARM and not gateway else ""  # of a whole fleet, alarms alone are few
        board = None if quiet else self._boards.of(visitor.name, gateway, partial(self._site.client, visitor), kind)
        shared = self._parts.setdefault(
            visitor.name,
            {
                "status": Shared(partial(self._site.status, visitor)),
                "mesh": Shared(partial(self._site.mesh, visitor)),
            },
        )
        parts = {name: shared[name] for name in ("status", *(["mesh"] if "mesh" in wants else []))}
        self.streams += 1
        return EventStream(Live(board, wish, dict(parts), may_stay).events(), self._left)

    def _left(self) -> None:
        self.streams -= 1

    async def _explain(self, request: Request, visitor: Visitor) -> Response:
        client = await self._site.client(visitor)
        return _model(await client.explain(_param(request, "twin"), _param(request, "property")))

    async def _history(self, request: Request, visitor: Visitor) -> Response:
        client = await self._site.client(visitor)
        since, until = (_number(request, name) for name in ("since", "until"))
        made = await chart_of(client, _param(request, "twin"), _param(request, "property"), since, until)
        return _json({"sampled": made.sampled, **made.reply.model_dump(mode="json", exclude_defaults=True)})

    async def _set(self, request: Request, visitor: Visitor) -> Response:
        if not visitor.may_write:
            message = f"{visitor.name} may look, not change"
            raise NotAllowed(message, remedy="Ask for the role operator.")
        asked = decode(SetRequest, await _body(request), what="the change")
        client = await self._site.client(visitor)
        return _model(SetReply(version=await client.set(asked.twin, asked.desired, unset=asked.unset)))

    async def _log(self, request: Request, visitor: Visitor) -> Response:
        client = await self._site.client(visitor)
        pod = await client.get(str(TwinKey.parse(_param(request, "twin"))))
        lines = min(_number(request, "lines"), MAX_LOG_LINES)
        text = await self._site.pod_log(pod, request.query_params.get("container", ""), lines)
        return Response(text, media_type="text/plain; charset=utf-8")


def _static() -> list[tuple[str, str]]:
    names = [one.name for one in files(static).iterdir()]
    return [("/", "index.html"), *((f"/{name}", name) for name in names if name.rpartition(".")[2] in _TYPES)]


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = files(static).joinpath(name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_TYPES[name.rpartition(".")[2]])

    return answer


def _answering(then: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """What an error becomes."""

    async def answer(request: Request) -> Response:
        try:
            return await then(request)
        except EdgetwinError as error:
            return refusal(_status(error), error.code, error.message, error.remedy)
        except ValidationError:
            return refusal(400, "invalid_message", "the request is not understood", "Use this page itself.")
        except ClientDisconnect:
            return Response(status_code=400)

    return answer


def _status(error: EdgetwinError) -> int:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


async def _nothing(_: Request, error: Exception) -> Response:
    return refusal(getattr(error, "status_code", 404), "nothing", "there is nothing here", "Begin at /.")


async def _body(request: Request) -> bytes:
    """Raises InvalidMessage."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        message = "the request is not JSON"
        raise InvalidMessage(message, remedy="Use this page itself.")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    _too_large()
    except TimeoutError:
        message = f"the request did not come within {BODY_S:g} s"
        raise InvalidMessage(message, remedy="Send it again.") from None
    return bytes(body)


def _too_large() -> NoReturn:
    message = "the request is too large"
    raise InvalidMessage(message, remedy="Send less in one request.")


def _param(request: Request, name: str) -> str:
    found = request.query_params.get(name, "")
    if not found:
        message = f"the request does not say {name}"
        raise InvalidMessage(message, remedy="Use this page itself.")
    return found


def _number(request: Request, name: str) -> int:
    text = _param(request, name)
    if not (text.isdecimal() and text.isascii() and len(text) <= 15):
        message = f"{name} is not a number"
        raise InvalidMessage(message, remedy="Use this page itself.")
    return int(text)


def _json(said: dict[str, object]) -> Response:
    return Response(json.dumps(said), media_type="application/json")


def _model(said: BaseModel) -> Response:
    return Response(said.model_dump_json(), media_type="application/json")
