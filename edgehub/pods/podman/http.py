"""HTTP over a unix socket: one connection a request, bounded in time and size. The protocol itself is h11's.

podman's own Python library brings requests and urllib3, and blocks; what is needed of it is this page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import h11

from twin.errors import EdgetwinError

MAX_BODY: Final = 8 * 1024 * 1024
_CHUNK: Final = 65536


class ServiceAway(EdgetwinError):
    """Nobody answers at the socket, or what answers does not speak HTTP."""

    code = "service_away"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; ``target`` is the path with its query."""

    method: str
    target: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """How an answer begins; names of headers in small letters."""

    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        """Its status."""
        return self.head.status


class UnixHttp:
    """Asks the server at a socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def ask(self, request: Request, timeout_s: float) -> Reply:
        """The whole answer. Raises ServiceAway, TimeoutError."""
        async with asyncio.timeout(timeout_s), self.asked(request) as (head, chunks):
            body = b""
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_BODY:
                    raise _away(self.socket, f"answered {request.target} with more than {MAX_BODY} bytes")
            return Reply(head, body)

    @asynccontextmanager
    async def asked(self, request: Request) -> AsyncIterator[tuple[Head, AsyncIterator[bytes]]]:
        """The head of the answer, and its body as it comes; has no time-out of its own. Raises ServiceAway."""
        try:
            reader, writer = await asyncio.open_unix_connection(self.socket)
        except OSError as error:
            raise _away(self.socket, f"cannot be reached: {error.strerror}") from None
        try:
            exchange = _Exchange(reader, writer)
            head = await exchange.begin(request)
            yield head, exchange.body()
        except (OSError, h11.ProtocolError, EOFError) as error:
            what = f"broke off {request.method} {request.target}: {str(error) or 'it has ended'}"
            raise _away(self.socket, what) from None
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class _Exchange:
    """One request and its answer on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT)

    async def begin(self, request: Request) -> Head:
        """Send the request; returns how the answer begins."""
        headers = [("Host", "podman"), ("Connection", "close"), ("Content-Length", str(len(request.body)))]
        if request.body:
            headers.append(("Content-Type", "application/json"))
        self._send(h11.Request(method=request.method, target=request.target, headers=headers))
        if request.body:
            self._send(h11.Data(data=request.body))
        self._send(h11.EndOfMessage())
        await self._writer.drain()
        while not isinstance(event := await self._event(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise EOFError
        return Head(event.status_code, {name.decode(): value.decode("latin-1") for name, value in event.headers})

    async def body(self) -> AsyncIterator[bytes]:
        """The body in pieces."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_CHUNK))
        assert not isinstance(event, type) or event is h11.PAUSED
        return event

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)


def _away(socket: Path, what: str) -> ServiceAway:
    return ServiceAway(f"the service at {socket} {what}", remedy="The log of the hub says why it does not serve.")
