"""What stands before every request of a page: the name it was asked under, the size of it, headers on every answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin.page.hosts import is_own

MAX_BODY_BYTES: Final = 256 * 1024
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)


class Guard:
    """Lets requests through to an application that were made for it, by a page of its own."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = tuple(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in _HEADERS:
                    answered.setdefault(name, value)
                answered.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope, headers)
        await (refusal or self._app)(scope, receive, sending)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "")
        if len(headers.getlist("host")) != 1 or not is_own(host, self._names):
            text = f"this is not {host[:100]!r}"
            return refusal(421, "wrong_host", text, "Use the address that `edgetwin status` shows, or set web.hosts.")
        if scope["method"] in ("GET", "HEAD"):
            return None
        if int(length) > MAX_BODY_BYTES if (length := headers.get("content-length", "")).isdecimal() else True:
            return refusal(413, "too_large", "the request has no size, or too much of it", "Send less in one request.")
        if not is_same_origin(scope["scheme"], host, headers):
            return refusal(403, "cross_site", "the request comes from another site", "Use this page itself.")
        return None


def is_same_origin(scheme: str, host: str, headers: Headers) -> bool:
    """Whether a browser says that one of our own pages asks. What is no browser says nothing, and has no cookie."""
    site = headers.get("sec-fetch-site", "same-origin")
    origin = headers.get("origin", f"{scheme}://{host}")
    return site == "same-origin" and origin.lower() == f"{scheme}://{host}".lower()


def refusal(status: int, code: str, message: str, remedy: str) -> JSONResponse:
    """An error as the page is told it."""
    return JSONResponse({"code": code, "message": message, "remedy": remedy}, status)
