"""Functions 22 and 23, fields of registers, blocks too big for a unit: against libmodbus and a scripted host."""

from __future__ import annotations

import pytest

from mappers.modbus.codec import NotEncodable, decode, encode
from mappers.modbus.config import ModbusDevice
from mappers.modbus.encoding import Encoding, Order, RawType
from mappers.modbus.point import ModbusPoint
from mappers.sdk import DeviceTimeout, Point, Readings, ValueType, WriteRefused

UNIT = ModbusDevice()
CONFIRMING = ModbusDevice.model_validate({"unit": 1, "readWrite": True})


def point(name, value_type=ValueType.INT, **keys):
    return Point(name, value_type, ModbusPoint.model_validate({"table": "holding", **keys}))


def words(*addresses):
    return [point(f"r{address}", type="uint16", address=address) for address in addresses]


async def held(driver, address):
    return (await driver.read(driver.plan(UNIT, words(address)))).values[f"r{address}"]


# --- 22 ---


async def test_a_bit_and_a_field_are_written_with_function_22_and_leave_the_rest(serve, connect):
    peer = serve("--tcp", 0, "--log")
    driver = await connect(peer.port)
    await driver.write(UNIT, words(20)[0], 0b1010_0101_1010_0101)
    await driver.write(UNIT, point("b", ValueType.BOOLEAN, address=20, bit=1), True)
    assert await held(driver, 20) == 0b1010_0101_1010_0111
    await driver.write(UNIT, point("f", address=20, bit=4, bits=3), 0b101)
    assert await held(driver, 20) == 0b1010_0101_1101_0111
    await driver.write(UNIT, point("f", address=20, bit=4, bits=3, byteOrder="little"), 0b001)
    assert await held(driver, 20) == 0b1001_0101_1101_0111
    field = point("f", address=20, bit=4, bits=3)
    assert (await driver.read(driver.plan(UNIT, [field]))).values == {"f": 0b101}
    assert [one for one in peer.functions() if one != 3] == [6, 22, 22, 22]


async def test_a_unit_that_refuses_function_22_is_asked_once(serve, connect):
    peer = serve("--tcp", 0, "--unknown", 22, "--log")
    driver = await connect(peer.port)
    for on in (True, False, True):
        await driver.write(UNIT, point("b", ValueType.BOOLEAN, address=8, bit=0), on)
    assert await held(driver, 8) == 9
    assert peer.functions() == [22, 3, 6, 3, 6, 3, 6, 3]


async def test_a_unit_that_leaves_function_22_without_an_answer_is_written_another_way(scripted, connect):
    async def answer(unit, pdu):
        return None if pdu[0] == 22 else b"\x03\x02\0\x08" if pdu[0] == 3 else pdu

    host = await scripted(answer)
    driver = await connect(host.port, timeoutMs=300)
    for _ in range(2):
        await driver.write(UNIT, point("b", ValueType.BOOLEAN, address=5, bit=0), True)
    assert [request[0] for request in host.requests] == [22, 3, 6, 3, 6]
    assert host.requests[-1] == b"\x06\0\x05\0\x09"


async def test_a_silent_unit_is_asked_with_function_22_again_when_it_is_back(scripted, connect):
    silent = True

    async def answer(unit, pdu):
        return None if silent else pdu

    host = await scripted(answer)
    driver = await connect(host.port, timeoutMs=300)
    with pytest.raises(DeviceTimeout):
        await driver.write(UNIT, point("b", ValueType.BOOLEAN, address=5, bit=0), True)
    silent = False
    await driver.write(UNIT, point("b", ValueType.BOOLEAN, address=5, bit=0), True)
    assert host.requests[-1] == b"\x16\0\x05\xff\xfe\0\x01"


def test_a_field_holds_what_its_bits_hold():
    field = Encoding(RawType.UINT16, 1, bit=4, bits=3)
    assert [decode([word], field) for word in (0, 0x70, 0xFF8F, 0x10)] == [0, 7, 0, 1]
    assert encode(5, field) == [0x50]
    assert (field.mask, field.sent_mask) == (0x70, 0x70)
    assert Encoding(RawType.UINT16, 1, Order.LITTLE, bit=4, bits=8).sent_mask == 0xF00F
    with pytest.raises(NotEncodable, match="8 is not in the range of a field of 3 bits, 0 to 7"):
        encode(8, field)


# --- 23 ---


async def test_function_23_writes_and_reads_back_in_one_request(serve, connect):
    peer = serve("--tcp", 0, "--log")
    driver = await connect(peer.port)
    pressure = point("p", ValueType.DOUBLE, type="float32", address=40, wordOrder="little")
    assert await driver.write(CONFIRMING, pressure, 1.5) == Readings({"p": 1.5})
    assert await driver.write(CONFIRMING, words(50)[0], 7) == Readings({"r50": 7})
    assert await driver.write(UNIT, words(51)[0], 8) is None
    assert (await driver.read(driver.plan(UNIT, [pressure, *words(50, 51)]))).values == {"p": 1.5, "r50": 7, "r51": 8}
    assert [one for one in peer.functions() if one != 3] == [23, 23, 6]


async def test_a_unit_that_does_not_know_function_23_is_written_as_others_are(serve, connect):
    peer = serve("--tcp", 0, "--unknown", 23, "--log")
    driver = await connect(peer.port)
    for value in (1, 2):
        assert await driver.write(CONFIRMING, words(50)[0], value) is None
    assert peer.functions() == [23, 6, 6]


async def test_function_23_that_is_refused_says_so(serve, connect):
    driver = await connect(serve("--tcp", 0, "--hole", 5, 5).port)
    with pytest.raises(WriteRefused, match=r"r5 at holding 5 of unit 1 was not written: .* ILLEGAL_ADDRESS \(2\) to 7"):
        await driver.write(CONFIRMING, words(5)[0], 7)


async def test_coils_and_bits_of_a_confirming_unit_are_written_as_others_are(serve, connect):
    peer = serve("--tcp", 0, "--log")
    driver = await connect(peer.port)
    assert await driver.write(CONFIRMING, point("c", ValueType.BOOLEAN, table="coil", address=1), True) is None
    assert await driver.write(CONFIRMING, point("b", ValueType.BOOLEAN, address=1, bit=1), True) is None
    assert peer.functions() == [5, 22]


async def test_modbus_serial_reads_and_writes(modbus_serial, connect):
    driver = await connect(modbus_serial(1))
    coil = point("c", ValueType.BOOLEAN, table="coil", address=1)
    await driver.write(UNIT, words(3)[0], 33)
    await driver.write(UNIT, point("l", type="uint32", address=10), 0x10002)
    await driver.write(UNIT, coil, True)
    await driver.write(UNIT, point("b", ValueType.BOOLEAN, address=3, bit=1), True)  # it does not know function 22
    wanted = [*words(2, 3, 10, 11), coil, point("i", table="input", type="uint16", address=4)]
    expected = {"r2": 2, "r3": 35, "r10": 1, "r11": 2, "c": True, "i": 1004}
    assert (await driver.read(driver.plan(UNIT, wanted))).values == expected


# --- how much a unit answers at once ---


async def test_blocks_that_get_no_answer_are_halved_until_they_do(serve, connect):
    peer = serve("--tcp", 0, "--deaf", 40, "--log")
    driver = await connect(peer.port, timeoutMs=60)
    plan = driver.plan(UNIT, words(*range(125)))
    for _ in range(3):
        readings = await driver.read(plan)
        assert readings.values == {f"r{n}": n for n in range(125)}
        assert not readings.faults
    reads = peer.reads()
    assert [count for _, _, count in reads if count > 40] == [125, 63, 62], "the block and its halves, once"
    assert max(count for _, _, count in reads[-10:]) <= 31


async def test_what_a_unit_takes_holds_for_all_its_plans_until_the_connection_ends(serve, connect):
    peer = serve("--tcp", 0, "--most", 40, "--log")
    driver = await connect(peer.port)
    first, second = driver.plan(UNIT, words(*range(125))), driver.plan(UNIT, words(*range(200, 325)))
    await driver.read(first)
    await driver.read(second)
    await driver.connect()
    await driver.read(second)
    counts = [count for _, start, count in peer.reads()]
    assert [count for count in counts if count > 40] == [125, 63, 62, 125, 63, 62], (
        "asked anew after the reconnect only"
    )


async def test_a_dead_unit_costs_one_time_out_a_probe_and_is_read_again_when_it_is_back(scripted, connect):
    silent = True

    async def answer(unit, pdu):
        count = int.from_bytes(pdu[3:5], "big")
        return None if silent else bytes([3, 2 * count]) + bytes(2 * count)

    host = await scripted(answer)
    driver = await connect(host.port, timeoutMs=40)
    plan = driver.plan(UNIT, words(*range(100)))
    for probe in range(3):
        with pytest.raises(DeviceTimeout, match="holding 0 of unit 1"):
            await driver.read(plan)
        assert len(host.requests) == 2 + probe, "a big block and a small one, then small ones"
    silent = False
    assert len((await driver.read(plan)).values) == 100
    silent = True
    asked = len(host.requests)
    with pytest.raises(DeviceTimeout):
        await driver.read(plan)
    assert len(host.requests) == asked + 1, "as much was answered before: it is the unit that is silent"


async def test_one_hole_in_a_full_block_costs_few_requests_once(serve, connect):
    peer = serve("--tcp", 0, "--hole", 77, 77, "--log")
    driver = await connect(peer.port, gap=0)
    plan = driver.plan(UNIT, words(*range(125)))
    for _ in range(2):
        readings = await driver.read(plan)
        assert readings.faults.keys() == {"r77"}
        assert len(readings.values) == 124
    reads = peer.reads()
    assert len(reads) <= 1 + 14 + 2
    assert reads[-2:] == [(3, 0, 77), (3, 78, 47)]
