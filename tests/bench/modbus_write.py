"""How long a desired value takes to a device that is polled as fast as it answers."""

from __future__ import annotations

import asyncio
import random
import time
from statistics import median, quantiles
from typing import Final

from mappers.sdk.config import DeviceSettings, PointSettings
from tests.bench.figure import Figure, Scale
from tests.bench.modbus_host import mapper_host, one_connection, registers
from tests.bench.rig import Child, broker, modbus_peer, until
from twin.link import Message
from twin.link.mqtt import MqttLink
from twin.model import Access, TwinKey, ValueType
from twin.wire import topics
from twin.wire.codec import decode_report, encode
from twin.wire.messages import Ack, Delta, DesiredValue

_REGISTERS: Final = 1000
_TRIES: Final = 400
_SLOW_MS: Final = 3
_ALLOWED_MS: Final = 2.0
_WAIT_S: Final = 10.0
_TWIN: Final = TwinKey.parse("device/bench/plc")
_SWITCH: Final = "switch"


async def write(scale: Scale) -> list[Figure]:
    """p99 from the order to the device's answer, less what it may take."""
    options = ["--tcp", "0", "--counting", "--log", "--times", "--slow", str(_SLOW_MS)]
    async with (
        broker(scale.folder) as on,
        modbus_peer(scale.folder, *options) as (peer, ready),
        MqttLink(on.options("subscriber")) as link,
    ):
        log = _Log(peer)
        following = asyncio.create_task(log.follow())
        await link.connected(_WAIT_S)
        hub = _Hub(link)
        await link.subscribe(topics.ALL_REPORTS, hub.on_report)
        switch = PointSettings(
            property=_SWITCH, type=ValueType.BOOLEAN, access=Access.READ_WRITE, cycle_ms=60_000,
            visitor={"table": "coil", "address": 5},
        )  # fmt: skip
        device = DeviceSettings(twin=str(_TWIN), address={"unit": 1}, points=(*registers(_REGISTERS), switch))
        settings = one_connection({"host": "127.0.0.1", "port": int(ready.split()[1])}, [device])
        link.publish(topics.mapper_config(on.account.name), encode(settings), qos=1, retain=True)
        with mapper_host(on, scale):
            await until(lambda: hub.switch is not None)
            took_ms = [await _one(link, hub, log, wanted=not turn % 2, tick=turn + 1) for turn in range(_TRIES)]
        following.cancel()
        await asyncio.wait({following})
    request_ms = median(log.requests_ms)
    p99_ms = quantiles(took_ms, n=100)[98]
    allowed_ms = 2 * request_ms + _ALLOWED_MS
    says = (
        f"p99 of {_TRIES} writes, from the order on MQTT to the answer of a libmodbus server that thinks {_SLOW_MS} ms"
        f" while its {_REGISTERS} registers are polled as fast as it answers (8 requests a poll), less what it may"
        f" take: one request in flight, a round trip (each {request_ms:.2f} ms, median of the run), {_ALLOWED_MS:g} ms"
    )
    return [
        Figure("modbus.write.p99", p99_ms, "ms", f"the p99 itself; {allowed_ms:.2f} ms are allowed, same run"),
        Figure("modbus.write.request", request_ms, "ms", "one request of the poll, median, same run"),
        Figure("modbus.write", p99_ms - allowed_ms, "ms", says, at_most=True),
    ]


async def _one(link: MqttLink, hub: _Hub, log: _Log, *, wanted: bool, tick: int) -> float:
    """One order at a random moment of a poll, in ms until the read back comes: then the write has been answered."""
    await asyncio.sleep(0.02 + random.random() * 0.03)
    log.answered_at_ns = 0
    delta = Delta(version=tick, desired={_SWITCH: DesiredValue(value=wanted, tick=tick)})
    began_ns = time.monotonic_ns()
    link.publish(topics.delta(_TWIN), encode(delta), qos=1, retain=True)
    await until(lambda: log.answered_at_ns and hub.switch is wanted)
    link.publish(topics.delta(_TWIN), encode(Delta(version=tick)), qos=1, retain=True)
    return (log.answered_at_ns - began_ns) / 1e6


class _Hub:
    """Acks as a hub does, and knows what was reported of the switch."""

    def __init__(self, link: MqttLink) -> None:
        self._link = link
        self.switch: object = None

    def on_report(self, message: Message) -> None:
        report = decode_report(message.payload, what="report")
        self.switch = report.values.get(_SWITCH, self.switch)
        reporter = topics.parse_report(message.topic).reporter
        self._link.publish(topics.ack(reporter), encode(Ack(stored=[report.id])))


class _Log:
    """What the server says of each request as it comes, with its time."""

    def __init__(self, peer: Child) -> None:
        self._peer = peer
        self.requests_ms: list[float] = []
        self.answered_at_ns = 0
        """When the request after a write came."""

    async def follow(self) -> None:
        """Read until cancelled."""
        pipe = self._peer.process.stdout
        assert pipe is not None
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        before: list[str] = []
        while line := (await reader.readline()).decode().split():
            if before and before[0] == "write":
                self.answered_at_ns = int(line[-1])
            elif before and before[1] == line[1] == "3":
                self.requests_ms.append((int(line[-1]) - int(before[-1])) / 1e6)
            before = line
