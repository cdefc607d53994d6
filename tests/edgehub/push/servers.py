"""Servers for pushes: a real one of HTTP on a socket, which answers as it is told, and remembers what it took."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def readings(self) -> list[dict]:
        return json.loads(self.body)["readings"]


@dataclass
class Moody:
    """What it says next: a status with headers, ``hang``, ``cut`` in the midst of the answer; else 204."""

    port: int = 0
    moods: deque[object] = field(default_factory=deque)
    always: object = None
    refuses: Callable[[Request], bool] = lambda request: False
    answer: Callable[[Request], tuple[int, dict[str, str], bytes]] = lambda request: (204, {}, b"")
    requests: list[Request] = field(default_factory=list)
    taken: list[Request] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/readings"

    def readings(self) -> list[dict]:
        """All that it said yes to, in the order of arrival."""
        return [reading for request in self.taken for reading in request.readings()]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _request(reader)) is not None:
                self.requests.append(request)
                self.came.set()
                mood = self.moods.popleft() if self.moods else self.always
                if mood == "hang":
                    await asyncio.sleep(3600)
                if mood == "cut":
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
                    await writer.drain()
                    return
                if mood is None and self.refuses(request):
                    mood = (422, {}, b"no such unit")
                status, headers, body = mood or self.answer(request)
                if status < 300:
                    self.taken.append(request)
                head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def moody_server(port: int = 0) -> AsyncIterator[Moody]:
    moody = Moody()
    connections: set[asyncio.Task] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        await moody.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    moody.port = server.sockets[0].getsockname()[1]
    try:
        yield moody
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _request(reader: asyncio.StreamReader) -> Request | None:
    line = await reader.readline()
    if not line:
        return None
    method, path, _ = line.decode().split()
    headers = {}
    while (line := (await reader.readline()).decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
