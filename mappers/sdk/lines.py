"""Requests and answers of one line of text each over TCP, for drivers of devices that are spoken to so."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from mappers.sdk.errors import NotConnected, WriteRefused

_END: Final = b"\n"
_MAX_LINE_BYTES: Final = 65536


class LineClient:
    """One connection; a request waits for its answer.

    An exchange that fails or is cancelled ends the connection: its late answer would be taken for that of the next
    request.
    """

    def __init__(self, host: str, port: int, *, timeout_s: float = 2.0) -> None:
        """Store where; ``open`` acts. ``timeout_s`` is for each exchange."""
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Connect, anew if need be. Raises NotConnected."""
        await self.close()
        try:
            async with asyncio.timeout(self._timeout_s):
                self._stream = await asyncio.open_connection(self._host, self._port, limit=_MAX_LINE_BYTES)
        except OSError as error:
            message = f"{self._host}:{self._port} does not answer: {_said(error)}"
            raise NotConnected(message, remedy="Is the device on, and host and port right?") from error

    async def close(self) -> None:
        """Let go of the connection; never raises."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream[1].close()
            with contextlib.suppress(OSError):
                await stream[1].wait_closed()

    async def ask(self, request: str) -> str:
        """Send one line, give the answer without its end. Raises NotConnected; WriteRefused if it cannot be a line."""
        line = _line(request)
        stream, self._stream = self._stream, None
        if stream is None:
            message = f"the connection to {self._host}:{self._port} is closed"
            raise NotConnected(message)
        reader, writer = stream
        try:
            async with asyncio.timeout(self._timeout_s):
                writer.write(line)
                await writer.drain()
                answer = (await reader.readuntil(_END)).decode().strip()
            self._stream = stream
        except (OSError, EOFError, UnicodeDecodeError, asyncio.LimitOverrunError) as error:
            message = f"{self._host}:{self._port} gave no whole answer to {request!r}: {_said(error)}"
            raise NotConnected(message) from error
        finally:
            if self._stream is None:
                writer.close()
        return answer


def _line(request: str) -> bytes:
    """The request as a line; one with an end within would be two requests."""
    try:
        line = request.encode()
    except UnicodeEncodeError as error:
        message = f"{request!r} has half a character, which cannot be sent"
        raise WriteRefused(message) from error
    if b"\n" in line or b"\r" in line:
        message = f"{request!r} is more than one line"
        raise WriteRefused(message)
    return line + _END


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, EOFError):
        return "it hung up"
    return str(error) or type(error).__name__
