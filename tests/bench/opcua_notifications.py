"""How many notifications of an OPC UA server a mapper host brings into MQTT, and whether a node starves."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mappers.sdk.config import ConnectionSettings, DeviceSettings, HostSettings, PointSettings
from tests.bench.figure import Figure, Scale
from tests.bench.rig import Child, RunningBroker, broker, child, cpu_s, free_port, module, until
from twin.link import Message
from twin.link.mqtt import MqttLink
from twin.model import Kind, ValueType
from twin.wire import topics
from twin.wire.codec import encode
from twin.wire.messages import Ack

_NODES: Final = 5000
_DEVICES: Final = 50
_PERIOD_MS: Final = 100
_WARM_S: Final = 3.0
_MEASURE_S: Final = 6.0
_WAIT_S: Final = 60.0
_ROOT: Final = Path(__file__).parents[2]
_MODULES: Final = _ROOT / ".cache" / "peers" / "node_modules"


async def notifications(scale: Scale) -> list[Figure]:
    """Notifications a second, CPU of each, and nodes that were not heard of."""
    port = free_port()
    async with broker(scale.folder) as on, MqttLink(on.options("subscriber")) as link:
        await link.connected(_WAIT_S)
        counter = _Counter(link)
        await link.subscribe(topics.ALL_REPORTS, counter.on_report)
        link.publish(topics.mapper_config(on.account.name), encode(_settings(port)), qos=1, retain=True)
        with opcua_server(port, scale, _NODES, _PERIOD_MS) as server:
            await server.line(_WAIT_S)
            with _mapper_host(on, scale) as host:
                await until(lambda: len(counter.seen) == _NODES, timeout_s=_WAIT_S)
                await asyncio.sleep(_WARM_S)
                counter.seen.clear()
                began_s, cpu_before_s, before = time.perf_counter(), cpu_s(host.pid), counter.count
                await asyncio.sleep(_MEASURE_S)
                took_s, used_s = time.perf_counter() - began_s, cpu_s(host.pid) - cpu_before_s
                counted, seen = counter.count - before, len(counter.seen)
    says = (
        f"notifications/s from a node-opcua server whose {_NODES} nodes change at {1000 // _PERIOD_MS} Hz into MQTT,"
        f" {_DEVICES} devices, source times, quality and change check on, acked as a hub does"
    )
    return [
        Figure("opcua.notifications.starved", _NODES - seen, "nodes", "nodes not heard of, same run", at_most=True),
        Figure("opcua.notifications.cpu", used_s / counted * 1e6, "us", "CPU of the mapper process each, same run"),
        Figure("opcua.notifications", counted / took_s, "notifications/s", says, reach=30_000),
    ]


class _Counter:
    def __init__(self, link: MqttLink) -> None:
        self._link = link
        self.count = 0
        self.seen: set[str] = set()

    def on_report(self, message: Message) -> None:
        report: dict[str, Any] = json.loads(message.payload)
        topic = topics.parse_report(message.topic)
        if topic.key.kind is Kind.DEVICE:  # the connection has a twin of its own
            values = report.get("values", {})
            self.count += len(values)
            self.seen.update(values)
        self._link.publish(topics.ack(topic.reporter), encode(Ack(stored=[report["id"]])))


@contextmanager
def opcua_server(port: int, scale: Scale, nodes: int, period_ms: int) -> Iterator[Child]:
    """node-opcua, whose nodes n0 and on change each period."""
    argv = ["node", str(_ROOT / "tests/peers/opcua_server.js"), str(port), str(scale.folder), str(nodes)]
    named = {**os.environ, "PEER_MODULES": str(_MODULES)}
    with child([*argv, str(period_ms)], log=scale.folder / "opcua_server.log", env=named) as process:
        yield process


@contextmanager
def _mapper_host(on: RunningBroker, scale: Scale) -> Iterator[Child]:
    who = {
        "host": "127.0.0.1",
        "port": on.port,
        "account": on.account.name,
        "password": on.account.password,
        "client_id": "mapper",
    }
    with child(module("mappers.sdk.host"), log=scale.folder / "mapper.log") as process:
        process.tell(json.dumps(who))
        yield process


def _settings(port: int) -> HostSettings:
    per_device = _NODES // _DEVICES
    devices = tuple(
        DeviceSettings(
            twin=f"device/bench/d{number}",
            address={},
            points=tuple(
                PointSettings(
                    property=f"n{node}",
                    type=ValueType.DOUBLE,
                    cycle_ms=_PERIOD_MS,
                    visitor={"nodeId": f"ns=1;s=n{node}"},
                )
                for node in range(number * per_device, (number + 1) * per_device)
            ),
        )
        for number in range(_DEVICES)
    )
    config = {"url": f"opc.tcp://127.0.0.1:{port}"}
    return HostSettings(
        connections=(ConnectionSettings(name="bench/opcua", mapper="opcua", config=config, devices=devices),)
    )
