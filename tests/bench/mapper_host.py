"""What a mapper host takes: memory with all four protocols and with Modbus alone, and the time to the first value.

The host is the process that the hub starts; each protocol is over its own wire, to a peer in another process:
libmodbus over TCP, node-opcua, bleak's BlueZ code over D-Bus to virtual sensors, a virtual Firmata board on a pty.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from mappers.sdk.config import ConnectionSettings, DeviceSettings, HostSettings, PointSettings
from tests.bench.figure import Figure, Scale
from tests.bench.opcua_notifications import opcua_server
from tests.bench.rig import (
    Child,
    RunningBroker,
    broker,
    child,
    environment,
    free_port,
    modbus_server,
    module,
    rss_mb,
    until,
)
from tests.peers.ble_peripheral import LABEL, LAMP
from twin.link import Message
from twin.link.mqtt import MqttLink
from twin.model import ValueType
from twin.wire import topics
from twin.wire.codec import encode
from twin.wire.messages import Ack

_SENSORS: Final = 5
_NODES: Final = 400
_PINS: Final = 15
_REGISTERS: Final = 560
_ALONE: Final = 1000
_PER_DEVICE: Final = 50
_CYCLE_MS: Final = 1000
_WAIT_S: Final = 60.0
_SETTLE_S: Final = 5.0
_STARTS: Final = 5
_ROOT: Final = Path(__file__).parents[2]


async def memory(scale: Scale) -> list[Figure]:
    """Memory of the host some seconds after the last of 1000 points has its first value."""
    async with _plant(scale) as plant:
        connections = plant.all()
        whole = await _resident(plant, connections)
        alone = await _resident(plant, [_modbus(plant.modbus, _ALONE)])
    says = (
        f"RSS of the mapper host, {_points(connections)} points: {_REGISTERS} Modbus, {_NODES} OPC UA,"
        f" {_SENSORS * len(_CHARACTERISTICS)} Bluetooth, {_PINS} GPIO, each {_CYCLE_MS} ms, {_SETTLE_S:.0f} s after all"
        " have values"
    )
    return [
        Figure(
            "mappers.memory.modbus", alone, "MB", f"the same, {_ALONE} points of Modbus alone", reach=45, at_most=True
        ),
        Figure("mappers.memory", whole, "MB", says, reach=85, at_most=True),
    ]


async def start(scale: Scale) -> list[Figure]:
    """From the start of the process to the first report of a value, and to that of each protocol."""
    async with _plant(scale) as plant:
        rounds = [await plant.start() for _ in range(_STARTS)]
    firsts = {name: median(one[name] for one in rounds) for name in rounds[0]}
    says = f"start of the mapper host, all four protocols configured -> first value in MQTT, median of {_STARTS}"
    parts = (
        Figure(f"mappers.start.{name}", took_s, "s", f"the same, first value of {name}")
        for name, took_s in sorted(firsts.items())
    )
    return [*parts, Figure("mappers.start", min(firsts.values()), "s", says, reach=1, at_most=True)]


async def _resident(plant: _Plant, connections: list[ConnectionSettings]) -> float:
    with plant.host(connections) as host:
        wanted = {(one.twin, point.property) for each in connections for one in each.devices for point in one.points}
        await until(lambda: wanted <= plant.seen, timeout_s=_WAIT_S)  # a last word of the host before may be there too
        await asyncio.sleep(_SETTLE_S)
        return rss_mb(host.pid)


class _Plant:
    """The peers, a broker, and a hub's end that acknowledges."""

    def __init__(self, on: RunningBroker, link: MqttLink, scale: Scale, **ports: Any) -> None:
        self._on = on
        self._link = link
        self._scale = scale
        self.modbus: int = ports["modbus"]
        self.opcua: int = ports["opcua"]
        self.bus: str = ports["bus"]
        self.board: Path = ports["board"]
        self.seen: set[tuple[str, str]] = set()
        self.first_at: dict[str, float] = {}

    def all(self) -> list[ConnectionSettings]:
        """All four protocols."""
        return [_modbus(self.modbus, _REGISTERS), _opcua(self.opcua), _ble(), _gpio(self.board)]

    @contextmanager
    def host(self, connections: list[ConnectionSettings]) -> Iterator[Child]:
        """The host, told of its connections as the hub does."""
        self.seen.clear()
        self.first_at.clear()
        settings = HostSettings(connections=tuple(connections))
        self._link.publish(topics.mapper_config(self._on.account.name), encode(settings), qos=1, retain=True)
        named = environment(DBUS_SYSTEM_BUS_ADDRESS=self.bus)
        who = {
            "host": "127.0.0.1",
            "port": self._on.port,
            "account": self._on.account.name,
            "password": self._on.account.password,
            "client_id": "mapper",
        }
        with child(module("mappers.sdk.host"), env=named, log=self._scale.folder / "mapper.log") as process:
            process.tell(json.dumps(who))
            yield process

    async def start(self) -> dict[str, float]:
        """Seconds to the first value of each protocol."""
        began_s = time.perf_counter()
        with self.host(self.all()):
            await until(lambda: len(self.first_at) == len(self.all()), timeout_s=_WAIT_S)
        return {name: at_s - began_s for name, at_s in self.first_at.items()}

    def on_report(self, message: Message) -> None:
        """Note whose values came."""
        report: dict[str, Any] = json.loads(message.payload)
        key = topics.parse_report(message.topic)
        if report.get("values") and key.key.kind == "device":
            self.first_at.setdefault(key.key.namespace, time.perf_counter())
            self.seen.update((str(key.key), name) for name in report["values"])
        self._link.publish(topics.ack(key.reporter), encode(Ack(stored=[report["id"]])))


@asynccontextmanager
async def _plant(scale: Scale) -> AsyncIterator[_Plant]:
    port, board = free_port(), scale.folder / "board"
    sensors = module("tests.peers.bluez_facade", str(scale.folder), str(_SENSORS))
    example = module("docs.examples.virtual_board", str(board))
    async with (
        broker(scale.folder) as on,
        MqttLink(on.options("subscriber")) as link,
        modbus_server(scale.folder, "--counting") as modbus,
    ):
        await link.connected(_WAIT_S)
        with (
            opcua_server(port, scale, _NODES, _CYCLE_MS) as server,
            child(sensors, env={**os.environ}, log=scale.folder / "sensors.log") as radio,
            child(example, log=scale.folder / "board.log") as boards,
        ):
            await server.line(_WAIT_S)
            bus = await radio.line(_WAIT_S)
            await boards.line(_WAIT_S)
            plant = _Plant(on, link, scale, modbus=modbus, opcua=port, bus=bus, board=board)
            await link.subscribe(topics.ALL_REPORTS, plant.on_report)
            yield plant


def _points(connections: list[ConnectionSettings]) -> int:
    return sum(len(device.points) for one in connections for device in one.devices)


def _device(protocol: str, number: int, address: dict[str, Any], points: list[PointSettings]) -> DeviceSettings:
    return DeviceSettings(twin=f"device/{protocol}/d{number}", address=address, points=tuple(points))


def _point(name: str, kind: ValueType, visitor: dict[str, Any]) -> PointSettings:
    return PointSettings(property=name, type=kind, cycle_ms=_CYCLE_MS, visitor=visitor)


def _modbus(port: int, count: int) -> ConnectionSettings:
    devices = [
        _device("modbus", first // _PER_DEVICE, {"unit": first // _PER_DEVICE + 1}, [
            _point(f"r{number}", ValueType.INT, {"table": "holding", "address": number, "type": "uint16"})
            for number in range(first, min(first + _PER_DEVICE, count))
        ])
        for first in range(0, count, _PER_DEVICE)
    ]  # fmt: skip
    config = {"transport": "tcp", "host": "127.0.0.1", "port": port}
    return ConnectionSettings(name="bench/modbus", mapper="modbus", config=config, devices=tuple(devices))


def _opcua(port: int) -> ConnectionSettings:
    devices = [
        _device("opcua", first // _PER_DEVICE, {}, [
            _point(f"n{number}", ValueType.DOUBLE, {"nodeId": f"ns=1;s=n{number}"})
            for number in range(first, first + _PER_DEVICE)
        ])
        for first in range(0, _NODES, _PER_DEVICE)
    ]  # fmt: skip
    config = {"url": f"opc.tcp://127.0.0.1:{port}"}
    return ConnectionSettings(name="bench/opcua", mapper="opcua", config=config, devices=tuple(devices))


_CHARACTERISTICS: Final = (
    ("temperature", ValueType.DOUBLE, {"characteristic": "2A6E"}),
    ("battery", ValueType.INT, {"characteristic": "2A19"}),
    ("maker", ValueType.STRING, {"characteristic": "2A29"}),
    ("lamp", ValueType.STRING, {"characteristic": LAMP, "names": {"ON": "01", "OFF": "00"}}),
    ("label", ValueType.STRING, {"characteristic": LABEL}),
)


def _ble() -> ConnectionSettings:
    devices = [
        _device("ble", number, {"mac": f"C4:7C:8D:00:00:{number:02X}"}, [
            _point(name, kind, visitor) for name, kind, visitor in _CHARACTERISTICS
        ])
        for number in range(_SENSORS)
    ]  # fmt: skip
    return ConnectionSettings(name="bench/ble", mapper="ble", config={"adapter": "hci0"}, devices=tuple(devices))


def _gpio(path: Path) -> ConnectionSettings:
    digital = [(f"in{pin}", ValueType.BOOLEAN, {"line": pin}) for pin in range(2, 12)]
    analog = [(f"volt{pin}", ValueType.INT, {"line": f"A{pin}", "kind": "analog"}) for pin in range(_PINS - 10)]
    points = [_point(name, kind, visitor) for name, kind, visitor in (*digital, *analog)]
    return ConnectionSettings(
        name="bench/gpio",
        mapper="serialgpio",
        config={"serialPort": str(path)},
        devices=(_device("gpio", 0, {}, points),),
    )
