"""HTTP/1.1 over TLS for the local Kubernetes API: who asks, what is asked, and the answer or the stream of a watch.

A connection is served by one task. What it may take is bounded: connections, the head of a request, the time that a
client may take to ask or to read. A watcher that does not read is cut, and lists anew.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import h11

from edgehub.kubeapi import discovery
from edgehub.kubeapi.answers import Following, error_line, got, listed, to_json
from edgehub.kubeapi.asked import Discovery, Get, Watch, asked
from edgehub.kubeapi.live import Live
from edgehub.kubeapi.status import ApiError, bad_request, not_allowed, unauthorized

log = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 64 * 1024
CHUNK_BYTES: Final = 64 * 1024
_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What clients may take."""

    connections: int = 100
    first_s: float = 10.0
    """Until a connection has shown a token."""
    idle_s: float = 120.0
    send_s: float = 20.0
    """How long a client may take no bytes."""
    bookmark_s: float = 60.0
    """From one bookmark of a watch to the next."""


class KubeServer:
    """Serves one view. ``is_token`` says whether a bearer token is good now."""

    def __init__(self, live: Live, is_token: Callable[[str], bool], release: str, bounds: Bounds = Bounds()) -> None:
        self._bounds = bounds
        self._live = live
        self._is_token = is_token
        self._release = release
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._address = ""
        self._full = False

    async def open(self, host: str, port: int, context: ssl.SSLContext) -> None:
        """Listen. Raises OSError if the port is taken."""
        self._server = await asyncio.start_server(
            self._on_connection, host, port, ssl=context, ssl_handshake_timeout=self._bounds.first_s, limit=CHUNK_BYTES
        )
        self._address = f"{host}:{port}"

    async def close(self) -> None:
        """Listen no more, and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= self._bounds.connections:
            level = logging.DEBUG if self._full else logging.WARNING
            log.log(level, "the Kubernetes API has %d connections already, more are refused", len(self._tasks))
            self._full = True
            writer.transport.abort()
            return
        self._full = False
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="kubernetes api: connection")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(reader, writer, self._bounds)
        try:
            while await self._one(connection):
                pass
            writer.close()
            async with asyncio.timeout(self._bounds.send_s):
                await writer.wait_closed()
        except (OSError, TimeoutError, ssl.SSLError, h11.ProtocolError) as error:
            log.debug("a connection of the Kubernetes API ends: %s", error)
        except Exception:  # a supervisor boundary: one request must not end the hub
            log.exception("a request of the Kubernetes API failed")
        finally:
            writer.transport.abort()

    async def _one(self, connection: _Connection) -> bool:
        """Answer one request, if another comes; whether to look for more."""
        try:
            request = await connection.request()
        except h11.RemoteProtocolError as error:
            refused = bad_request(f"this is no HTTP request: {error}")
            await connection.answer(error.error_status_hint, to_json(refused.body()), _JSON, close=True)
            return False
        if request is None:
            return False
        try:
            await self._answer(connection, request)
        except ApiError as error:
            unread = request.method != b"GET"
            await connection.answer(error.status, to_json(error.body()), _JSON, close=unread)
        return True

    async def _answer(self, connection: _Connection, request: h11.Request) -> None:
        headers = {name: value.decode("latin-1") for name, value in request.headers}
        kind, _, token = headers.get(b"authorization", "").partition(" ")
        if kind.lower() != "bearer" or not self._is_token(token.strip()):
            raise unauthorized()
        connection.known = True
        if request.method != b"GET":
            raise not_allowed()
        wanted = asked(request.target.decode("latin-1"), headers.get(b"accept", ""))
        if isinstance(wanted, Discovery):
            found = discovery.found(wanted.parts, self._release, self._address)
            body, form = (found.encode(), _TEXT) if isinstance(found, str) else (to_json(found), _JSON)
            await connection.answer(200, body, form)
            return
        await self._live.refresh()
        if isinstance(wanted, Watch):
            await self._follow(connection, wanted)
            return
        view = self._live.view
        await connection.answer(200, got(view, wanted) if isinstance(wanted, Get) else listed(view, wanted), _JSON)

    async def _follow(self, connection: _Connection, watch: Watch) -> None:
        following = Following(self._live.view, watch)
        following.start()
        await connection.begin_stream()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + watch.timeout_s
        marks_at = loop.time() + self._bounds.bookmark_s
        with self._live.watched():
            gone = loop.create_task(connection.closed(), name="kubernetes api: end of a watcher")
            try:
                while not gone.done() and loop.time() < ends_at:
                    moved = self._live.moved
                    await connection.stream(following.lines())
                    if following.wants_bookmarks and loop.time() >= marks_at:
                        await connection.stream([following.bookmark()])
                        marks_at = loop.time() + self._bounds.bookmark_s
                    await _first(moved, gone, min(ends_at, marks_at) - loop.time())
                if following.wants_bookmarks and not gone.done():
                    await connection.stream([following.bookmark()])
            except ApiError as error:
                await connection.stream([error_line(error)])
            finally:
                gone.cancel()
                await asyncio.gather(gone, return_exceptions=True)
        await connection.end_stream()


class _Connection:
    """HTTP/1.1 on a stream; ``known`` once it has shown a token."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bounds: Bounds) -> None:
        self.known = False
        self._asks_head = False
        self._bounds = bounds
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def request(self) -> h11.Request | None:
        """The next request; None if none comes, or none may. Raises h11.RemoteProtocolError, TimeoutError."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        elif self._http.our_state is not h11.IDLE:
            return None
        async with asyncio.timeout(self._bounds.idle_s if self.known else self._bounds.first_s):
            event = await self._event()
            if not isinstance(event, h11.Request):
                return None
            self._asks_head = event.method == b"HEAD"
            if event.method != b"GET":
                return event
            read_bytes = 0
            while isinstance(more := await self._event(), h11.Data):
                read_bytes += len(more.data)
                if read_bytes > MAX_BODY_BYTES:
                    text = f"a body of more than {MAX_BODY_BYTES} bytes"
                    raise h11.RemoteProtocolError(text, error_status_hint=413)
            return event if isinstance(more, h11.EndOfMessage) else None

    async def answer(self, status: int, body: bytes, form: str, *, close: bool = False) -> None:
        """A whole answer."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [("Content-Type", form), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        if status == 401:
            headers.append(("WWW-Authenticate", "Bearer"))
        if status == 405:
            headers.append(("Allow", "GET"))
        if close:
            headers.append(("Connection", "close"))
        head = self._http.send(h11.Response(status_code=status, headers=headers)) or b""
        if self._asks_head:
            body = b""
        data = (self._http.send(h11.Data(data=body)) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
        await self._send(head + data)

    async def begin_stream(self) -> None:
        """Begin an answer of lines, the last on this connection."""
        headers = [("Content-Type", _JSON), ("Transfer-Encoding", "chunked"), ("Connection", "close")]
        await self._send(self._http.send(h11.Response(status_code=200, headers=headers)) or b"")

    async def stream(self, lines: list[bytes]) -> None:
        """Send lines, many in one chunk."""
        start = size = 0
        for number, line in enumerate(lines, 1):
            size += len(line)
            if size >= CHUNK_BYTES or number == len(lines):
                await self._send(self._http.send(h11.Data(data=b"".join(lines[start:number]))) or b"")
                start, size = number, 0

    async def end_stream(self) -> None:
        """End the answer of lines."""
        await self._send(self._http.send(h11.EndOfMessage()) or b"")

    async def closed(self) -> None:
        """Wait until the client goes, or says what it should not."""
        with suppress(OSError):
            await self._reader.read(1)

    async def _event(self) -> h11.Event | None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                return None
            self._http.receive_data(await self._reader.read(CHUNK_BYTES))

    async def _send(self, data: bytes) -> None:
        """Send in parts, so that one who reads slowly is not taken for one who does not. Raises TimeoutError."""
        for start in range(0, len(data), CHUNK_BYTES):
            self._writer.write(data[start : start + CHUNK_BYTES])
            async with asyncio.timeout(self._bounds.send_s):
                await self._writer.drain()


async def _first(moved: asyncio.Event, gone: asyncio.Task[None], wait_s: float) -> None:
    """Wait until there is something new, or the client has gone, or the time is over."""
    news = asyncio.get_running_loop().create_task(moved.wait(), name="kubernetes api: news")
    try:
        await asyncio.wait({news, gone}, timeout=max(wait_s, 0.0), return_when=asyncio.FIRST_COMPLETED)
    finally:
        news.cancel()
        await asyncio.gather(news, return_exceptions=True)
