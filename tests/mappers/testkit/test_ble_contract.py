"""Bluetooth LE keeps the contract, against a peripheral of bumble's over the virtual link."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from mappers.ble.driver import BleDriver
from mappers.ble.virtual import Air
from mappers.sdk import DeviceTimeout
from mappers.sdk.checks import Part
from mappers.testkit.adapter import Adapter, Wired, Wrong
from mappers.testkit.contract import Contract
from mappers.testkit.line import Ability, Line
from tests.peers.ble_peripheral import LABEL, LAMP, Sensor
from twin.model import Value, ValueType

MAC = "C4:7C:8D:6A:12:34"
AWAY = "C4:7C:8D:6A:12:99"


class SensorPeer:
    """The sensor in the air."""

    def __init__(self, air: Air, sensor: Sensor) -> None:
        self.air = air
        self.sensor = sensor

    async def set(self, key: str, value: Value) -> None:
        if key == "temperature":
            await self.sensor.set(self.sensor.temperature, "2A6E", struct.pack("<h", round(float(str(value)) * 100)))
        elif key == "lamp":
            await self.sensor.set(self.sensor.lamp, LAMP, bytes([bool(value)]))
        else:
            self.sensor.values[LABEL] = str(value).encode()

    async def get(self, key: str) -> Value:
        if key == "lamp":
            return self.sensor.values[LAMP] != b"\x00"
        return self.sensor.values[LABEL].decode()


class AirLine(Line):
    """The air between: devices leave it, and links break."""

    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.REFUSE, Ability.CUT, Ability.FREEZE, Ability.DELAY})
    place = MAC

    def __init__(self, peer: SensorPeer) -> None:
        self._peer = peer
        self._gone: Any = None

    async def open(self) -> None:
        await self._peer.air.central()

    async def close(self) -> None:
        await self._peer.sensor.cut()

    async def mend(self) -> None:
        self._peer.sensor.delay_s = 0.0
        if self._gone is not None:
            self._peer.air.link.add_controller(self._gone)
            self._gone = None
            await self._peer.sensor.cut()  # a link that broke is over for the sensor, too, and it advertises again

    async def cut(self) -> None:
        await self._peer.sensor.cut()

    async def refuse(self) -> None:
        await self._peer.sensor.cut()
        await asyncio.sleep(0.01)
        self.freeze()

    def freeze(self) -> None:
        air, device = self._peer.air, self._peer.sensor.device
        if self._gone is None:
            self._gone = next(one for one in air.link.controllers if one.random_address == device.random_address)
            air.leave(device)

    def delay(self, seconds: float) -> None:
        self._peer.sensor.delay_s = seconds


class BleAdapter(Adapter):
    place = "mappers.ble:MAPPER"
    device = {"mac": MAC}
    points = (
        Wired("temperature", ValueType.DOUBLE, {"characteristic": "2A6E"}, (21.5, -3.25)),
        Wired("lamp", ValueType.BOOLEAN, {"characteristic": LAMP, "type": "bool"}, (True, False), writable=True),
        Wired("label", ValueType.STRING, {"characteristic": LABEL, "type": "utf8"}, ("east", "west"), writable=True),
    )
    missing = {"characteristic": "2A1C"}
    absent = {"mac": AWAY}
    locked = {"characteristic": "2A19"}
    text = "label"
    gone = (DeviceTimeout,)
    rig_errors = ("Host.on_packet",)  # bumble's host answers a command whose caller was cancelled
    timeout_s = 0.4
    patience_s = 10.0  # with the controllers, hosts and air of both sides in one event loop
    batch = 100
    scan = {"seconds": 0.3, "connect": True}
    wrong = (Wrong(Part.DEVICE, {"mac": "C4:7C"}, "is not a Bluetooth address"),)
    exempt = {
        "throttle": "a radio's packets come whole or not at all",
        "cut-within": "a radio's packets come whole or not at all",
        "garbage": "the controller drops packets with a wrong checksum",
        "count": "the air does not count links",
        "two-drivers-stand-side-by-side": "a peripheral serves one central at a time",
        "a-scan-of-nobody-is-said": "the virtual air carries advertisements of devices that have left it",
    }

    @asynccontextmanager
    async def peer(self, folder: Path) -> AsyncIterator[SensorPeer]:
        air, sensor = Air(), Sensor()
        await sensor.start(await air.device(MAC, "Sensor"))
        yield SensorPeer(air, sensor)

    def line(self, peer: Any, folder: Path) -> Line:
        self.air = peer.air
        return AirLine(peer)

    def connection(self, line: Any) -> dict[str, Any]:
        return {"timeoutMs": int(self.timeout_s * 1000), "connectTimeoutMs": 1000, "reconnectMaxMs": 50}

    def driver(self, config: Any, line: Line) -> Any:
        return BleDriver(config, radio=self.air.radio(), rng=Random(1))


class TestContract(Contract):
    adapter = BleAdapter()
