"""What of bleak's and bumble's own rate of notifications is left through our mapper, and whether any is lost."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from random import Random
from statistics import median
from typing import Final

from mappers.ble import MAPPER
from mappers.ble.config import BleConnection
from mappers.ble.driver import BleDriver
from mappers.ble.virtual import Air
from mappers.sdk.binding import bind_devices
from mappers.sdk.config import ConnectionSettings, DeviceSettings, PointSettings
from mappers.sdk.outbox import Outbox
from mappers.sdk.runner import MapperRunner
from tests.bench.figure import Figure, Scale
from tests.bench.rig import until
from tests.peers.ble_peripheral import FAST, Sensor
from twin.clock import SystemClock
from twin.link import Message
from twin.link.memory import MemoryBroker, MemoryLink
from twin.model import ReportPolicy, Value, ValueType
from twin.wire import codec, topics

_MAC: Final = "C4:7C:8D:6A:12:34"
_ACCOUNT: Final = "mapper"
_COUNT: Final = 3000
_ROUNDS: Final = 5
_WAIT_S: Final = 30.0
_COMMIT_S: Final = 0.002
_ID: Final = len(b'{"id":')
_LAST: Final = f'"fast":{_COUNT - 1}'.encode()


async def notifications(scale: Scale) -> list[Figure]:  # no disk, and always short
    """Rounds of both by turns; the median of their ratios, and what was lost in all of ours."""
    pairs = [(await _bare(), await _ours()) for _ in range(_ROUNDS)]
    ratio = median(ours_s and bare_s / ours_s for bare_s, (ours_s, _) in pairs)
    rate = median(_COUNT / ours_s for _, (ours_s, _) in pairs)
    lost = sum(lost for _, (_, lost) in pairs)
    says = (
        "notifications through driver, conversion, change check and reports, acked each 2 ms, to notifications"
        f" into bare bleak, same run; {_COUNT} over a virtual link,"
        f" the peripheral in the same process, median of {_ROUNDS}"
    )
    return [
        Figure("ble.notifications.lost", lost, "notifications", "sent, but not reported, same run", at_most=True),
        Figure("ble.notifications.rate", rate, "notifications/s", "through our mapper, same run"),
        Figure("ble.notifications", ratio, "x", says, reach=0.75),
    ]


async def _sensor() -> tuple[Air, Sensor]:
    air, sensor = Air(), Sensor()
    await sensor.start(await air.device(_MAC))
    return air, sensor


async def _bare() -> float:
    """Seconds for all of them with bleak alone."""
    air, sensor = await _sensor()
    got: list[int] = []
    client = air.radio().client(_MAC, lambda _: None, timeout_s=_WAIT_S, pair=False)
    async with client:
        await client.start_notify(FAST, lambda _, given: got.append(struct.unpack("<I", given)[0]))
        return await _timed(sensor, lambda: len(got) >= _COUNT)


async def _ours() -> tuple[float, int]:
    """Seconds for all of them through the mapper, and how many were not reported."""
    air, sensor = await _sensor()
    broker, clock, rng = MemoryBroker(), SystemClock(), Random(1)
    async with broker.link() as link, broker.link() as hub:
        end = _Hub(hub)
        await hub.subscribe(topics.ALL_REPORTS, end.on_report)
        outbox = Outbox(link, _ACCOUNT, clock, rng)
        await outbox.open()
        driver = BleDriver(BleConnection(), radio=air.radio(), rng=rng)
        runner = MapperRunner("bench/radio", driver, link=link, outbox=outbox, clock=clock, rng=rng)  # type: ignore[arg-type]
        await runner.serve(bind_devices(_settings(), MAPPER).devices)
        tasks = [asyncio.create_task(runner.run()), asyncio.create_task(end.commit())]
        try:
            await until(lambda: bool(sensor.device and sensor.device.gatt_server.subscribers), timeout_s=_WAIT_S)
            took_s = await _timed(sensor, end.has_last)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            runner.close()
            outbox.close()
        return took_s, _COUNT - len(end.values() & set(range(_COUNT)))


async def _timed(sensor: Sensor, done: Callable[[], bool]) -> float:
    began_s = time.perf_counter()
    for number in range(_COUNT):
        await sensor.set(sensor.fast, FAST, struct.pack("<I", number))
        if number % 10 == 9:
            await asyncio.sleep(0)  # a radio sends no faster than its packets are taken
    async with asyncio.timeout(_WAIT_S):
        while not done():  # noqa: ASYNC110  # a sleep of 0: every pass of the loop
            await asyncio.sleep(0)
    return time.perf_counter() - began_s


class _Hub:
    """The hub's end: acknowledges what came since its last commit. Reports are opened after the clock has stopped.

    A hub is another process; what it spends on a report is no part of the figure.
    """

    def __init__(self, link: MemoryLink) -> None:
        self._link = link
        self.payloads: list[bytes] = []
        self._acked = 0

    def on_report(self, message: Message) -> None:
        self.payloads.append(message.payload)

    def has_last(self) -> bool:
        """Whether the last value was reported; what was sent again does not count twice."""
        return bool(self.payloads) and _LAST in self.payloads[-1]

    async def commit(self) -> None:
        """Acknowledge, for as long as it runs."""
        while True:
            await asyncio.sleep(_COMMIT_S)
            fresh, self._acked = self.payloads[self._acked :], len(self.payloads)
            if fresh:
                stored = b",".join(one[_ID : one.index(b",")] for one in fresh)
                self._link.publish(topics.ack(_ACCOUNT), b'{"stored":[%s]}' % stored)

    def values(self) -> set[Value]:
        """Every value that was reported."""
        reports = [codec.decode_report(one, what="report") for one in self.payloads]
        return {report.values["fast"] for report in reports if "fast" in report.values}


def _settings() -> ConnectionSettings:
    point = PointSettings(
        property="fast",
        type=ValueType.INT,
        report=ReportPolicy(always=True),
        visitor={"characteristic": FAST, "type": "uint32"},
    )
    device = DeviceSettings(twin="device/bench/sensor", address={"mac": _MAC}, points=(point,))
    return ConnectionSettings(name="bench/radio", mapper="ble", config={}, devices=(device,))
