"""Modules by name: their published messages, and virtual ones read and written over a pty."""

import pytest

from mappers.sdk import Reason, ValueType, WriteRefused
from mappers.serialgpio.config import SerialgpioDevice
from mappers.serialgpio.modules import TEMPLATES, Module, NotOffered, module_exchange
from mappers.serialgpio.point import SerialgpioPoint
from mappers.serialgpio.virtual_module import VirtualDcon, VirtualNumato, VirtualRelays
from tests.mappers.serialgpio.conftest import point, until

OUT = {"direction": "output"}
ANALOG = {"kind": "analog"}


@pytest.mark.parametrize(
    ("module", "unit", "address", "request_", "answer", "value", "on"),
    [
        ("numato", "", {"line": 0}, "gpio read 0", b"gpio read 0\n\r1\n\r", True, None),
        ("numato", "", {"line": "A", "activeLow": True}, "gpio read A", b"gpio read a\n\r1\n\r", True, None),
        ("numato", "", {"line": 1, **ANALOG}, "adc read 1", b"adc read 1\n\r1023\n\r", 1.0, None),
        ("numato", "", {"line": 2, **OUT}, None, None, None, "gpio set 2"),
        ("numato-relay", "", {"line": 3, **OUT}, "relay read 3", b"relay read 3\n\roff\n\r", False, "relay on 3"),
        # ADAM-4000 manual: outputs 1 and 0 on, input 0 high
        ("dcon", "06", {"line": 1, **OUT}, "$066", b"!030100", True, "#061101"),
        ("dcon", "06", {"line": 0}, "$066", b"!030100", True, None),
        ("dcon", "06", {"line": 1}, "$066", b"!030100", False, None),
        ("dcon", "1F", {"line": 10, **ANALOG}, "#1FA", b">-02.500", -2.5, None),
        ("kmtronic-2", "", {"line": 1, **OUT}, b"\xff\x01\x03", b"\xff\x01\x01", 1, b"\xff\x01\x01"),
        ("kmtronic-4", "", {"line": 3, **OUT}, b"\xff\x09\x00", b"\x00\x00\x01\x00", 1, b"\xff\x03\x01"),
        ("lcus", "", {"line": 1, **OUT}, None, None, None, b"\xa0\x01\x01"),
    ],
)
def test_published_messages(module, unit, address, request_, answer, value, on):
    exchange = module_exchange(Module(module), SerialgpioPoint.model_validate(address), unit)
    assert exchange.request == (request_.encode() if isinstance(request_, str) else request_)
    if answer is not None:
        assert exchange.accepts(answer)
        assert exchange.field.decode(answer, ValueType.DOUBLE if "kind" in address else ValueType.BOOLEAN) == value
    if on is not None:
        assert exchange.write(True) == (on.encode() if isinstance(on, str) else on)


def test_the_frame_of_a_lcus_relay_is_the_published_one():
    exchange = module_exchange(Module.LCUS, SerialgpioPoint(line="1", direction="output"), "")
    framing = TEMPLATES[Module.LCUS].framing
    assert framing.framed(exchange.write(True)).hex() == "a00101a2"
    assert framing.framed(exchange.write(False)).hex() == "a00100a1"


@pytest.mark.parametrize(
    ("module", "unit", "address", "text"),
    [
        ("numato", "", {"line": "W"}, "'W' is not 0 to 9, A to V, or 3 digits"),
        ("numato", "", {"line": 1, "kind": "pwm"}, "numato has analog and digital lines, not pwm"),
        ("numato", "", {"line": 1, "bias": "pullUp"}, "numato has no bias to set"),
        ("numato-relay", "", {"line": 1}, "numato-relay has only outputs; add direction: output"),
        ("dcon", "", {"line": 1}, "'' is not two digits, as unit: '01' of the device"),
        ("dcon", "01", {"line": 9}, "'9' is not 0 to 7"),
        ("dcon", "01", {"line": 16, **ANALOG}, "'16' is not 0 to 15"),
        ("kmtronic-4", "", {"line": 5, **OUT}, "'5' is not 1 to 4"),
        ("lcus", "", {"line": 0, **OUT}, "'0' is not 1 to 19"),
        ("lcus", "", {"match": "x"}, "a point of a module has a line; for example line: 0"),
    ],
)
def test_a_line_that_a_module_does_not_have(module, unit, address, text):
    with pytest.raises(NotOffered, match=text):
        module_exchange(Module(module), SerialgpioPoint.model_validate(address), unit)


def test_what_is_no_switch_is_refused():
    exchange = module_exchange(Module.LCUS, SerialgpioPoint(line="1", direction="output"), "")
    with pytest.raises(ValueError, match="1 is neither true nor false"):
        exchange.write(1)


async def opened(plug, open_frames, module, virtual, **settings):
    line = plug(virtual.received)
    return await open_frames(line, backend="module", module=module, **settings)


async def test_a_numato_module(plug, open_frames):
    virtual = VirtualNumato(levels={"0": True}, analog={"1": 341})
    driver = await opened(plug, open_frames, "numato", virtual)
    device = SerialgpioDevice()
    relay = point("relay", line=4, direction="output", activeLow=True)
    points = [point("door", line=0), point("level", ValueType.DOUBLE, line=1, kind="analog"), relay]
    plan = driver.plan(device, points)
    readings = await driver.read(plan)
    assert readings.values == {"door": True, "level": pytest.approx(1 / 3)}
    assert readings.faults["relay"].reason is Reason.STALE
    await driver.write(device, relay, True)
    assert virtual.levels["4"] is False
    assert (await driver.read(plan)).values["relay"] is True


async def test_a_numato_relay_module(plug, open_frames):
    virtual = VirtualNumato()
    driver = await opened(plug, open_frames, "numato-relay", virtual)
    device, relay = SerialgpioDevice(), point("relay", line="A", direction="output")
    await driver.write(device, relay, True)
    assert (await driver.read(driver.plan(device, [relay]))).values == {"relay": True}
    assert virtual.levels == {"A": True}


@pytest.mark.parametrize("checked", [False, True])
async def test_two_dcon_modules_on_one_line(plug, open_frames, checked):
    one = VirtualDcon("01", inputs=0b10, checked=checked)
    two = VirtualDcon("0A", analog={0: 1.25}, checked=checked)
    framing = {"framing": {"end": "\r", "crc": "sum8"}} if checked else {}

    line = plug(lambda chunk: one.received(chunk) + two.received(chunk))
    driver = await open_frames(line, backend="module", module="dcon", **framing)
    first, second = SerialgpioDevice(unit="01"), SerialgpioDevice(unit="0A")
    lamp = point("lamp", line=7, direction="output")
    await driver.write(first, lamp, True)
    plan = driver.plan(first, [point("a", line=0), point("b", line=1, activeLow=True), lamp])
    line.received.clear()
    assert (await driver.read(plan)).values == {"a": False, "b": False, "lamp": True}
    assert bytes(line.received).count(b"\r") == 1  # all three by one question
    assert one.outputs == 0x80
    level = [point(f"a{n}", ValueType.DOUBLE, line=n, kind="analog") for n in (0, 1)]
    readings = await driver.read(driver.plan(second, level))
    assert readings.values == {"a0": 1.25}
    assert (readings.faults["a1"].reason, readings.faults["a1"].text) == (
        Reason.DEVICE_FAILURE,
        "a1: the device said b'?0A'",
    )


async def test_a_dcon_module_that_refuses(plug, open_frames):
    line = plug(lambda _: b"?01\r")
    driver = await open_frames(line, backend="module", module="dcon")
    with pytest.raises(WriteRefused, match=r"the device answered b'\?01' to b'#011201'"):
        await driver.write(SerialgpioDevice(unit="01"), point("x", line=2, direction="output"), True)


@pytest.mark.parametrize(("module", "count"), [("kmtronic-2", 2), ("kmtronic-4", 4), ("kmtronic-8", 8)])
async def test_kmtronic_relays(plug, open_frames, module, count):
    virtual = VirtualRelays(count)
    driver = await opened(plug, open_frames, module, virtual)
    device = SerialgpioDevice()
    relays = [point(f"r{n}", line=n, direction="output") for n in range(1, count + 1)]
    await driver.write(device, relays[0], True)
    await driver.write(device, relays[1], True)
    await driver.write(device, relays[0], False)
    wanted = {f"r{n}": int(n == 2) for n in range(1, count + 1)}
    assert (await driver.read(driver.plan(device, relays))).values == wanted
    assert virtual.closed == {2}


async def test_lcus_relays_hold_what_was_written(plug, open_frames):
    virtual = VirtualRelays(lcus=True)
    driver = await opened(plug, open_frames, "lcus", virtual)
    device, relay = SerialgpioDevice(), point("relay", line=2, direction="output")
    await driver.write(device, relay, True)
    assert (await driver.read(driver.plan(device, [relay]))).values == {"relay": True}
    await until(lambda: virtual.closed == {2})
