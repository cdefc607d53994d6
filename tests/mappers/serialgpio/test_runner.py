"""A whole mapper with each backend: settings in, reports out, desired values over the line, through a pulled cable."""

import asyncio
from random import Random

from mappers.sdk.binding import bind_devices
from mappers.sdk.config import ConnectionSettings, DeviceSettings, PointSettings
from mappers.sdk.outbox import Outbox
from mappers.sdk.runner import MapperRunner
from mappers.serialgpio import MAPPER
from mappers.serialgpio.chip_driver import ChipDriver
from mappers.serialgpio.config import SerialgpioConnection
from mappers.serialgpio.virtual_chip import VirtualChip
from mappers.serialgpio.virtual_module import VirtualDcon
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


async def reports_of(driver, settings, desired, ready):
    """Serve with this driver until ``ready`` is content with the values; desired values are wished for at the start."""
    known: dict = {}
    broker, clock, rng = MemoryBroker(), SystemClock(), Random(1)
    async with broker.link() as link, broker.link() as hub:

        def on_report(message):
            report = codec.decode_report(message.payload, what="report")
            known.update(report.values)
            hub.publish(topics.ack("mapper"), codec.encode(Ack(stored=[report.id])))

        await hub.subscribe(topics.ALL_REPORTS, on_report)
        outbox = Outbox(link, "mapper", clock, rng)
        await outbox.open()
        runner = MapperRunner(settings.name, driver, link=link, outbox=outbox, clock=clock, rng=rng)
        await runner.serve(bind_devices(settings, MAPPER).devices)
        wished = {name: DesiredValue(value=value, tick=1) for name, value in desired.items()}
        key = TwinKey.parse(settings.devices[0].twin)
        hub.publish(topics.delta(key), codec.encode(Delta(version=1, desired=wished)), qos=1, retain=True)
        task = asyncio.create_task(runner.run())
        try:
            await until(lambda: ready(known), 30)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            runner.close()
            outbox.close()


def served(config: dict, address: dict, **visitors: dict) -> ConnectionSettings:
    points = tuple(
        PointSettings(property=name, access=Access.READ_WRITE, cycle_ms=50, **visitor)
        for name, visitor in visitors.items()
    )
    device = DeviceSettings(twin="device/hall/one", address=address, points=points)
    return ConnectionSettings(name="hall/one", mapper="serialgpio", config=config, devices=(device,))


async def test_a_module_is_served(plug):
    virtual = VirtualDcon("01", inputs=1)
    config = {"backend": "module", "module": "dcon", "serialPort": plug(virtual.received).path}
    settings = served(
        config,
        {"unit": "01"},
        dry={"type": ValueType.BOOLEAN, "visitor": {"line": 0}},
        pump={"type": ValueType.BOOLEAN, "visitor": {"line": 3, "direction": "output"}},
    )
    driver = MAPPER.driver(SerialgpioConnection.model_validate(config))
    await reports_of(driver, settings, {"pump": True}, lambda known: known == {"dry": True, "pump": True})
    assert virtual.outputs == 8


async def test_what_a_device_says_by_itself_is_served(plug):
    line = plug()
    config = {"backend": "frames", "serialPort": line.path}
    settings = served(
        config,
        {},
        level={"type": ValueType.DOUBLE, "visitor": {"match": "L=(.+)"}},
        mode={"type": ValueType.INT, "visitor": {"write": "M={value}"}},
    )

    def ready(known: dict) -> bool:
        line.send(b"L=4.5\n")
        return known == {"level": 4.5, "mode": 2}

    driver = MAPPER.driver(SerialgpioConnection.model_validate(config))
    await reports_of(driver, settings, {"mode": 2}, ready)
    assert b"M=2\n" in line.received


async def test_a_chip_is_served():
    chip = VirtualChip(["BUTTON", "RELAY"], lambda: 1_700_000_000_000)
    config = {"backend": "gpiochip"}
    settings = served(
        config,
        {},
        button={"type": ValueType.BOOLEAN, "visitor": {"line": "BUTTON"}},
        relay={"type": ValueType.BOOLEAN, "visitor": {"line": "RELAY", "direction": "output"}},
    )

    def ready(known: dict) -> bool:
        chip.wire(0, True)
        return known == {"button": True, "relay": True}

    driver = ChipDriver(SerialgpioConnection.model_validate(config), lambda path: chip)
    await reports_of(driver, settings, {"relay": True}, ready)
    assert chip.level(1)
