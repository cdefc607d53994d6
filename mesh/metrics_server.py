"""Answers GET /metrics on a listener of its own: one request a connection, few at a time; anything else is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from mesh.snapshot import Snapshot

log = logging.getLogger(__name__)

MOST_CLIENTS: Final = 16
LONGEST_HEAD_BYTES: Final = 8_192
PATIENCE_S: Final = 10.0


class MetricsServer:
    """Serves what ``snapshot`` gives.

    The text is made in a thread: for thousands of series it takes longer than a request of the data planes may wait.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], patience_s: float = PATIENCE_S) -> None:
        self._snapshot = snapshot
        self._patience_s = patience_s
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def open(self, host: str, port: int) -> None:
        """Listen. Raises OSError if that address cannot be had."""
        self._server = await asyncio.start_server(self._arrived, host, port, limit=LONGEST_HEAD_BYTES)

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
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as problem:
            log.debug("A client of the metrics went away or said nothing of use: %s", problem)
        finally:
            writer.transport.abort()

    async def _answer(self, head: bytes) -> bytes:
        from mesh.prometheus import CONTENT_TYPE, metrics_text  # a heavy library, for those who ask only

        method, path = ([*head.split(b"\r\n", 1)[0].split(b" "), b"", b""])[:2]
        if path.partition(b"?")[0] != b"/metrics":
            return _response("404 Not Found", b"There is /metrics only\n")
        if method != b"GET":
            return _response("405 Method Not Allowed", b"GET only\n", "Allow: GET\r\n")
        text = await asyncio.to_thread(metrics_text, self._snapshot())
        return _response("200 OK", text, content_type=CONTENT_TYPE)


def _response(status: str, body: bytes, more: str = "", content_type: str = "text/plain") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body
