"""What one dead unit of 32 on a serial line costs the others."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Final

from mappers.sdk.config import DeviceSettings
from tests.bench.figure import Figure, Scale
from tests.bench.modbus_host import mapper_host, one_connection, registers
from tests.bench.rig import RunningBroker, broker, modbus_peer, serial_line, until
from twin.link import Message
from twin.link.mqtt import MqttLink
from twin.wire import topics
from twin.wire.codec import decode_report, encode
from twin.wire.messages import Ack

_UNITS: Final = 32
_DEAD: Final = 17
_REGISTERS: Final = 10
_TIMEOUT_MS: Final = 200
_ROUNDS: Final = 2
_WARM_S: Final = 2.0
_MEASURE_S: Final = 9.0
_WAIT_S: Final = 20.0


async def dead_slave(scale: Scale) -> list[Figure]:
    """Polls of 31 units with and without a dead one between them, in turns."""
    alone: list[float] = []
    beside: list[float] = []
    async with (
        broker(scale.folder) as on,
        serial_line(scale.folder) as (device, gateway),
        modbus_peer(
            scale.folder, "--rtu", str(device), "--units", "1", str(_UNITS), "--dead", str(_DEAD), "--counting"
        ),
        MqttLink(on.options("subscriber")) as link,
    ):
        await link.connected(_WAIT_S)
        counter = _Counter(link)
        await link.subscribe(topics.ALL_REPORTS, counter.on_report)
        for _ in range(_ROUNDS):
            for rates, units in ((alone, _without_dead()), (beside, list(range(1, _UNITS + 1)))):
                rates.append(await _rate(on, scale, link, counter, str(gateway), units))
    lost = 100 * (1 - median(beside) / median(alone))
    says = (
        f"polls that {_UNITS - 1} units on one line (RTU, pseudo-terminals, 115200 baud, {_REGISTERS} registers each,"
        f" polled as fast as they answer) lose to a dead one between them, time-out {_TIMEOUT_MS} ms, in the"
        f" {_MEASURE_S:g} s after it was found dead; median of {_ROUNDS} rounds, in turns"
    )
    return [
        Figure("modbus.dead_slave.polls", median(alone), "polls/s", "polls of the others without it, same run"),
        Figure("modbus.dead_slave", lost, "%", says, reach=5, at_most=True),
    ]


def _without_dead() -> list[int]:
    return [unit for unit in range(1, _UNITS + 1) if unit != _DEAD]


async def _rate(
    on: RunningBroker, scale: Scale, link: MqttLink, counter: _Counter, port: str, units: list[int]
) -> float:
    """Polls a second of all units but the dead one."""
    devices = [
        DeviceSettings(twin=f"device/bench/u{unit}", address={"unit": unit}, points=registers(_REGISTERS))
        for unit in units
    ]
    config = {"transport": "rtu", "serialPort": port, "baudRate": 115200, "timeoutMs": _TIMEOUT_MS}
    link.publish(topics.mapper_config(on.account.name), encode(one_connection(config, devices)), qos=1, retain=True)
    with mapper_host(on, scale):
        counter.seen.clear()
        await until(lambda: len(counter.seen) >= _UNITS - 1, timeout_s=_WAIT_S)
        await asyncio.sleep(_WARM_S)
        before = counter.polls
        await asyncio.sleep(_MEASURE_S)
        return (counter.polls - before) / _MEASURE_S


class _Counter:
    """Counts reports with values: each poll changes all of them. Acks as a hub does."""

    def __init__(self, link: MqttLink) -> None:
        self._link = link
        self.polls = 0
        self.seen: set[str] = set()

    def on_report(self, message: Message) -> None:
        report = decode_report(message.payload, what="report")
        if "r1" in report.values:
            self.polls += 1
            self.seen.add(str(topics.parse_report(message.topic).key))
        reporter = topics.parse_report(message.topic).reporter
        self._link.publish(topics.ack(reporter), encode(Ack(stored=[report.id])))
