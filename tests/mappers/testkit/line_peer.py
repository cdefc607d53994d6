"""The device that the line driver speaks to, and the adapter of both; shares no code with the driver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mappers.sdk.checks import Part
from mappers.testkit.adapter import Adapter, Wired, Wrong
from twin.model import Value, ValueType


class LinePeer:
    """Answers lines; ``pump.serial`` can be read and not written."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {"speed": 1450, "valve": 40.5, "label": "north", "serial": 7}
        self.host, self.port = "127.0.0.1", 0
        self._watchers: set[asyncio.StreamWriter] = set()

    async def set(self, key: str, value: Value) -> None:
        if self.values[key] != value:
            self.put(key, value)

    async def get(self, key: str) -> Value:
        return self.values[key]

    def put(self, key: str, value: Value) -> None:
        self.values[key] = value
        for watcher in self._watchers:
            watcher.write(f"* pump.{key} {json.dumps(value)}\n".encode())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                number, verb, *rest = line.decode().rstrip("\n").split(" ", 3)
                writer.write(f"{number} {self.answer(verb, rest, writer)}\n".encode())
        except (OSError, ValueError):
            pass
        finally:
            self._watchers.discard(writer)
            writer.close()

    def answer(self, verb: str, rest: list[str], writer: asyncio.StreamWriter) -> str:
        if verb == "all":
            return ",".join(f"pump.{key}" for key in self.values)
        if verb == "watch":
            self._watchers.add(writer)
            return "ok"
        unit, _, key = rest[0].partition(".")
        if unit != "pump":
            return "silent"
        if key not in self.values:
            return "no such key"
        if verb == "get":
            return json.dumps(self.values[key])
        if key == "serial":
            return "locked"
        self.put(key, json.loads(rest[1]))
        return "ok"


class LineAdapter(Adapter):
    """For the driver, or for another mapper that is the same but for a fault."""

    place = "tests.mappers.testkit.line_driver:MAPPER"
    device = {"unit": "pump"}
    points = (
        Wired("speed", ValueType.INT, {"key": "speed"}, (1200, 900)),
        Wired("valve", ValueType.FLOAT, {"key": "valve"}, (12.5, 77.25), writable=True),
        Wired("label", ValueType.STRING, {"key": "label"}, ("east", "west"), writable=True),
    )
    missing = {"key": "nothing"}
    absent = {"unit": "tank"}
    locked = {"key": "serial"}
    text = "label"
    wrong = (Wrong(Part.CONNECTION, {"host": "192.0.2.1", "port": 70000}, "70000"),)

    @asynccontextmanager
    async def peer(self, folder: Path) -> AsyncIterator[LinePeer]:
        peer = LinePeer()
        server = await asyncio.start_server(peer.serve, peer.host, 0)
        async with server:
            peer.port = server.sockets[0].getsockname()[1]
            yield peer

    def connection(self, line: Any) -> dict[str, Any]:
        return {"host": line.host, "port": line.port, "timeout_ms": int(self.timeout_s * 1000)}
