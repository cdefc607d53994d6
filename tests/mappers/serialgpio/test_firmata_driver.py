"""A Firmata board over a pty: pins read, told and written; cables pulled, boards that restart, hang, or talk noise."""

import asyncio
import os

import pytest

from mappers.sdk import (
    Access,
    DeviceTimeout,
    MapperError,
    NotConnected,
    Progress,
    Quality,
    Reason,
    ValueType,
    WriteRefused,
)
from mappers.serialgpio.config import SerialgpioDevice, SerialgpioScan
from mappers.serialgpio.firmata import Mode, Version
from mappers.serialgpio.ports import FoundPort
from mappers.serialgpio.virtual_board import VirtualBoard, uno_pins
from mappers.serialgpio.virtual_line import BoardOnLine, VirtualLine
from tests.mappers.serialgpio.conftest import Ear, point, until

DEVICE = SerialgpioDevice()
BUTTON = point("button", line=2, bias="pullUp", activeLow=True)
LAMP = point("lamp", line="D13", direction="output")
LEVEL = point("level", ValueType.DOUBLE, line="A0", kind="analog")
FAN = point("fan", ValueType.DOUBLE, line=9, kind="pwm")


async def test_inputs_are_read(board, driver):
    board.board.volt(0, 1023)
    plan = driver.plan(DEVICE, [BUTTON, LEVEL])
    assert (await driver.read(plan)).values == {"button": False, "level": 1.0}
    board.wire(2, False)
    board.board.volt(0, 341)
    await until(lambda: driver._link.analog[0] == 341)
    readings = await driver.read(plan)
    assert readings.values["button"] is True
    assert readings.values["level"] == pytest.approx(1 / 3)
    assert board.board.now[2].mode == Mode.PULLUP


async def test_outputs_are_written_and_read_back(board, driver):
    plan = driver.plan(DEVICE, [LAMP, FAN])
    first = await driver.read(plan)
    assert first.values == {"lamp": False}
    assert (first.faults["fan"].reason, first.faults["fan"].quality) == (Reason.STALE, Quality.UNCERTAIN)
    assert board.board.now[9].mode == Mode.OUTPUT  # reading changed nothing
    await driver.write(DEVICE, LAMP, True)
    await driver.write(DEVICE, FAN, 0.3)
    assert (await driver.read(plan)).values == {"lamp": True, "fan": 0.3}  # though the board holds 77 of 255
    assert (board.board.now[13].state, board.board.now[9].state) == (1, 76)
    board.board.now[9].state = 255
    assert (await driver.read(plan)).values["fan"] == 1.0


async def test_an_output_may_be_active_low(board, driver):
    relay = point("relay", line=7, direction="output", activeLow=True)
    assert (await driver.read(driver.plan(DEVICE, [relay]))).values == {"relay": True}
    await driver.write(DEVICE, relay, False)
    assert (await driver.read(driver.plan(DEVICE, [relay]))).values == {"relay": False}
    assert board.board.now[7].state == 1


async def test_a_servo_takes_degrees(board, driver):
    servo = point("servo", ValueType.INT, line=4, kind="servo")
    await driver.write(DEVICE, servo, 90)
    assert (await driver.read(driver.plan(DEVICE, [servo]))).values == {"servo": 90}
    assert (board.board.now[4].mode, board.board.now[4].state) == (Mode.SERVO, 90)


async def test_pins_beyond_15_are_set_by_extended_messages(new_driver, tmp_path):
    pins = (*uno_pins(), {Mode.PWM: 16})
    async with BoardOnLine(VirtualBoard(pins), tmp_path / "mega") as board:
        driver = new_driver(board.line.path)
        await driver.connect()
        fine = point("fine", ValueType.DOUBLE, line=20, kind="pwm")
        await driver.write(DEVICE, fine, 1)
        assert (await driver.read(driver.plan(DEVICE, [fine]))).values == {"fine": 1}
        assert board.board.now[20].state == 65535


async def test_older_sketches_set_a_port_and_leave_its_other_pins(new_driver, tmp_path):
    async with BoardOnLine(VirtualBoard(version=Version(2, 3)), tmp_path / "old") as board:
        driver = new_driver(board.line.path)
        await driver.connect()
        pins = [point(f"d{line}", line=line, direction="output") for line in (8, 10, 12)]
        await driver.read(driver.plan(DEVICE, [point("button", line=9, bias="pullUp")]))
        for one in pins[:2]:
            await driver.write(DEVICE, one, True)
        await driver.write(DEVICE, pins[2], True)
        await driver.write(DEVICE, pins[0], False)
        assert (await driver.read(driver.plan(DEVICE, pins))).values == {"d8": False, "d10": True, "d12": True}
        assert b"\xf5" not in bytes(board.line.received)


async def test_older_sketches_pull_up_an_input_that_is_set(new_driver, tmp_path):
    pins = tuple({mode: bits for mode, bits in modes.items() if mode != Mode.PULLUP} for modes in uno_pins())
    async with BoardOnLine(VirtualBoard(pins, Version(2, 3)), tmp_path / "old") as board:
        driver = new_driver(board.line.path)
        await driver.connect()
        await driver.write(DEVICE, point("d7", line=7, direction="output"), True)
        readings = await driver.read(driver.plan(DEVICE, [point("button", line=2, bias="pullUp")]))
        assert readings.values == {"button": True}
        assert (board.board.now[2].mode, board.board.now[2].state, board.board.now[7].state) == (Mode.INPUT, 1, 1)


@pytest.mark.parametrize(
    ("one", "reason", "text"),
    [
        (point("x", line="B7"), Reason.CONFIG_ERROR, "x: line 'B7' is no pin of a Firmata board; for example line: 13"),
        (point("x", line=2, bias="pullDown"), Reason.CONFIG_ERROR, "x: Firmata knows no pull-down; use bias: pullUp"),
        (point("x", line=20), Reason.ILLEGAL_ADDRESS, "x: the board has pins 0 to 19, not 20"),
        (point("x", line=1), Reason.ILLEGAL_ADDRESS, "x: pin 1 of the board cannot be input, only nothing"),
        (point("x", line="A6", kind="analog"), Reason.ILLEGAL_ADDRESS, "x: the board has no analog channel 6"),
        (point("x", line=8, kind="analog"), Reason.ILLEGAL_ADDRESS, "x: pin 8 of the board cannot be analog, only inp"),
        (point("x", match="x"), Reason.CONFIG_ERROR, "x: a Firmata board has lines, no messages; for example line: 13"),
        (point("x", line=8, kind="pwm"), Reason.ILLEGAL_ADDRESS, "x: pin 8 of the board cannot be pwm, only input, "),
    ],
)
async def test_a_line_that_the_board_does_not_have_is_a_fault_of_its_point(driver, one, reason, text):
    readings = await driver.read(driver.plan(DEVICE, [one, LAMP]))
    assert readings.values == {"lamp": False}
    assert readings.faults["x"].reason is reason
    assert readings.faults["x"].text.startswith(text)


async def test_one_pin_cannot_be_two_things(driver):
    both = [point("in", line=2), point("out", line="D2", direction="output"), LAMP]
    readings = await driver.read(driver.plan(DEVICE, both))
    assert readings.faults["out"].text == "out: pin 2 is input for another property already"
    with pytest.raises(WriteRefused, match="pin 2 is input for another"):
        await driver.write(DEVICE, both[1], True)


@pytest.mark.parametrize(
    ("one", "value", "text"),
    [
        (BUTTON, True, "button: line 2 is an input"),
        (LAMP, 1, "lamp: 1 is neither true nor false"),
        (FAN, 1.5, "fan: 1.5 is not a number from 0 to 1"),
        (FAN, True, "fan: True is not a number"),
        (FAN, float("nan"), "fan: nan is not a number"),
        (point("x", line=8, kind="pwm"), 0.5, "x: pin 8 of the board cannot be pwm"),
    ],
)
async def test_what_cannot_be_written_is_refused(driver, one, value, text):
    with pytest.raises(WriteRefused, match=text):
        await driver.write(DEVICE, one, value)


# --- Subscriptions ---


async def test_inputs_are_told_as_they_change(board, driver):
    ear = Ear()
    agreed = await driver.subscribe(driver.plan(DEVICE, [BUTTON, LEVEL, LAMP]), 10, ear)
    assert agreed.refused == {"lamp"}
    assert ear.values == {"button": False, "level": 0.0}
    board.wire(2, False)
    await until(lambda: ear.values["button"] is True)
    board.board.volt(0, 1023)
    await until(lambda: ear.values["level"] == 1.0)
    told = len(ear.told)
    await until(lambda: ear.alive_count > 2)
    assert len(ear.told) == told  # what does not change is not told


async def test_analog_values_are_told_no_faster_than_their_cycle(board, driver):
    ear = Ear()
    await driver.subscribe(driver.plan(DEVICE, [LEVEL]), 3_600_000, ear)
    board.board.volt(0, 100)
    await until(lambda: ear.values["level"] != 0.0)
    board.board.volt(0, 200)
    await until(lambda: driver._link.analog[0] == 200)
    assert len(ear.told) == 2


async def test_a_debounced_input_is_told_when_it_has_settled(board, driver):
    ear = Ear()
    steady = point("steady", line=2, debounceMs=50)
    edges = point("edges", ValueType.INT, line=2, edge="both")
    await driver.subscribe(driver.plan(DEVICE, [steady, edges]), 10, ear)
    for level in (True, False, True, False, True):
        board.wire(2, level)
    await until(lambda: ear.values["steady"] is True)
    assert ear.values["edges"] == 5
    assert [one.values["steady"] for one in ear.told if "steady" in one.values] == [False, True]


async def test_counts_go_on_over_a_lost_connection(board, driver):
    edges = driver.plan(DEVICE, [point("edges", ValueType.INT, line=2, edge="rising")])
    await driver.read(edges)
    board.wire(2, True)
    assert (await driver.read(edges)).values == {"edges": 1}
    board.wire(2, False)
    await driver.close()
    board.wire(2, True)
    await driver.connect()
    assert (await driver.read(edges)).values == {"edges": 1}  # what happened meanwhile was not seen
    board.wire(2, False)
    board.wire(2, True)
    assert (await driver.read(edges)).values == {"edges": 2}


async def test_a_plan_of_outputs_is_polled(driver):
    with pytest.raises(MapperError, match="outputs are read back"):
        await driver.subscribe(driver.plan(DEVICE, [LAMP]), 10, Ear())


async def test_nothing_is_told_after_unsubscribe(board, driver):
    ear = Ear()
    plan = driver.plan(DEVICE, [BUTTON])
    await driver.subscribe(plan, 10, ear)
    await driver.unsubscribe(plan)
    await driver.unsubscribe(plan)
    board.wire(2, False)
    assert (await driver.read(plan)).values == {"button": True}
    assert ear.values == {"button": False}


# --- Faults ---


async def test_a_pulled_cable_is_told_and_the_board_found_again(board, driver):
    ear = Ear()
    plan = driver.plan(DEVICE, [BUTTON])
    await driver.subscribe(plan, 10, ear)
    board.pull()
    await until(lambda: ear.error is not None)
    assert "is gone" in str(ear.error)
    with pytest.raises(NotConnected):
        await driver.read(plan)
    with pytest.raises(NotConnected, match="cannot be opened"):
        await driver.connect()
    board.plug()
    await driver.connect()
    assert (await driver.read(plan)).values == {"button": False}


async def test_a_cable_pulled_within_a_read_ends_the_read(board, driver):
    plan = driver.plan(DEVICE, [BUTTON])
    board.hangs = True
    reading = asyncio.create_task(driver.read(plan))
    await until(lambda: b"\xf9" in bytes(board.line.received)[-3:])
    board.pull()
    with pytest.raises(NotConnected):
        await reading


async def test_a_board_that_began_anew_is_lost(board, driver):
    ear = Ear()
    plan = driver.plan(DEVICE, [BUTTON])
    await driver.subscribe(plan, 10, ear)
    board.boot()
    await until(lambda: ear.error is not None)
    assert "began anew" in str(ear.error)
    await driver.connect()
    assert (await driver.read(plan)).values == {"button": False}


async def test_a_board_that_hangs_is_lost_after_some_beats(board, driver):
    ear = Ear()
    await driver.subscribe(driver.plan(DEVICE, [BUTTON]), 10, ear)
    board.hangs = True
    await until(lambda: ear.error is not None)
    assert "is silent" in str(ear.error)


async def test_a_board_that_hangs_does_not_answer_a_read(board, new_driver):
    driver = new_driver(board.line.path, timeoutMs=300)
    await driver.connect()
    board.hangs = True
    with pytest.raises(DeviceTimeout, match="no answer in 300 ms"):
        await driver.read(driver.plan(DEVICE, [BUTTON]))
    board.hangs = False
    assert (await driver.read(driver.plan(DEVICE, [LAMP]))).values == {"lamp": False}


async def test_a_port_with_no_board_is_told_so(new_driver, tmp_path):
    async with VirtualLine(lambda _: b"", tmp_path / "mute") as line:
        with pytest.raises(NotConnected, match="no Firmata board answers"):
            await new_driver(line.path, bootMs=200).connect()
        assert b"\xf0\x79\xf7" in line.received


async def test_noise_is_no_board(new_driver, tmp_path):
    async with VirtualLine(lambda chunk: os.urandom(64), tmp_path / "noise") as line:
        with pytest.raises(NotConnected):
            await new_driver(line.path, bootMs=300, timeoutMs=100).connect()


async def test_noise_between_messages_is_left_out(board, driver):
    plan = driver.plan(DEVICE, [BUTTON])
    board.line.send(bytes(range(0x00, 0x7F)) + b"\xf0\x79\xf7" + b"\xf0\x6c\x00\xf7")
    assert (await driver.read(plan)).values == {"button": False}


async def test_a_port_is_for_one_program(board, driver, new_driver):
    with pytest.raises(NotConnected, match="cannot be opened"):
        await new_driver(board.line.path).connect()


async def test_a_speed_that_no_port_has_is_told(board, new_driver):
    with pytest.raises(NotConnected):
        await new_driver(str(board.line.path) + "-not").connect()


async def test_closed_drivers_say_so(new_driver):
    driver = new_driver("/dev/none")
    await driver.close()
    with pytest.raises(NotConnected, match="is closed"):
        await driver.read(driver.plan(DEVICE, [LAMP]))


# --- Finding boards ---


async def scan(driver, **wanted):
    await driver.connect()
    told: list[Progress] = []
    found = [one async for one in driver.discover(SerialgpioScan.model_validate(wanted), told.append)]
    return found, told


async def test_a_scan_shows_the_pins_of_a_board_as_they_are(board, new_driver):
    board.board.now[2].mode = Mode.PULLUP
    board.board.now[9].mode = Mode.PWM
    (found,), told = await scan(new_driver(board.line.path))
    assert found.name == "board"
    assert found.identity == {"port": board.line.path, "firmware": "StandardFirmata.ino 2.5"}
    points = {one.name: one for one in found.points}
    assert len(points) == 18
    assert points["D2"].visitor == {"line": "D2", "bias": "pullUp"}
    assert (points["D9"].visitor, points["D9"].type) == ({"line": "D9", "kind": "pwm"}, ValueType.DOUBLE)
    assert (points["D13"].visitor, points["D13"].access) == ({"line": "D13", "direction": "output"}, Access.READ_WRITE)
    assert points["A0"].visitor == {"line": "A0", "kind": "analog"}
    assert (told[0].of, told[0].place) == (1, board.line.path)
    assert bytes(board.line.received).count(b"\xf0\x6b\xf7") == 1  # the port was opened once
    plan = driver_plan(new_driver(board.line.path), found.points)
    assert plan.faults == {}


def driver_plan(driver, found):
    return driver.plan(DEVICE, [point(one.name, one.type, **one.visitor) for one in found])


async def test_a_scan_by_pattern_shows_all_ports_though_some_have_no_board(board, new_driver, tmp_path):
    async with VirtualLine(lambda _: b"", tmp_path / "mute"):
        found, _ = await scan(new_driver(f"{tmp_path}/*"), probe=True, probeMs=300)
        assert {one.name: len(one.points) for one in found} == {"board": 18, "mute": 0}
        board.line.received.clear()
        found, _ = await scan(new_driver(f"{tmp_path}/*"))
        assert board.line.received == b""  # nothing was sent to whatever is there
        assert {one.name: len(one.points) for one in found} == {"board": 0, "mute": 0}


async def test_a_scan_of_a_named_port_without_a_board_says_so(new_driver, tmp_path):
    async with VirtualLine(lambda _: b"", tmp_path / "mute") as line:
        with pytest.raises(NotConnected, match="no Firmata board answers"):
            await scan(new_driver(line.path, bootMs=200))


async def test_a_board_that_hangs_in_a_scan_is_told(board, new_driver):
    driver = new_driver(board.line.path, timeoutMs=300)
    await driver.connect()
    board.hangs = True
    with pytest.raises(NotConnected, match="no answer in 300 ms"):
        _ = [one async for one in driver.discover(SerialgpioScan(), lambda _: None)]


async def test_a_pattern_serves_the_one_board_it_matches_and_no_more(board, new_driver, tmp_path):
    driver = new_driver(f"{tmp_path}/b*")
    await driver.connect()
    assert (await driver.read(driver.plan(DEVICE, [LAMP]))).values == {"lamp": False}
    await driver.close()
    (tmp_path / "b2").touch()
    await driver.connect()
    with pytest.raises(NotConnected, match=r"matches 2 ports: .*/b2, .*/board"):
        await driver.read(driver.plan(DEVICE, [LAMP]))


def test_ports_are_matched_by_their_stable_names_too():
    from mappers.serialgpio.ports import matching, the_one

    ports = [FoundPort("/dev/ttyACM0", "/dev/serial/by-id/usb-Arduino_1"), FoundPort("/dev/ttyUSB0")]
    assert [one.best for one in matching("*", lambda: ports)] == ["/dev/serial/by-id/usb-Arduino_1", "/dev/ttyUSB0"]
    assert the_one("*Arduino*", lambda: ports) == "/dev/ttyACM0"
    assert the_one("/dev/ttyS9", lambda: ports) == "/dev/ttyS9"
    with pytest.raises(NotConnected, match="matches 0 ports"):
        the_one("*", list)


def test_the_ports_of_this_machine_can_be_listed():
    from mappers.serialgpio.ports import serial_ports

    assert all(one.path for one in serial_ports())
