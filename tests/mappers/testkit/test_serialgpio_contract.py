"""A Firmata board on a pty keeps the contract, through the cable."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mappers.sdk.checks import Part
from mappers.serialgpio.firmata import Mode
from mappers.serialgpio.virtual_board import VirtualBoard
from mappers.serialgpio.virtual_line import BoardOnLine
from mappers.testkit.adapter import Adapter, Wired, Wrong
from mappers.testkit.cable import PtyCable
from mappers.testkit.contract import Contract
from mappers.testkit.line import Line
from twin.model import Value, ValueType


class BoardPeer:
    """A virtual Uno; its output is set by its own sketch as well."""

    def __init__(self, board: BoardOnLine) -> None:
        self.board = board

    async def set(self, key: str, value: Value) -> None:
        pin = int(key)
        if key == "13":
            self.board.board.now[pin].mode = Mode.OUTPUT
            self.board.board.now[pin].state = int(bool(value))
        else:
            self.board.wire(pin, bool(value))

    async def get(self, key: str) -> Value:
        assert key == "13"
        return bool(self.board.board.now[13].state)


class FirmataAdapter(Adapter):
    timeout_s = 1.0
    patience_s = 10.0
    place = "mappers.serialgpio:MAPPER"
    points = (
        Wired("2", ValueType.BOOLEAN, {"line": 2}, (True, False)),
        Wired("3", ValueType.BOOLEAN, {"line": 3}, (True, False)),
        Wired("13", ValueType.BOOLEAN, {"line": 13, "direction": "output"}, (True, False), writable=True),
    )
    missing = {"line": 77}
    locked = {"line": 4}
    wrong = (
        Wrong(Part.CONNECTION, {"serialPort": ""}, "serialPort is empty"),
        Wrong(Part.POINT, {"line": 3, "kind": "pwmm"}, "pwm"),
    )
    exempt = {
        "absent": "a board is alone on its line",
        "text": "pins hold no texts",
        "count": "a cable does not know who has its end open",
        "garbage-is-no-value": "Firmata has no checksum: noise may be a message of the board's",
        "two-drivers-stand-side-by-side": "a serial port has one owner",
    }

    @asynccontextmanager
    async def peer(self, folder: Path) -> AsyncIterator[BoardPeer]:
        async with BoardOnLine(VirtualBoard(), folder / "board") as board:
            yield BoardPeer(board)

    def line(self, peer: Any, folder: Path) -> Line:
        return PtyCable(peer.board.line.path, folder)

    def connection(self, line: Any) -> dict[str, Any]:
        timeout_ms = int(self.timeout_s * 1000)
        return {"serialPort": line.path, "timeoutMs": timeout_ms, "bootMs": 600, "samplingMs": 10, "aliveMs": 400}


class TestContract(Contract):
    adapter = FirmataAdapter()
