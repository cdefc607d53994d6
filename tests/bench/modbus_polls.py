"""Whether each poll that was made was delivered, and each that was not made was counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from mappers.sdk.config import DeviceSettings
from tests.bench.figure import Figure, Scale
from tests.bench.modbus_host import mapper_host, one_connection, registers
from tests.bench.rig import RunningBroker, broker, modbus_server, until
from twin.link import Message
from twin.link.mqtt import MqttLink
from twin.model import Kind
from twin.wire import topics
from twin.wire.codec import decode_report, encode
from twin.wire.messages import Ack

_REGISTERS: Final = 1000
_CYCLE_MS: Final = 100
_FAST_MS: Final = 1
_MEASURE_S: Final = 11.0  # the twin of the connection tells its counts every 10 s
_FEW: Final = 50  # requests: told after the first seconds
_WAIT_S: Final = 15.0


async def polls(scale: Scale) -> list[Figure]:
    """The cycle at which another gateway lost 39 %, and one that no device can keep."""
    async with broker(scale.folder) as on, MqttLink(on.options("subscriber")) as link:
        await link.connected(_WAIT_S)
        counter = _Counter(link)
        await link.subscribe(topics.ALL_REPORTS, counter.on_report)
        usual = await _run(on, scale, link, counter, _CYCLE_MS)
        fast = await _run(on, scale, link, counter, _FAST_MS)
    says = (
        f"polls that a libmodbus server counted in its registers and that were not delivered over MQTT, of"
        f" {usual.made} of {_REGISTERS} registers each {_CYCLE_MS} ms and {fast.made} each {_FAST_MS} ms"
    )
    return [
        Figure(
            "modbus.polls.overruns",
            usual.overruns,
            "polls",
            f"cycles that passed without a poll at {_CYCLE_MS} ms, as the connection's twin shows them, same run",
            at_most=True,
        ),
        Figure(
            "modbus.polls.shown",
            fast.overruns,
            "polls",
            f"the same at {_FAST_MS} ms, which no device keeps: they are left out, counted and shown",
            reach=1,
        ),
        Figure("modbus.polls", usual.lost + fast.lost, "polls", says, at_most=True),
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    made: int
    lost: int
    overruns: int


async def _run(on: RunningBroker, scale: Scale, link: MqttLink, counter: _Counter, cycle_ms: int) -> _Run:
    async with modbus_server(scale.folder, "--counting") as port:
        device = DeviceSettings(
            twin="device/bench/plc", address={"unit": 1}, points=registers(_REGISTERS, cycle_ms=cycle_ms)
        )
        settings = one_connection({"host": "127.0.0.1", "port": port}, [device])
        counter.delivered = counter.made = counter.overruns = counter.requests = 0
        link.publish(topics.mapper_config(on.account.name), encode(settings), qos=1, retain=True)
        with mapper_host(on, scale):
            await until(lambda: counter.delivered)
            await asyncio.sleep(_MEASURE_S)
            await until(lambda: counter.requests > _FEW, timeout_s=_WAIT_S)
    return _Run(counter.made, counter.made - counter.delivered, counter.overruns)


class _Counter:
    """Counts reports of the device, each of which must be of one poll, and reads the connection's own twin."""

    def __init__(self, link: MqttLink) -> None:
        self._link = link
        self.delivered = 0
        self.overruns = self.requests = 0
        self.made = 0
        """Polls that the server had counted at the newest of them: register 1 begins with 1 and counts with each."""

    def on_report(self, message: Message) -> None:
        report = decode_report(message.payload, what="report")
        parsed = topics.parse_report(message.topic)
        if parsed.key.kind is Kind.DEVICE:
            self.made = max(self.made, int(report.values.get("r1", 0)) - 1)
            self.delivered += "r1" in report.values
        else:  # what has not changed is not in it
            self.overruns = int(report.values.get("overruns", self.overruns))
            self.requests = int(report.values.get("requests", self.requests))
        self._link.publish(topics.ack(parsed.reporter), encode(Ack(stored=[report.id])))
