"""OPC UA keeps the contract, against npm's node-opcua through the proxy."""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mappers.sdk.checks import Part
from mappers.testkit.adapter import Adapter, Wired, Wrong
from mappers.testkit.contract import Contract
from tests.mappers.opcua.conftest import MODULES, SERVER, START_S, free_port
from twin.model import Value, ValueType


class OpcuaPeer:
    """The server, in a process of its own for all checks."""

    host = "127.0.0.1"

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            ["node", str(SERVER), str(self.port), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PEER_MODULES": str(MODULES)}, bufsize=0,
        )  # fmt: skip
        self._until("READY", START_S)

    async def set(self, key: str, value: Value) -> None:
        await asyncio.to_thread(self._tell, f"set {key} {json.dumps(value, ensure_ascii=False)}")

    async def get(self, key: str) -> Value:
        value: Value = json.loads(await asyncio.to_thread(self._tell, f"get {key}"))
        return value

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def _tell(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        return self._until(f"DONE {line}", 10)

    def _until(self, wanted: str, wait_s: float) -> str:
        said = ""
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while True:
                line = b""
                while not line.endswith(b"\n"):
                    assert selector.select(wait_s), f"no {wanted} in {wait_s} s"
                    byte = self._process.stdout.read(1)
                    assert byte, "the server has ended"
                    line += byte
                text = line.decode().rstrip("\n")
                if text == wanted:
                    return said
                said = text.removeprefix("VALUE ")


def at(name: str, **more: Any) -> dict[str, Any]:
    return {"nodeId": f"ns=1;s=Tank.{name}", "samplingMs": 10, **more}


class OpcuaAdapter(Adapter):
    place = "mappers.opcua:MAPPER"
    points = (
        Wired("Double", ValueType.DOUBLE, at("Double"), (1.25, -7.5), writable=True),
        Wired("Int32", ValueType.INT, at("Int32"), (12, -2147483648), writable=True),
        Wired("Boolean", ValueType.BOOLEAN, at("Boolean"), (True, False), writable=True),
        Wired("String", ValueType.STRING, at("String"), ("east", "west"), writable=True),
    )
    missing = at("Nothing")
    locked = at("Locked")
    text = "String"
    scan = {"under": "ns=1;s=Tank"}
    timeout_s = 0.8
    patience_s = 6.0
    wrong = (
        Wrong(Part.CONNECTION, {"url": "http://192.0.2.1"}, "opc.tcp://"),
        Wrong(Part.POINT, {"nodeId": "ns=2;q=1"}, "ns=2;q=1"),
    )
    exempt = {"absent": "a server is one device; its nodes are points"}

    shared: OpcuaPeer
    folder: Path

    @asynccontextmanager
    async def peer(self, folder: Path) -> AsyncIterator[OpcuaPeer]:
        yield self.shared

    def connection(self, line: Any) -> dict[str, Any]:
        timeout_ms = int(self.timeout_s * 1000)
        url = f"opc.tcp://{line.host}:{line.port}"
        return {
            "url": url,
            "timeoutMs": timeout_ms,
            "keepAliveMs": 300,
            "sessionTimeoutMs": 5000,
            "pki": str(self.folder / "ours"),
        }


class TestContract(Contract):
    adapter = OpcuaAdapter()

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        if shutil.which("node") is None or not (MODULES / "node-opcua-server").exists():
            pytest.skip("node-opcua is not there: it needs npm, then tools/peers.sh")
        cls.adapter.folder = folder = tmp_path_factory.mktemp("opcua")
        cls.adapter.shared = peer = OpcuaPeer(folder)
        yield
        peer.stop()
