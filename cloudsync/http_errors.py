"""Errors over HTTP: ``{"code", "message", "remedy"}`` as on MQTT, with a status; and bodies, read up to a cap."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from twin.errors import (
    EdgetwinError,
    InvalidMessage,
    InvalidName,
    LinkError,
    Refused,
    StoreError,
    TooLarge,
    UnknownTwin,
    VersionMismatch,
)

BODY_S: Final = 10.0
_STATUS: Final = (
    (TooLarge, 413),
    (InvalidMessage, 400),
    (InvalidName, 400),
    (UnknownTwin, 404),
    (VersionMismatch, 409),
    (Refused, 422),
    (LinkError, 503),
    (StoreError, 503),
)
_STATUS_OF_CODE: Final = {
    "unauthorized": 401,
    "forbidden": 403,
    "not_there": 404,
    "not_allowed": 403,
    "query_aborted": 503,
    "too_many": 429,
    "join_refused": 403,
    "renewal_refused": 403,
    "name_taken": 409,
    "unknown_account": 404,
}


class Unauthorized(EdgetwinError):
    """No API token, or one that is not known."""

    code = "unauthorized"


class Forbidden(EdgetwinError):
    """The role does not grant it."""

    code = "forbidden"


class NotThere(EdgetwinError):
    """There is nothing of that name."""

    code = "not_there"


class TooMany(EdgetwinError):
    """Asked too often."""

    code = "too_many"


def status_of(error: EdgetwinError) -> int:
    """The HTTP status of an error."""
    if error.code in _STATUS_OF_CODE:
        return _STATUS_OF_CODE[error.code]
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def answer_of(error: EdgetwinError) -> JSONResponse:
    """An error as a response."""
    body = {"code": error.code, "message": error.message, "remedy": error.remedy}
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, Unauthorized) else None
    return JSONResponse(body, status_of(error), headers)


async def body_of(request: Request, max_bytes: int) -> bytes:
    """The body, read up to a cap and not for ever. Raises TooLarge, InvalidMessage."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    message = f"the body is over the limit of {max_bytes} bytes"
                    raise TooLarge(message, remedy="Send less in one request.")
                chunks.append(chunk)
    except TimeoutError:
        message = f"the body did not come within {BODY_S:g} s"
        raise InvalidMessage(message, remedy="Send it again.") from None
    return b"".join(chunks)


def tell_errors(app: FastAPI) -> None:
    """Answer with our errors in our form, whatever raises them."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, EdgetwinError)
        return answer_of(error)

    async def of_http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        body = {"code": "http", "message": str(error.detail), "remedy": "GET /openapi.json lists what there is."}
        return JSONResponse(body, error.status_code, error.headers)

    app.add_exception_handler(EdgetwinError, ours)
    app.add_exception_handler(HTTPException, of_http)
