"""The driver against libmodbus, pyModbusTCP and a scripted host. Decoding is checked by code of its own."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import subprocess
import sys
import time

import pytest

from mappers.modbus import MAPPER
from mappers.modbus.config import ModbusConnection, ModbusDevice
from mappers.modbus.driver import ModbusDriver
from mappers.modbus.plan import Table
from mappers.modbus.point import ModbusPoint
from mappers.sdk import DeviceTimeout, NotConnected, Point, Reason, ValueType, WriteRefused

UNIT = ModbusDevice()


def point(name, value_type=ValueType.INT, **keys):
    return Point(name, value_type, ModbusPoint.model_validate({"table": "holding", "type": "uint16", **keys}))


def words(*addresses, table="holding"):
    return [point(f"r{address}", table=table, address=address) for address in addresses]


# --- Everything in 1000 registers, decoded a second way ---

SIZES = {"int16": 1, "uint16": 1, "float16": 1, "int32": 2, "uint32": 2, "float32": 2}
SIZES |= {"int64": 4, "uint64": 4, "float64": 4, "string": 3, "bool": 1, "bcd32": 2}
ORDERS = [(byte, word) for byte in ("big", "little") for word in ("big", "little")]


def mixed_byte(index):
    """Byte of the server's mix, as the C source makes it."""
    x = (index * 2654435761 + 12345) & 0xFFFFFFFF
    x ^= x >> 15
    x = (x * 2246822519) & 0xFFFFFFFF
    x ^= x >> 13
    return x & 0xFF


def mixed_points():
    points, address, turn = [], 0, 0
    while address < 1000 - 4:
        kind = list(SIZES)[turn % len(SIZES)]
        byte, word = ORDERS[(turn // len(SIZES)) % 4]
        extra = {"length": 3} if kind == "string" else {"bit": turn % 16} if kind == "bool" else {}
        points.append(point(f"{turn}", type=kind, address=address, byteOrder=byte, wordOrder=word, **extra))
        address += SIZES[kind]
        turn += 1
    return points


def half(word):
    """Value of a half-precision float by its definition."""
    sign = -1.0 if word & 0x8000 else 1.0
    exponent, fraction = (word >> 10) & 31, word & 1023
    if exponent == 31:
        return sign * float("inf") if fraction == 0 else float("nan")
    return sign * (fraction / 1024 * 2**-14 if exponent == 0 else (1 + fraction / 1024) * 2.0 ** (exponent - 15))


def number(kind, unsigned):
    """Value of an unsigned integer read as another type, by ctypes."""
    if kind == "float16":
        return half(unsigned)
    bits = int(kind[-2:])
    if kind.startswith("float"):
        holder = (ctypes.c_uint32 if bits == 32 else ctypes.c_uint64)(unsigned)
        return (ctypes.c_float if bits == 32 else ctypes.c_double).from_buffer(holder).value
    return unsigned - 2**bits if kind.startswith("int") and unsigned >> (bits - 1) else unsigned


def independent(address, kind, byte, word, bit):
    """Value in the mix, or None for one that cannot be: no number, no decimal digit, no text."""
    registers = [[mixed_byte(2 * a), mixed_byte(2 * a + 1)] for a in range(address, address + SIZES[kind])]
    if word == "little":
        registers.reverse()
    if byte == "little":
        registers = [[low, high] for high, low in registers]
    flat = [byte for register in registers for byte in register]
    if kind == "string":
        try:
            return bytes(flat).rstrip(b"\0").decode("utf-8")
        except UnicodeDecodeError:
            return None
    unsigned = int("".join(f"{byte:02x}" for byte in flat), 16)
    if kind == "bool":
        return bool(unsigned >> bit & 1)
    if kind == "bcd32":
        digits = f"{unsigned:08x}"
        return int(digits) if digits.isdecimal() else None
    found = number(kind, unsigned)
    return None if found != found or found in (float("inf"), float("-inf")) else found


def expected_mix(points):
    found = {}
    for each in points:
        address = each.address
        found[each.name] = independent(
            address.address, str(address.type), str(address.byte_order), str(address.word_order), address.bit
        )
    return found


def assert_is_the_mix(points, readings):
    expected = expected_mix(points)
    assert readings.values == {name: value for name, value in expected.items() if value is not None}
    assert readings.faults.keys() == {name for name, value in expected.items() if value is None}
    assert {fault.reason for fault in readings.faults.values()} <= {Reason.DECODE_ERROR}
    assert len(readings.values) > 0.7 * len(points)


@pytest.mark.parametrize("table", ["holding", "input"])
async def test_a_thousand_registers_of_all_types_and_orders(serve, connect, table):
    driver = await connect(serve("--tcp", 0, "--mixed").port)
    points = [Point(p.name, p.type, p.address.model_copy(update={"table": Table(table)})) for p in mixed_points()]
    assert_is_the_mix(points, await driver.read(driver.plan(UNIT, points)))


async def test_neighbours_cost_one_request_a_full_block(serve, connect):
    peer = serve("--tcp", 0, "--log")
    driver = await connect(peer.port)
    readings = await driver.read(driver.plan(UNIT, words(*range(1000))))
    assert readings.values == {f"r{n}": n for n in range(1000)}
    assert peer.reads() == [(3, start, 125) for start in range(0, 1000, 125)]


async def test_counting_registers_change_at_every_poll(serve, connect):
    driver = await connect(serve("--tcp", 0, "--counting").port)
    plan = driver.plan(UNIT, words(0, 999))
    assert (await driver.read(plan)).values == {"r0": 1, "r999": 1000}
    assert (await driver.read(plan)).values == {"r0": 2, "r999": 1001}


async def test_bits_of_both_tables(serve, connect):
    driver = await connect(serve("--tcp", 0).port)
    points = [
        point(f"{table}{n}", table=table, type="bool", address=n) for table in ("coil", "discrete") for n in (3, 4, 900)
    ]
    readings = await driver.read(driver.plan(UNIT, points))
    assert readings.values == {p.name: p.address.address % 3 == 0 for p in points}
    assert not readings.faults


# --- Addresses the device does not have ---


async def test_a_bad_address_costs_only_its_point_and_only_once(serve, connect):
    peer = serve("--tcp", 0, "--hole", 5, 5, "--log")
    driver = await connect(peer.port, gap=0)
    plan = driver.plan(UNIT, words(*range(10)))
    for _ in range(3):
        readings = await driver.read(plan)
        assert readings.values == {f"r{n}": n for n in range(10) if n != 5}
        assert readings.faults.keys() == {"r5"}
        assert readings.faults["r5"].reason is Reason.ILLEGAL_ADDRESS
        assert readings.faults["r5"].text == "unit 1 answered ILLEGAL_ADDRESS (2) for holding 5"
    halved = [(3, 0, 5), (3, 5, 5), (3, 5, 3), (3, 8, 2), (3, 5, 2), (3, 7, 1), (3, 5, 1), (3, 6, 1)]
    first = [(3, 0, 10), *halved]
    assert peer.reads() == first + [(3, 0, 5), (3, 6, 4)] * 2


async def test_a_hole_inside_a_bridged_gap_costs_no_point(serve, connect):
    peer = serve("--tcp", 0, "--hole", 3, 3, "--log")
    driver = await connect(peer.port)
    plan = driver.plan(UNIT, words(0, 1, 6, 7))
    for _ in range(2):
        readings = await driver.read(plan)
        assert readings.values == {"r0": 0, "r1": 1, "r6": 6, "r7": 7}
        assert not readings.faults
    assert peer.reads()[-2:] == [(3, 0, 2), (3, 6, 2)]


async def test_a_bad_address_is_tried_again_after_sixty_reads(scripted, connect):
    refuse = True

    async def answer(unit, pdu):
        return b"\x83\x02" if refuse and pdu[2] == 1 else b"\x03\x02\0\x07"

    host = await scripted(answer)
    driver = await connect(host.port)
    plan = driver.plan(UNIT, words(1))
    for _ in range(60):
        assert (await driver.read(plan)).faults["r1"].reason is Reason.ILLEGAL_ADDRESS
    assert len(host.requests) == 1
    refuse = False
    for _ in range(2):
        readings = await driver.read(plan)
        assert readings.values == {"r1": 7}
        assert not readings.faults
    assert len(host.requests) == 3


async def test_the_real_limit_of_a_device_is_learnt(serve, connect):
    peer = serve("--tcp", 0, "--most", 40, "--log")
    driver = await connect(peer.port)
    plan = driver.plan(UNIT, words(*range(125)))
    for _ in range(4):
        readings = await driver.read(plan)
        assert readings.values == {f"r{n}": n for n in range(125)}
        assert not readings.faults
    last = peer.reads()[-4:]
    assert sum(count for _, _, count in last) == 125
    assert max(count for _, _, count in last) <= 40


# --- What a device or host may do ---


@pytest.mark.parametrize(
    ("code", "name"), [(1, "ILLEGAL_FUNCTION (1)"), (4, "DEVICE_FAILURE (4)"), (99, "exception 99")]
)
async def test_other_exceptions_are_device_failures_by_name(scripted, connect, code, name):
    async def answer(unit, pdu):
        return bytes([pdu[0] | 0x80, code])

    driver = await connect((await scripted(answer)).port)
    readings = await driver.read(driver.plan(UNIT, words(4, 5)))
    assert {fault.reason for fault in readings.faults.values()} == {Reason.DEVICE_FAILURE}
    assert readings.faults["r4"].text == f"unit 1 answered {name} to a read of 2 from holding 4"


async def test_a_gateway_that_says_the_device_is_silent_is_a_timeout(scripted, connect):
    async def answer(unit, pdu):
        return b"\x83\x0b"

    driver = await connect((await scripted(answer)).port)
    with pytest.raises(DeviceTimeout, match=r"unit 1 behind .* the gateway says so for holding 4"):
        await driver.read(driver.plan(UNIT, words(4)))


async def test_an_answer_of_another_length_is_no_value(scripted, connect):
    async def answer(unit, pdu):
        return b"\x03\x04\0\1\0\2"

    driver = await connect((await scripted(answer)).port)
    readings = await driver.read(driver.plan(UNIT, words(4)))
    assert readings.faults["r4"].reason is Reason.DECODE_ERROR
    assert not readings.values


async def test_silence_is_a_device_timeout_and_the_connection_stays(scripted, connect, caplog):
    async def answer(unit, pdu):
        return b"\x03\x02\0\x07" if unit == 2 else None

    driver = await connect((await scripted(answer)).port, timeoutMs=200, retries=1)
    with pytest.raises(DeviceTimeout, match=r"no answer from holding 4 of unit 1 at 127\.0\.0\.1:\d+ in 2 x 200 ms"):
        await driver.read(driver.plan(UNIT, words(4)))
    other = ModbusDevice.model_validate({"unit": 2})
    assert (await driver.read(driver.plan(other, words(4)))).values == {"r4": 7}
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_refused_connection_is_not_connected(unused_port):
    driver = ModbusDriver(ModbusConnection.model_validate({"host": "127.0.0.1", "port": unused_port}))
    with pytest.raises(NotConnected, match=f"Modbus at 127.0.0.1:{unused_port}: Connection refused"):
        await driver.connect()
    with pytest.raises(NotConnected):
        await driver.read(driver.plan(UNIT, words(1)))
    await driver.close()


async def test_a_name_that_cannot_be_a_host_is_not_connected():
    driver = ModbusDriver(ModbusConnection.model_validate({"host": "plc..local"}))
    with pytest.raises(NotConnected, match=r"Modbus at plc\.\.local:502: "):
        await driver.connect()
    await driver.close()


async def test_a_lost_connection_fails_the_request_in_flight_at_once(scripted, connect):
    async def answer(unit, pdu):
        raise ConnectionResetError

    driver = await connect((await scripted(answer)).port, timeoutMs=60_000)
    started_s = time.monotonic()
    with pytest.raises(NotConnected, match="the connection was lost"):
        await driver.read(driver.plan(UNIT, words(1)))
    assert time.monotonic() - started_s < 30
    with pytest.raises(NotConnected, match="the connection is gone"):
        await driver.read(driver.plan(UNIT, words(1)))


async def test_close_ends_a_request_in_flight(scripted, connect):
    asked = asyncio.Event()

    async def answer(unit, pdu):
        asked.set()

    driver = await connect((await scripted(answer)).port, timeoutMs=60_000)
    reading = asyncio.create_task(driver.read(driver.plan(UNIT, words(1))))
    await asked.wait()
    await driver.close()
    with pytest.raises(NotConnected):
        await reading


async def test_the_same_driver_connects_again(serve, connect):
    peer = serve("--tcp", 0)
    driver = await connect(peer.port)
    await driver.close()
    await driver.connect()
    assert (await driver.read(driver.plan(UNIT, words(6)))).values == {"r6": 6}


async def test_after_a_cancelled_read_a_late_answer_is_not_taken(scripted, connect):
    asked, late = asyncio.Event(), asyncio.Event()

    async def answer(unit, pdu):
        if pdu[2] == 1:
            asked.set()
            await late.wait()
            return b"\x03\x02\0\x63"
        return b"\x03\x02\0\x02"

    driver = await connect((await scripted(answer)).port, timeoutMs=5000)
    reading = asyncio.create_task(driver.read(driver.plan(UNIT, words(1))))
    await asked.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    late.set()
    assert (await driver.read(driver.plan(UNIT, words(2)))).values == {"r2": 2}


# --- Writes ---

WRITES = [
    ({"type": "int16", "address": 1}, -5, [0xFFFB]),
    ({"type": "uint32", "address": 2, "wordOrder": "little"}, 0x11223344, [0x3344, 0x1122]),
    ({"type": "float32", "address": 4}, 1.0, [0x3F80, 0]),
    ({"type": "float64", "address": 6, "byteOrder": "little", "wordOrder": "little"}, 3.5, [0, 0, 0, 0x0C40]),
    ({"type": "string", "address": 10, "length": 3}, "Pump7", [0x5075, 0x6D70, 0x3700]),
    ({"type": "bcd16", "address": 14}, 1234, [0x1234]),
    ({"type": "uint16", "address": 15}, 7.0, [7]),
]


@pytest.mark.parametrize(("keys", "value", "registers"), WRITES)
async def test_written_registers_are_those_of_another_stack(pymodbustcp, connect, keys, value, registers):
    port, bank = pymodbustcp
    driver = await connect(port)
    written = point("p", ValueType.DOUBLE, **keys)
    await driver.write(UNIT, written, value)
    assert bank.get_holding_registers(keys["address"], len(registers)) == registers
    assert (await driver.read(driver.plan(UNIT, [written]))).values == {"p": value}


async def test_a_coil_is_written(pymodbustcp, connect):
    port, bank = pymodbustcp
    driver = await connect(port)
    coil = point("c", table="coil", type="bool", address=9)
    for on in (True, False):
        await driver.write(UNIT, coil, on)
        assert bank.get_coils(9, 1) == [on]


async def test_a_written_bit_leaves_the_others(pymodbustcp, connect):
    port, bank = pymodbustcp
    driver = await connect(port)
    bank.set_holding_registers(20, [0b1010_0101])
    await driver.write(UNIT, point("b", type="bool", address=20, bit=1), True)
    assert bank.get_holding_registers(20, 1) == [0b1010_0111]
    await driver.write(UNIT, point("b", type="bool", address=20, bit=7), False)
    assert bank.get_holding_registers(20, 1) == [0b0010_0111]
    await driver.write(UNIT, point("b", type="bool", address=20, bit=8, byteOrder="little"), False)
    assert bank.get_holding_registers(20, 1) == [0b0010_0110]


async def test_pymodbustcp_reads_all_four_tables(pymodbustcp, connect):
    port, bank = pymodbustcp
    bank.set_holding_registers(0, [11])
    bank.set_input_registers(0, [22])
    bank.set_coils(0, [True])
    bank.set_discrete_inputs(0, [True])
    driver = await connect(port)
    points = [
        point("h", address=0),
        point("i", table="input", address=0),
        point("c", table="coil", type="bool", address=0),
        point("d", table="discrete", type="bool", address=0),
    ]
    assert (await driver.read(driver.plan(UNIT, points))).values == {"h": 11, "i": 22, "c": True, "d": True}


@pytest.mark.parametrize(
    ("keys", "value", "text"),
    [
        (
            {"table": "input", "address": 3},
            1,
            "p is input 3 of unit 1, which Modbus cannot write\n  Use table: holding.",
        ),
        (
            {"table": "discrete", "type": "bool", "address": 3},
            True,
            "p is discrete 3 of unit 1, which Modbus cannot write\n  Use table: coil.",
        ),
        (
            {"address": 3},
            70000,
            "p at holding 3 of unit 1 was not written: 70000 is not in the range of uint16, 0 to 65535",
        ),
        ({"address": 3}, 1.5, "p at holding 3 of unit 1 was not written: 1.5 is not a whole number for uint16"),
        (
            {"address": 5000},
            7,
            "p at holding 5000 of unit 1 was not written: the device answered ILLEGAL_ADDRESS (2) to 7",
        ),
    ],
)
async def test_writes_that_are_refused_say_why(pymodbustcp, connect, keys, value, text):
    driver = await connect(pymodbustcp[0])
    with pytest.raises(WriteRefused) as caught:
        await driver.write(UNIT, point("p", **keys), value)
    assert str(caught.value) == text


async def test_a_device_that_knows_only_the_functions_for_several(scripted, connect):
    async def answer(unit, pdu):
        return pdu[:5] if pdu[0] in (15, 16) else bytes([pdu[0] | 0x80, 1])

    host = await scripted(answer)
    driver = await connect(host.port)
    await driver.write(UNIT, point("r", address=1), 7)
    await driver.write(UNIT, point("c", table="coil", type="bool", address=1), True)
    assert [request[0] for request in host.requests] == [6, 16, 5, 15]


async def test_a_bit_whose_register_is_not_there_is_refused(serve, connect):
    driver = await connect(serve("--tcp", 0, "--hole", 5, 5).port)
    with pytest.raises(WriteRefused, match=r"b at holding 5 of unit 1 was not written: .* ILLEGAL_ADDRESS"):
        await driver.write(UNIT, point("b", type="bool", address=5, bit=1), True)


async def test_a_bit_whose_register_comes_in_another_length_is_not_written(scripted, connect):
    async def answer(unit, pdu):
        return b"\x03\x04\0\1\0\2"

    host = await scripted(answer)
    driver = await connect(host.port)
    with pytest.raises(WriteRefused, match="holding 5 of unit 1 was not written: its other bits could not be read"):
        await driver.write(UNIT, point("b", type="bool", address=5, bit=1), True)
    assert [request[0] for request in host.requests] == [22, 3]


async def test_many_silences_in_a_row_end_the_connection(scripted, connect):
    async def answer(unit, pdu):
        return None

    driver = await connect((await scripted(answer)).port, timeoutMs=100)
    plan = driver.plan(UNIT, words(1))
    for _ in range(4):
        with pytest.raises(DeviceTimeout):
            await driver.read(plan)
    with pytest.raises(NotConnected):
        await driver.read(plan)


# --- Configuration seen at planning ---


async def test_points_that_cannot_be_read_as_configured_are_faults_of_their_own(serve, connect):
    driver = await connect(serve("--tcp", 0).port, maxBlock=4)
    odd = Point(
        "odd", ValueType.INT, ModbusPoint.model_validate({"register": "HoldingRegister", "offset": 0, "limit": 3})
    )
    long = point("long", type="string", length=8, address=0)
    readings = await driver.read(driver.plan(UNIT, [*words(1), odd, long]))
    assert readings.values == {"r1": 1}
    assert {name: fault.reason for name, fault in readings.faults.items()} == {
        "odd": Reason.CONFIG_ERROR,
        "long": Reason.CONFIG_ERROR,
    }
    assert readings.faults["long"].text == "long: 8 registers are over the connection's maxBlock of 4"
    with pytest.raises(WriteRefused, match="odd: a property of type INT cannot be read from 3 registers"):
        await driver.write(UNIT, odd, 1)


async def test_broadcast_unit_is_a_fault_on_a_serial_line():
    driver = ModbusDriver(ModbusConnection.model_validate({"serialPort": "/dev/none"}))
    plan = driver.plan(ModbusDevice.model_validate({"unit": 0}), words(1))
    assert plan.faults["r1"].text == "r1: unit 0 has no answer on a serial line; use 1 to 247"
    with pytest.raises(WriteRefused, match="r1: unit 0 has no answer on a serial line"):
        await driver.write(ModbusDevice.model_validate({"unit": 0}), words(1)[0], 7)


def test_listing_the_mapper_imports_no_pymodbus():
    code = "import sys, mappers.modbus as m; assert m.MAPPER.name == 'modbus'; assert 'pymodbus' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_the_mapper_makes_drivers(serve):
    peer = serve("--tcp", 0)
    driver = MAPPER.driver(MAPPER.connection.model_validate({"ip": "127.0.0.1", "port": peer.port}))
    await driver.connect()
    assert (await driver.read(driver.plan(UNIT, words(8)))).values == {"r8": 8}
    await driver.close()


# --- Serial lines ---


@pytest.fixture
async def serial_driver(serve, serial_pair):
    device, gateway = serial_pair
    serve("--rtu", device, "--unit", 3, "--mixed")
    driver = ModbusDriver(ModbusConnection.model_validate({"serialPort": str(gateway), "timeoutMs": 2000}))
    await driver.connect()
    yield driver
    await driver.close()


THREE = ModbusDevice.model_validate({"slaveID": 3})


async def test_a_thousand_registers_over_a_serial_line(serial_driver):
    points = mixed_points()
    assert_is_the_mix(points, await serial_driver.read(serial_driver.plan(THREE, points)))


async def test_writes_over_a_serial_line(serial_driver):
    written = [point("a", address=1), point("f", ValueType.FLOAT, type="float32", address=2)]
    await serial_driver.write(THREE, written[0], 77)
    await serial_driver.write(THREE, written[1], 0.5)
    assert (await serial_driver.read(serial_driver.plan(THREE, written))).values == {"a": 77, "f": 0.5}


async def test_a_unit_that_is_not_there(serve, serial_pair):
    device, gateway = serial_pair
    serve("--rtu", device, "--unit", 3)
    driver = ModbusDriver(ModbusConnection.model_validate({"serialPort": str(gateway), "timeoutMs": 200}))
    await driver.connect()
    with pytest.raises(DeviceTimeout, match="no answer from holding 1 of unit 4"):
        await driver.read(driver.plan(ModbusDevice.model_validate({"unit": 4}), words(1)))
    await driver.close()


async def test_a_serial_port_that_is_not_there(tmp_path):
    driver = ModbusDriver(ModbusConnection.model_validate({"serialPort": str(tmp_path / "none")}))
    with pytest.raises(NotConnected, match="none: No such file or directory"):
        await driver.connect()
    await driver.close()


async def test_a_late_answer_on_a_serial_line_is_not_taken_for_the_next(serial_pair, rtu_frame):
    """RTU answers carry no number: only waiting tells one from the next."""
    device_end, gateway = serial_pair
    loop = asyncio.get_running_loop()
    asked = asyncio.Queue()
    with device_end.open("r+b", buffering=0) as device:
        loop.add_reader(device, lambda: asked.put_nowait(device.read(256)))
        driver = ModbusDriver(ModbusConnection.model_validate({"serialPort": str(gateway), "timeoutMs": 300}))
        await driver.connect()
        plan = driver.plan(UNIT, words(1))
        reading = asyncio.create_task(driver.read(plan))
        await asyncio.wait_for(asked.get(), 10)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        reading = asyncio.create_task(driver.read(plan))
        await asyncio.sleep(0)
        device.write(rtu_frame(b"\x01\x03\x02\x00\x63"))
        assert (await asyncio.wait_for(asked.get(), 10))[:2] == b"\x01\x03"
        device.write(rtu_frame(b"\x01\x03\x02\x00\x02"))
        assert (await reading).values == {"r1": 2}
        loop.remove_reader(device)
        await driver.close()
