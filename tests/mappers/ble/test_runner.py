"""A whole mapper: settings in, reports out, desired values over the virtual link and back."""

import asyncio
import struct
from random import Random

from mappers.ble import MAPPER
from mappers.sdk.binding import bind_devices
from mappers.sdk.config import ConnectionSettings, DeviceSettings, PointSettings
from mappers.sdk.outbox import Outbox
from mappers.sdk.runner import MapperRunner
from tests.mappers.ble.conftest import MAC, until
from tests.peers.ble_peripheral import LAMP
from twin.clock import SystemClock
from twin.link.memory import MemoryBroker
from twin.model import Access, Reason, TwinKey, ValueType
from twin.wire import codec, topics
from twin.wire.messages import Ack, Delta, DesiredValue

SETTINGS = ConnectionSettings(
    name="hall/radio",
    mapper="ble",
    config={},
    devices=(
        DeviceSettings(
            twin="device/hall/sensor",
            address={"mac": MAC},
            points=(
                PointSettings(property="temperature", type=ValueType.DOUBLE, visitor={"characteristic": "2A6E"}),
                PointSettings(
                    property="lamp",
                    type=ValueType.STRING,
                    access=Access.READ_WRITE,
                    visitor={"characteristic": LAMP, "names": {"ON": "01", "OFF": "00"}, "notify": False},
                ),
            ),
        ),
    ),
)


async def test_values_are_reported_and_desired_ones_written_through_a_lost_link(sensor, driver):
    known: dict = {}
    reasons: set[Reason] = set()
    broker, clock, rng = MemoryBroker(), SystemClock(), Random(1)
    async with broker.link() as link, broker.link() as hub:

        def on_report(message):
            report = codec.decode_report(message.payload, what="report")
            known.update(report.values)
            reasons.update(mark.reason for name, mark in report.marks.items() if name == "temperature")
            hub.publish(topics.ack("mapper"), codec.encode(Ack(stored=[report.id])))

        await hub.subscribe(topics.ALL_REPORTS, on_report)
        outbox = Outbox(link, "mapper", clock, rng)
        await outbox.open()
        runner = MapperRunner("hall/radio", driver, link=link, outbox=outbox, clock=clock, rng=rng)
        await runner.serve(bind_devices(SETTINGS, MAPPER).devices)
        task = asyncio.create_task(runner.run())
        try:
            await until(lambda: known == {"temperature": 21.5, "lamp": "OFF"}, timeout_s=30)
            delta = Delta(version=1, desired={"lamp": DesiredValue(value="ON", tick=1)})
            hub.publish(topics.delta(TwinKey.parse("device/hall/sensor")), codec.encode(delta), qos=1, retain=True)
            await until(lambda: known.get("lamp") == "ON")
            assert sensor.values[LAMP] == b"\x01"
            sensor.values["2A6E"] = struct.pack("<h", 300)
            reasons.clear()
            await sensor.cut()
            await until(lambda: known.get("temperature") == 3.0, timeout_s=30)
            assert reasons & {Reason.NOT_CONNECTED, Reason.TIMEOUT}  # of the link, or of a poll that missed it first
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            runner.close()
            outbox.close()
