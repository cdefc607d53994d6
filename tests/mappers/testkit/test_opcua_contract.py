"""OPC UA keeps the contract, against npm's node-opcua through the proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from mappers.sdk.checks import Part
from mappers.testkit.adapter import Adapter, Wired, Wrong
from mappers.testkit.contract import Contract
from tests.peers.opcua import OpcuaServer, need_node_opcua
from twin.model import ValueType


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
    timeout_s = 2.0
    patience_s = 16.0
    wrong = (
        Wrong(Part.CONNECTION, {"url": "http://192.0.2.1"}, "opc.tcp://"),
        Wrong(Part.POINT, {"nodeId": "ns=2;q=1"}, "ns=2;q=1"),
    )
    exempt = {"absent": "a server is one device; its nodes are points"}

    shared: OpcuaServer
    folder: Path

    @asynccontextmanager
    async def peer(self, folder: Path) -> AsyncIterator[OpcuaServer]:
        yield self.shared

    def connection(self, line: Any) -> dict[str, Any]:
        timeout_ms = int(self.timeout_s * 1000)
        url = f"opc.tcp://{line.host}:{line.port}"
        return {
            "url": url,
            "timeoutMs": timeout_ms,
            "keepAliveMs": 3000,
            "sessionTimeoutMs": 5000,
            "pki": str(self.folder / "ours"),
        }


class TestContract(Contract):
    adapter = OpcuaAdapter()

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        need_node_opcua()
        cls.adapter.folder = folder = tmp_path_factory.mktemp("opcua")
        cls.adapter.shared = peer = OpcuaServer(folder)
        peer.start()
        yield
        peer.stop()
