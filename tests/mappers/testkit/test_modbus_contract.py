"""Modbus TCP keeps the contract, against PyPI's pyModbusTCP through the proxy."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pyModbusTCP.server import DataBank, ModbusServer

from mappers.sdk.checks import Part
from mappers.testkit.adapter import Adapter, Wired, Wrong
from mappers.testkit.contract import Contract
from twin.model import Value, ValueType

SILENT_UNIT = 9
GATEWAY_NO_RESPONSE = 0x0B


class ModbusPeer:
    """Its tables; a unit of its own does not answer, as behind a gateway."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.bank = DataBank(h_regs_size=200, i_regs_size=200, coils_size=200, d_inputs_size=200)
        self.server = ModbusServer(self.host, 0, no_block=True, data_bank=self.bank, ext_engine=self._answer)

    @property
    def port(self) -> int:
        return int(self.server._service.server_address[1])

    async def set(self, key: str, value: Value) -> None:
        if key == "coil":
            self.bank.set_coils(3, [bool(value)])
        elif key == "count":
            self.bank.set_holding_registers(0, [value])
        else:
            self.bank.set_holding_registers(10, list(struct.unpack(">2H", struct.pack(">f", value))))

    async def get(self, key: str) -> Value:
        if key == "coil":
            return bool(self.bank.get_coils(3)[0])
        if key == "count":
            return int(self.bank.get_holding_registers(0)[0])
        return float(struct.unpack(">f", struct.pack(">2H", *self.bank.get_holding_registers(10, 2)))[0])

    def _answer(self, session: Any) -> None:
        if session.request.mbap.unit_id == SILENT_UNIT:
            session.set_response_mbap()
            session.response.pdu.build_except(session.request.pdu.func_code, GATEWAY_NO_RESPONSE)
        else:
            self.server._internal_engine(session)


class ModbusAdapter(Adapter):
    timeout_s = 1.0
    patience_s = 10.0
    place = "mappers.modbus:MAPPER"
    device = {"unit": 1}
    points = (
        Wired(
            "count", ValueType.INT, {"table": "holding", "address": 0, "type": "uint16"}, (700, 65535), writable=True
        ),
        Wired(
            "level",
            ValueType.FLOAT,
            {"table": "holding", "address": 10, "type": "float32"},
            (1.5, -200.25),
            writable=True,
        ),
        Wired("coil", ValueType.BOOLEAN, {"table": "coil", "address": 3}, (True, False), writable=True),
    )
    missing = {"table": "holding", "address": 5000, "type": "uint16"}
    absent = {"unit": SILENT_UNIT}
    locked = {"table": "input", "address": 0, "type": "uint16"}
    wrong = (
        Wrong(Part.POINT, {"table": "holding", "address": 400001, "type": "uint16"}, "40001-style"),
        Wrong(Part.CONNECTION, {"transport": "tcp"}, "host"),
        Wrong(Part.DEVICE, {"unit": 300}, "unit 300"),
    )
    scan = {"units": "1-2"}
    exempt = {"text": "registers hold bytes of a fixed length; their own tests have the texts"}

    shared: ModbusPeer

    @asynccontextmanager
    async def peer(self, folder: Path) -> AsyncIterator[ModbusPeer]:
        yield self.shared  # its end takes half a second

    def connection(self, line: Any) -> dict[str, Any]:
        return {"host": line.host, "port": line.port, "timeoutMs": int(self.timeout_s * 1000)}


class TestContract(Contract):
    adapter = ModbusAdapter()

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def server(cls) -> Iterator[None]:
        cls.adapter.shared = peer = ModbusPeer()
        peer.server.start()
        yield
        peer.server.stop()
