"""Answers GET /metrics: one request a connection, few at a time; anything else is refused."""

from __future__ import annotations

import asyncio
import hmac
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from twin.metrics.text import CONTENT_TYPE

log = logging.getLogger(__name__)

MOST_CLIENTS: Final = 16
LONGEST_HEAD_BYTES: Final = 8_192
PATIENCE_S: Final = 10.0


class MetricsServer:
    """Serves what ``text`` gives. With a ``token`` only those who send it as a bearer token get it."""

    def __init__(
        self, text: Callable[[], Awaitable[bytes]], *, token: str = "", patience_s: float = PATIENCE_S
    ) -> None:
        self._text = text
        self._token = token
        self._patience_s = patience_s
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen. Raises OSError if that address cannot be had."""
        self._server = await asyncio.start_server(self._arrived, host, port, limit=LONGEST_HEAD_BYTES, ssl=tls)

    async def close(self) -> None:
        """Stop listening, and let go of all clients."""
        if self._server is None:
            return
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) >= MOST_CLIENTS:
            writer.transport.abort()
            return
        client = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head))
                await writer.drain()
                writer.close()
                with suppress(ssl.SSLError):
                    await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as problem:
            log.debug("a client of the metrics went away or said nothing of use: %s", problem)
        finally:
            writer.transport.abort()

    async def _answer(self, head: bytes) -> bytes:
        first, *fields = head.split(b"\r\n")
        method, path = ([*first.split(b" "), b"", b""])[:2]
        if self._token and not self._is_known(fields):
            return _response("401 Unauthorized", b"Send the token: Authorization: Bearer TOKEN\n", _WHO)
        if path.partition(b"?")[0] != b"/metrics":
            return _response("404 Not Found", b"There is /metrics only\n")
        if method != b"GET":
            return _response("405 Method Not Allowed", b"GET only\n", "Allow: GET\r\n")
        return _response("200 OK", await self._text(), content_type=CONTENT_TYPE)

    def _is_known(self, fields: list[bytes]) -> bool:
        for one in fields:
            name, _, value = one.partition(b":")
            if name.strip().lower() == b"authorization":
                kind, _, token = value.strip().partition(b" ")
                return kind.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token.encode())
        return False


_WHO: Final = "WWW-Authenticate: Bearer\r\n"


def _response(status: str, body: bytes, more: str = "", content_type: str = "text/plain") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body
