"""A whole mapper: settings in, reports out, desired values over the line and back, through a pulled cable."""

import asyncio
from random import Random

from mappers.sdk.binding import bind_devices
from mappers.sdk.config import ConnectionSettings, DeviceSettings, PointSettings
from mappers.sdk.outbox import Outbox
from mappers.sdk.runner import MapperRunner
from mappers.serialgpio import MAPPER
from tests.mappers.serialgpio.conftest import until
from twin.clock import SystemClock
from twin.link.memory import MemoryBroker
from twin.model import Access, Reason, TwinKey, ValueType
from twin.wire import codec, topics
from twin.wire.messages import Ack, Delta, DesiredValue

SETTINGS = ConnectionSettings(
    name="hall/board",
    mapper="serialgpio",
    config={},
    devices=(
        DeviceSettings(
            twin="device/hall/board",
            address={},
            points=(
                PointSettings(property="door", type=ValueType.BOOLEAN, visitor={"line": 2, "bias": "pullUp"}),
                PointSettings(
                    property="lamp",
                    type=ValueType.BOOLEAN,
                    access=Access.READ_WRITE,
                    visitor={"line": 13, "direction": "output"},
                ),
                PointSettings(
                    property="fan",
                    type=ValueType.INT,
                    access=Access.READ_WRITE,
                    visitor={"line": 9, "kind": "pwm", "scale": 100},
                ),
            ),
        ),
    ),
)


async def test_values_are_reported_and_desired_ones_written_through_a_pulled_cable(board, driver):
    known: dict = {}
    reasons: set[Reason] = set()
    broker, clock, rng = MemoryBroker(), SystemClock(), Random(1)
    async with broker.link() as link, broker.link() as hub:

        def on_report(message):
            report = codec.decode_report(message.payload, what="report")
            known.update(report.values)
            reasons.update(mark.reason for name, mark in report.marks.items() if name == "door")
            hub.publish(topics.ack("mapper"), codec.encode(Ack(stored=[report.id])))

        await hub.subscribe(topics.ALL_REPORTS, on_report)
        outbox = Outbox(link, "mapper", clock, rng)
        await outbox.open()
        runner = MapperRunner("hall/board", driver, link=link, outbox=outbox, clock=clock, rng=rng)
        await runner.serve(bind_devices(SETTINGS, MAPPER).devices)
        task = asyncio.create_task(runner.run())
        try:
            await until(lambda: known == {"door": True, "lamp": False}, 30)
            desired = {"lamp": DesiredValue(value=True, tick=1), "fan": DesiredValue(value=33, tick=2)}
            delta = Delta(version=1, desired=desired)
            hub.publish(topics.delta(TwinKey.parse("device/hall/board")), codec.encode(delta), qos=1, retain=True)
            await until(lambda: (known.get("lamp"), known.get("fan")) == (True, 33))
            assert (board.board.now[13].state, board.board.now[9].state) == (1, 84)
            reasons.clear()
            board.pull()
            await until(lambda: bool(reasons & {Reason.NOT_CONNECTED}), 30)
            board.board.levels[2] = False
            board.plug()
            await until(lambda: (known.get("door"), known.get("lamp")) == (False, False), 30)
            hub.publish(topics.delta(TwinKey.parse("device/hall/board")), codec.encode(delta), qos=1, retain=True)
            await until(lambda: board.board.now[13].state == 1, 30)  # the board forgot it, the twin did not
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            runner.close()
            outbox.close()
