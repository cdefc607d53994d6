"""A client that says exact bytes and reads what comes back, with h11 as the judge of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import h11

WAIT_S = 10.0


@dataclass
class Got:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    interim: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    http: str = "1.1"


class Wire:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, wire: bytes) -> None:
        self.writer.write(wire)

    def say_no_more(self) -> None:
        self.writer.write_eof()

    def abort(self) -> None:
        self.writer.transport.abort()

    async def answers(self, *methods: str) -> list[Got]:
        """The answers to requests with these methods, one after the other."""
        found = []
        rest = b""
        for method in methods:
            got, rest = await self._answer(method, rest)
            found.append(got)
        assert not rest, rest
        return found

    async def answer(self, method: str = "GET") -> Got:
        return (await self.answers(method))[0]

    async def ended(self) -> bytes:
        """What still comes until the connection ends."""
        async with asyncio.timeout(WAIT_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def _answer(self, method: str, came: bytes) -> tuple[Got, bytes]:
        talk = h11.Connection(h11.CLIENT)
        talk.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        talk.send(h11.EndOfMessage())
        if came:
            talk.receive_data(came)
        got: Got | None = None
        interim: list[tuple[int, dict[str, str]]] = []
        while True:
            event = talk.next_event()
            if event is h11.NEED_DATA:
                async with asyncio.timeout(WAIT_S):
                    talk.receive_data(await self.reader.read(65_536))
            elif isinstance(event, h11.InformationalResponse):
                interim.append((event.status_code, named(event.headers)))
            elif isinstance(event, h11.Response):
                got = Got(event.status_code, named(event.headers), http=event.http_version.decode(), interim=interim)
            elif isinstance(event, h11.Data):
                assert got is not None
                got.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert got is not None
                got.trailers = named(event.headers)
                return got, talk.trailing_data[0]
            else:
                msg = f"no answer: {event}"
                raise AssertionError(msg)


def named(headers) -> dict[str, str]:
    return {key.decode(): value.decode("latin-1") for key, value in headers}


@asynccontextmanager
async def wire_to(port: int, *, slow: bool = False) -> AsyncIterator[Wire]:
    """``slow``: with small buffers, so that a reader who waits is felt on the other side."""
    sock = socket.socket()
    if slow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=65_536)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def get(path: str = "/", *headers: str, method: str = "GET", host: str = "shop", http: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{http}", f"Host: {host}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")
