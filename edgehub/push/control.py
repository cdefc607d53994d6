"""A test of one push, asked of the process that delivers: it has the secrets, and the way that readings go.

A socket in the hub's folder, for its user alone: one line of JSON in, one out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from twin.errors import EdgetwinError

SOCKET: Final = "push.sock"
LINE_BYTES: Final = 4096
ASK_S: Final = 2.0
MARGIN_S: Final = 40.0


class TestRequest(BaseModel):
    """Which push to try."""

    __test__ = False  # for pytest, which would take it for one of its own
    model_config = ConfigDict(frozen=True, extra="forbid")

    push: str


class TestReply(BaseModel):
    """What came back, and after how long."""

    __test__ = False
    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Literal["delivered", "later", "refused", "unknown"]
    why: str = ""
    took_ms: int = 0


T = TypeVar("T")
Try = Callable[[str], Awaitable[TestReply]]


async def serve_tests(folder: Path, attempt: Try) -> None:
    """Answer until cancelled."""
    (folder / SOCKET).unlink(missing_ok=True)
    server = await _at(folder, lambda path: asyncio.start_unix_server(_Answering(attempt), path=path, limit=LINE_BYTES))
    (folder / SOCKET).chmod(0o600)
    async with server:
        await server.serve_forever()


async def ask_test(folder: Path, push: str, timeout_s: float) -> TestReply:
    """Have one push tried. Raises EdgetwinError if nobody answers."""
    try:
        async with asyncio.timeout(timeout_s + MARGIN_S):
            reader, writer = await _at(folder, lambda path: asyncio.open_unix_connection(path, limit=LINE_BYTES))
            writer.write(TestRequest(push=push).model_dump_json().encode() + b"\n")
            line = await reader.readline()
            writer.close()
        return TestReply.model_validate_json(line)
    except (OSError, TimeoutError, ValidationError, ValueError) as error:
        message = f"the process of the pushes does not answer: {str(error) or 'it took too long'}"
        raise EdgetwinError(message, remedy="Look whether the hub runs: `edgetwin status`, and its log.") from None


class _Answering:
    def __init__(self, attempt: Try) -> None:
        self._attempt = attempt

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError, TimeoutError):
            try:
                async with asyncio.timeout(ASK_S):
                    line = await reader.readline()
                reply = await self._attempt(TestRequest.model_validate_json(line).push)
                writer.write(reply.model_dump_json().encode() + b"\n")
                async with asyncio.timeout(ASK_S):
                    await writer.drain()
            finally:
                writer.close()


async def _at(folder: Path, call: Callable[[str], Awaitable[T]]) -> T:
    """Call with the socket's path by the folder's number, for that of a socket may be no longer than 107 bytes."""
    number = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        return await call(f"/proc/self/fd/{number}/{SOCKET}")
    finally:
        os.close(number)
