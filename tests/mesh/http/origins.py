"""Endpoints for tests: one that speaks through h11, which shares no code with ours, and one that plays bytes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11

WAIT_S = 10.0


@dataclass
class Asked:
    """A request as an endpoint got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    connection: int = 0

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name.lower()]
        return ", ".join(found) if found else None


@dataclass
class Says:
    """What an endpoint answers; without a length the body goes in chunks."""

    status: int = 200
    body: bytes = b"hello"
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunked: bool = False
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[tuple[int, list[tuple[str, str]]]] = field(default_factory=list)
    close: bool = False


Answer = Callable[[Asked], Says | Awaitable[Says]]


class Origin:
    """A server of h11."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        self.open = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        try:
            await self._talk(reader, writer, number)
        except (ConnectionError, h11.RemoteProtocolError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _talk(self, reader, writer, number: int) -> None:
        talk = h11.Connection(h11.SERVER)
        while True:
            asked = await self._request(talk, reader, writer, number)
            if asked is None:
                return
            self.asked.append(asked)
            says = self.answer(asked)
            if not isinstance(says, Says):
                says = await says
            await self._respond(talk, writer, says, says.body if asked.method != "HEAD" else b"")
            if says.close or talk.our_state is h11.MUST_CLOSE:
                return
            talk.start_next_cycle()

    async def _request(self, talk, reader, writer, number: int) -> Asked | None:
        asked: Asked | None = None
        while True:
            event = talk.next_event()
            if event is h11.NEED_DATA:
                if talk.they_are_waiting_for_100_continue:
                    writer.write(talk.send(h11.InformationalResponse(status_code=100, headers=[])))
                talk.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Request):
                headers = [(key.decode(), value.decode("latin-1")) for key, value in event.headers]
                asked = Asked(event.method.decode(), event.target.decode(), headers, connection=number)
            elif isinstance(event, h11.Data):
                assert asked is not None
                asked.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert asked is not None
                asked.trailers = [(key.decode(), value.decode()) for key, value in event.headers]
                return asked
            else:
                return None

    async def _respond(self, talk, writer, says: Says, body: bytes) -> None:
        for status, headers in says.interim:
            writer.write(talk.send(h11.InformationalResponse(status_code=status, headers=headers)))
        headers = list(says.headers)
        headers += [("transfer-encoding", "chunked")] if says.chunked else [("content-length", str(len(says.body)))]
        if says.close:
            headers.append(("connection", "close"))
        writer.write(talk.send(h11.Response(status_code=says.status, headers=headers)))
        for at in range(0, len(body), 50_000):
            wire = talk.send(h11.Data(data=body[at : at + 50_000]))
            if wire:
                writer.write(wire)
            await writer.drain()
        writer.write(talk.send(h11.EndOfMessage(headers=says.trailers)) or b"")
        await writer.drain()


@asynccontextmanager
async def origin(answer: Answer | Says = Says()) -> AsyncIterator[Origin]:  # noqa: B008 - never changed
    says = answer
    served = Origin(answer if callable(answer) else lambda asked: says)  # type: ignore[arg-type,return-value]
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        await ending(server)


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Played:
    port: int
    connections: int = 0


@asynccontextmanager
async def scripted(script: Script, *, narrow: bool = False) -> AsyncIterator[Played]:
    """An endpoint that does just what a test says; its connection ends with the script. ``narrow``: it takes little."""
    tasks: set[asyncio.Task] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        played.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    sock = socket.socket()
    if narrow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    sock.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(serve, sock=sock)
    played = Played(server.sockets[0].getsockname()[1])
    try:
        yield played
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await ending(server)


async def ending(server: asyncio.Server) -> None:
    await asyncio.sleep(0)
    await server.wait_closed()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(WAIT_S):
        return await reader.readuntil(b"\r\n\r\n")
