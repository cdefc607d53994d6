"""Messages over a pty: devices that are asked, that speak by themselves, that are slow, late, broken, or gone."""

import asyncio

import pytest

from mappers.sdk import DeviceTimeout, MapperError, NotConnected, Quality, Reason, ValueType, WriteRefused
from mappers.serialgpio.checksum import Checksum
from mappers.serialgpio.config import SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.framing import Check, FixedFramer, SlipFramer
from tests.mappers.serialgpio.conftest import Ear, point, until

DEVICE = SerialgpioDevice()
TEMPERATURE = point("temperature", ValueType.DOUBLE, request="T?", match="T=([-0-9.]+)")
MODE = point("mode", ValueType.INT, request="M?", match=r"M=(\d+)", write="M {value}", confirm="^OK$")
LED = point("led", write="LED {value}", on="ON", off="OFF")
HEARD = point("heard", ValueType.DOUBLE, match="^H ([-0-9.]+)")


class Sensor:
    """A device that is asked in lines."""

    def __init__(self) -> None:
        self.mode = 3
        self.led = ""
        self.said: dict[str, str] = {"T?": "T=21.5"}
        self.held = b""

    def received(self, chunk: bytes) -> bytes:
        answers = b""
        for line in chunk.decode().splitlines():
            if line.startswith("M "):
                self.mode = int(line[2:])
                answers += b"OK\n"
            elif line == "M?":
                answers += f"M={self.mode}\n".encode()
            elif line.startswith("LED "):
                self.led = line[4:]
            elif line in self.said:
                answers += self.said[line].encode() + b"\n"
        return answers


@pytest.fixture
def sensor() -> Sensor:
    return Sensor()


async def test_values_are_asked_for_and_written(plug, open_frames, sensor):
    driver = await open_frames(plug(sensor.received))
    plan = driver.plan(DEVICE, [TEMPERATURE, MODE, LED])
    first = await driver.read(plan)
    assert first.values == {"temperature": 21.5, "mode": 3}
    assert (first.faults["led"].reason, first.faults["led"].quality) == (Reason.STALE, Quality.UNCERTAIN)
    await driver.write(DEVICE, MODE, 7)
    await driver.write(DEVICE, LED, True)
    assert (await driver.read(plan)).values == {"temperature": 21.5, "mode": 7, "led": True}
    assert sensor.led == "ON"


async def test_points_of_one_request_are_asked_once(plug, open_frames):
    line = plug(lambda chunk: b"a=1 b=2\n" * chunk.count(b"?"))
    driver = await open_frames(line)
    points = [point(name, ValueType.INT, request="?", match=rf"{name}=(\d+)") for name in "ab"]
    assert (await driver.read(driver.plan(DEVICE, points))).values == {"a": 1, "b": 2}
    assert bytes(line.received) == b"?\n"


async def test_units_on_one_line(plug, open_frames):
    driver = await open_frames(plug(lambda chunk: chunk.replace(b"?", b"=").replace(b"\n", b"0\n")))
    one = point("x", ValueType.INT, request="{unit}?", starts="{unit}=", match=r"=(\d+)")
    for unit in ("7", "8"):
        device = SerialgpioDevice(unit=unit)
        assert (await driver.read(driver.plan(device, [one]))).values == {"x": 0}


async def test_binary_messages(plug, open_frames):
    framing = FixedFramer(6, b"\xa5", Check(Checksum.CRC16_MODBUS, "little"))
    line = plug(lambda _: b"\x00" + framing.frame(bytes.fromhex("0100fffb9080")))
    settings = {"type": "fixed", "length": 6, "start": "hex:A5", "crc": "crc16-modbus"}
    driver = await open_frames(line, framing=settings)
    points = [
        point("level", ValueType.INT, request="hex:01", starts="hex:01", type="int16", at=2),
        point("little", ValueType.INT, request="hex:01", type="uint16", at=1, byteOrder="little"),
        point("flag", request="hex:01", type="uint8", at=5, bit=7),
        point("raw", ValueType.BYTES, request="hex:01", type="bytes", at=4, length=1),
        point("beyond", ValueType.INT, request="hex:01", type="uint32", at=4),
    ]
    readings = await driver.read(driver.plan(DEVICE, points))
    assert readings.values == {"level": -5, "little": 0xFF00, "flag": True, "raw": "kA=="}
    assert readings.faults["beyond"].reason is Reason.DECODE_ERROR
    assert bytes(line.received) == FixedFramer(1, b"\xa5", Check(Checksum.CRC16_MODBUS, "little")).frame(b"\x01")


async def test_slip_with_a_check(plug, open_frames):
    slip = SlipFramer(Check(Checksum.CRC8))
    driver = await open_frames(plug(lambda _: slip.frame(b"v\xc0")), framing={"type": "slip", "crc": "crc8"})
    one = point("v", ValueType.INT, request="v", starts="v", type="uint8", at=1)
    assert (await driver.read(driver.plan(DEVICE, [one]))).values == {"v": 0xC0}


async def test_an_answer_that_is_no_value_is_a_fault(plug, open_frames, sensor):
    sensor.said["T?"] = "T=-.-"
    driver = await open_frames(plug(sensor.received))
    readings = await driver.read(driver.plan(DEVICE, [TEMPERATURE, MODE]))
    assert readings.values == {"mode": 3}
    assert readings.faults["temperature"].reason is Reason.DECODE_ERROR
    assert "'-.-' is no DOUBLE" in readings.faults["temperature"].text


# --- What comes by itself ---


async def test_what_comes_by_itself_is_told(plug, open_frames, sensor):
    line = plug(sensor.received)
    driver = await open_frames(line)
    ear = Ear()
    plan = driver.plan(DEVICE, [HEARD, TEMPERATURE])
    agreed = await driver.subscribe(plan, 10, ear)
    assert (agreed.alive_s, agreed.refused) == (60.0, {"temperature"})
    assert ear.faults["heard"].reason is Reason.TIMEOUT
    line.send(b"H 1.5\nG 9\nH 2")
    await until(lambda: ear.values.get("heard") == 1.5)
    line.send(b".5\n")
    await until(lambda: ear.values["heard"] == 2.5)
    assert (await driver.read(plan)).values == {"heard": 2.5, "temperature": 21.5}
    line.send(b"H 3\n" * 3)
    assert (await driver.read(plan)).values["temperature"] == 21.5  # not confused by what comes between
    await driver.unsubscribe(plan)
    told = len(ear.told)
    line.send(b"H 4\n")
    await until(lambda: driver._heard[plan.heard[0].exchange.field][0] == b"H 4")
    assert len(ear.told) == told


async def test_what_was_not_heard_lately_is_stale(plug, open_frames):
    line = plug()
    driver = await open_frames(line)
    device = SerialgpioDevice(silence_ms=30)
    plan = driver.plan(device, [HEARD])
    line.send(b"H 1\n")
    await until(lambda: bool(driver._heard))
    qualities = set()
    async with asyncio.timeout(5):
        while Quality.BAD not in qualities:
            readings = await driver.read(plan)
            assert readings.values == {"heard": 1.0}
            qualities |= {one.quality for one in readings.faults.values()}
            await asyncio.sleep(0.005)
    assert qualities == {Quality.UNCERTAIN, Quality.BAD}


async def test_points_that_are_asked_for_take_no_subscription(plug, open_frames, sensor):
    driver = await open_frames(plug(sensor.received))
    with pytest.raises(MapperError, match="asked for"):
        await driver.subscribe(driver.plan(DEVICE, [TEMPERATURE]), 10, Ear())


# --- Faults ---


async def test_a_device_that_does_not_answer(plug, open_frames):
    line = plug()
    driver = await open_frames(line, timeoutMs=30)
    with pytest.raises(DeviceTimeout, match=r"no answer to b'T\?' at .* in 30 ms"):
        await driver.read(driver.plan(DEVICE, [TEMPERATURE]))
    points = [point(f"p{n}", ValueType.INT, request=f"{n}?", match="x") for n in range(9)]
    line.received.clear()
    with pytest.raises(DeviceTimeout):
        await driver.read(driver.plan(DEVICE, points))
    assert bytes(line.received) == b"0?\n1?\n"  # the other seven would cost as much for nothing


async def test_one_request_without_answer_harms_no_other(plug, open_frames, sensor):
    driver = await open_frames(plug(sensor.received), timeoutMs=300)
    mute = point("mute", ValueType.INT, request="X?", match="X")
    readings = await driver.read(driver.plan(DEVICE, [mute, TEMPERATURE]))
    assert readings.values == {"temperature": 21.5}
    assert readings.faults["mute"].reason is Reason.TIMEOUT


async def test_a_wrong_check_is_no_answer_and_is_told(plug, open_frames):
    good = FixedFramer(2, check=Check(Checksum.CRC16_CCITT)).frame(b"ok")
    line = plug(lambda _: good[:-1] + b"\x00")
    settings = {"type": "fixed", "length": 2, "crc": "crc16-ccitt"}
    driver = await open_frames(line, timeoutMs=300, framing=settings)
    one = point("x", ValueType.INT, request="?", type="uint8")
    with pytest.raises(DeviceTimeout, match="1 broken messages came"):
        await driver.read(driver.plan(DEVICE, [one]))


async def test_a_late_answer_is_not_taken_for_the_next(plug, open_frames):
    asked: list[bytes] = []

    def mute(chunk: bytes) -> bytes:
        asked.append(chunk)
        return b""

    line = plug(mute)
    driver = await open_frames(line, timeoutMs=1000)
    first = point("first", ValueType.INT, request="1?", match=r"(\d+)")
    second = point("second", ValueType.INT, request="2?", match=r"(\d+)")
    with pytest.raises(DeviceTimeout):
        await driver.read(driver.plan(DEVICE, [first]))
    reading = asyncio.create_task(driver.read(driver.plan(DEVICE, [second])))
    await asyncio.sleep(0)
    line.send(b"111\n")  # of the first
    await until(lambda: len(asked) == 2)
    line.send(b"222\n")
    assert (await reading).values == {"second": 222}


async def test_a_cancelled_read_leaves_no_answer_behind(plug, open_frames, sensor):
    line = plug()
    driver = await open_frames(line, timeoutMs=1000)
    reading = asyncio.create_task(driver.read(driver.plan(DEVICE, [TEMPERATURE])))
    await until(lambda: bytes(line.received) == b"T?\n")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    line._answer = sensor.received
    assert (await driver.read(driver.plan(DEVICE, [MODE]))).values == {"mode": 3}


async def test_a_slow_device_is_waited_for(plug, open_frames):
    line = plug()
    driver = await open_frames(line, timeoutMs=5000)
    reading = asyncio.create_task(driver.read(driver.plan(DEVICE, [TEMPERATURE])))
    for byte in b"T=21.5\n":
        await asyncio.sleep(0)
        line.send(bytes((byte,)))
    assert (await reading).values == {"temperature": 21.5}


async def test_garbage_is_left_out(plug, open_frames, sensor):
    line = plug(lambda chunk: b"\xff\xfe\x00garbage\n" + sensor.received(chunk))
    driver = await open_frames(line)
    line.send(b"\x80\x81" * 9000)
    assert (await driver.read(driver.plan(DEVICE, [MODE]))).values == {"mode": 3}


async def test_a_pulled_cable_ends_a_read_and_is_told(plug, open_frames):
    line = plug()
    driver = await open_frames(line)
    ear = Ear()
    await driver.subscribe(driver.plan(DEVICE, [HEARD]), 10, ear)
    reading = asyncio.create_task(driver.read(driver.plan(DEVICE, [TEMPERATURE])))
    await until(lambda: bool(line.received))
    line.pull()
    with pytest.raises(NotConnected, match="is gone"):
        await reading
    assert ear.error is not None
    with pytest.raises(NotConnected, match="cannot be opened"):
        await driver.connect()
    line.plug()
    await driver.connect()
    line.send(b"H 1\n")
    await until(lambda: bool(driver._heard))


async def test_closing_ends_a_read(plug, open_frames):
    line = plug()
    driver = await open_frames(line)
    reading = asyncio.create_task(driver.read(driver.plan(DEVICE, [TEMPERATURE])))
    await until(lambda: bool(line.received))
    await driver.close()
    with pytest.raises(NotConnected, match="was closed"):
        await reading
    with pytest.raises(NotConnected, match="is closed"):
        await driver.read(driver.plan(DEVICE, [TEMPERATURE]))


@pytest.mark.parametrize(
    ("one", "value", "text"),
    [
        (TEMPERATURE, 5.0, "temperature: nothing says how it is written"),
        (point("x", ValueType.STRING, write="{value:03d}"), "a", "x: unit '', value 'a' cannot be written as "),
        (
            point("x", ValueType.STRING, write="{value}"),
            "a\nb",
            r"x: b'a\\nb' is empty or has the end of a line within",
        ),
        (point("x", ValueType.JSON, write="{value}"), [1], r"x: \[1\] is neither a number nor a text"),
        (point("x", line=2), True, "x: backend frames has messages, no lines"),
        (point("x", ValueType.INT, write="hex:{value:02X}"), 300, "cannot be written as 'hex:{value:02X}'"),
    ],
)
async def test_what_cannot_be_written_is_refused(plug, open_frames, one, value, text):
    line = plug()
    driver = await open_frames(line)
    with pytest.raises(WriteRefused, match=text):
        await driver.write(DEVICE, one, value)
    assert line.received == b""


async def test_a_write_without_its_answer_fails(plug, open_frames):
    driver = await open_frames(plug(), timeoutMs=30)
    with pytest.raises(DeviceTimeout):
        await driver.write(DEVICE, MODE, 5)


async def test_a_line_of_a_board_is_a_fault(plug, open_frames):
    driver = await open_frames(plug())
    plan = driver.plan(DEVICE, [point("x", line=2), point("y", ValueType.INT, request="a\nb", match="x")])
    assert {name: fault.reason for name, fault in plan.faults.items()} == dict.fromkeys("xy", Reason.CONFIG_ERROR)
    assert "no lines" in plan.faults["x"].text
    assert "end of a line" in plan.faults["y"].text


async def test_a_scan_lists_the_ports_that_match(plug, open_frames, tmp_path):
    plug()
    driver = await open_frames(plug(), serialPort=f"{tmp_path}/line*")
    found = [one async for one in driver.discover(SerialgpioScan(), lambda _: None)]
    assert [one.name for one in found] == ["line0", "line1"]
    with pytest.raises(NotConnected, match="matches 2 ports"):
        await driver.read(driver.plan(DEVICE, [TEMPERATURE]))
