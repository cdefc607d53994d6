"""The driver against a bumble peripheral: real ATT bytes over a virtual link."""

import asyncio
import struct

import pytest

from mappers.ble.config import BleDevice
from mappers.sdk import DeviceTimeout, MapperError, Quality, Reason, WriteRefused
from tests.mappers.ble.conftest import MAC, Told, point, until
from tests.peers.ble_peripheral import COMMAND, CONFIG, FAST, LABEL, LAMP, LOCKED, SECRET, Sensor

TEMPERATURE = point("temperature", characteristic="2A6E")


async def linked(driver, plan):
    """The link is made in the background: the runner asks again, and so do we."""
    while True:
        try:
            return await driver.read(plan)
        except DeviceTimeout:
            await asyncio.sleep(0.01)


async def test_characteristics_are_read(sensor, driver, device):
    plan = driver.plan(
        device,
        [
            TEMPERATURE,
            point("battery", "INT", characteristic="2A19", service="181A"),
            point("maker", "STRING", characteristic="2A29"),
            point("low", "INT", characteristic=CONFIG, type="uint16", at=2),
            point("flag", "BOOLEAN", characteristic=CONFIG, type="uint8", bit=1),
        ],
    )
    readings = await linked(driver, plan)
    assert readings.faults == {}
    assert readings.values == {"temperature": 21.5, "battery": 87, "maker": "Acme", "low": 0x04FF, "flag": 0}
    sensor.reads = 0
    await driver.read(plan)
    assert sensor.reads == 4  # one for both points of a characteristic


async def test_a_point_that_cannot_be_read_harms_no_other(sensor, driver, device):
    plan = driver.plan(
        device,
        [
            TEMPERATURE,
            point("nowhere", characteristic="2A6F"),
            point("elsewhere", characteristic="2A6E", service="180F"),
            point("locked", "INT", characteristic=LOCKED),
            point("short", "INT", characteristic="2A19", type="uint32"),
            point("command", "INT", characteristic=COMMAND, type="uint8"),
        ],
    )
    sensor.values["2A6E"] = struct.pack("<H", 0x8000)
    readings = await linked(driver, plan)
    assert readings.values == {}
    assert {name: fault.reason for name, fault in readings.faults.items()} == {
        "temperature": Reason.DEVICE_FAILURE,
        "nowhere": Reason.ILLEGAL_ADDRESS,
        "elsewhere": Reason.ILLEGAL_ADDRESS,
        "locked": Reason.ACCESS_DENIED,
        "short": Reason.DECODE_ERROR,
        "command": Reason.STALE,
    }
    assert readings.faults["command"].quality is Quality.UNCERTAIN
    assert readings.faults["elsewhere"].text == "the device has no characteristic 2A6E in its service 180F"
    assert "pair: true" in readings.faults["locked"].text


async def test_values_are_written(sensor, driver, device):
    lamp = point("lamp", "STRING", characteristic=LAMP, names={"ON": "01", "OFF": "00"})
    await linked(driver, driver.plan(device, [lamp]))
    await driver.write(device, lamp, "ON")
    assert sensor.values[LAMP] == b"\x01"
    await driver.write(device, point("label", "STRING", characteristic=LABEL), "höhe")
    assert sensor.values[LABEL] == "höhe".encode()
    await driver.write(device, point("part", "INT", characteristic=CONFIG, type="uint8", at=1), 7)
    assert sensor.values[CONFIG].hex() == "0107ff04"
    await driver.write(device, point("bits", "INT", characteristic=CONFIG, type="uint8", at=2, bit=4, bits=2), 1)
    assert sensor.values[CONFIG].hex() == "0107df04"
    command = point("command", "INT", characteristic=COMMAND, type="uint8")
    await driver.write(device, command, 9)
    await until(lambda: sensor.values[COMMAND] == b"\x09")
    assert (await driver.read(driver.plan(device, [command]))).values == {"command": 9}


@pytest.mark.parametrize(
    ("written", "value", "says"),
    [
        (point("label", "STRING", characteristic=LABEL), "refuse me", "the device answered"),
        (point("lamp", "INT", characteristic=LAMP, type="uint8"), 300, "300 has no uint8"),
        (point("battery", "INT", characteristic="2A19", type="uint8"), 3, "the characteristic 2A19 takes no writes"),
        (point("nowhere", "INT", characteristic="FF77"), 3, "has no characteristic FF77"),
        (point("heard", "INT", bthome="battery"), 3, "is advertised by"),
    ],
)
async def test_a_write_that_is_refused_says_why(sensor, driver, device, written, value, says):
    await linked(driver, driver.plan(device, [TEMPERATURE]))
    with pytest.raises(WriteRefused, match=says):
        await driver.write(device, written, value)


async def test_a_bond_opens_what_is_locked_and_lasts_through_a_lost_link(sensor, driver, device):
    secret = point("secret", "INT", characteristic=SECRET, type="uint8")
    stranger = driver.plan(device, [secret])
    assert (await linked(driver, stranger)).faults["secret"].reason is Reason.ACCESS_DENIED
    await driver.connect()  # begins anew
    bonded = BleDevice.model_validate({"mac": MAC, "pair": True})
    plan = driver.plan(bonded, [secret])
    assert (await linked(driver, plan)).values == {"secret": 42}
    await sensor.cut()
    await until(lambda: not sensor.connections)
    assert (await linked(driver, plan)).values == {"secret": 42}


async def subscribed(driver, plan, told):
    while True:
        try:
            return await driver.subscribe(plan, 1000, told)
        except DeviceTimeout:
            await asyncio.sleep(0.01)


async def test_notifications_are_told_and_the_rest_is_left_to_polling(sensor, driver, device):
    plan = driver.plan(device, [TEMPERATURE, point("battery", "INT", characteristic="2A19")])
    told = Told()
    agreed = await subscribed(driver, plan, told)
    assert agreed.refused == {"battery"}
    assert told.values == {"temperature": 21.5}
    await sensor.set(sensor.temperature, "2A6E", struct.pack("<h", -512))
    await until(lambda: told.values["temperature"] == -5.12)
    await sensor.set(sensor.temperature, "2A6E", b"\x01")
    await until(lambda: "temperature" in told.faults)
    assert told.faults["temperature"].reason is Reason.DECODE_ERROR
    await driver.unsubscribe(plan)
    count = told.count
    await sensor.set(sensor.temperature, "2A6E", struct.pack("<h", 100))
    await driver.read(plan)
    assert told.count == count


async def test_two_poll_classes_share_one_characteristic(sensor, driver, device):
    plans = [driver.plan(device, [point(name, characteristic="2A6E")]) for name in ("a", "b")]
    told = [Told(), Told()]
    for plan, one in zip(plans, told, strict=True):
        await subscribed(driver, plan, one)
    await sensor.set(sensor.temperature, "2A6E", struct.pack("<h", 100))
    await until(lambda: (told[0].values, told[1].values) == ({"a": 1.0}, {"b": 1.0}))


async def test_points_without_notifications_are_polled(sensor, driver, device):
    plan = driver.plan(device, [point("battery", "INT", characteristic="2A19")])
    with pytest.raises(MapperError, match="has no notifications"):
        await subscribed(driver, plan, Told())
    plan = driver.plan(device, [point("temperature", characteristic="2A6E", notify=False)])
    with pytest.raises(MapperError, match="has no notifications"):
        await driver.subscribe(plan, 1000, Told())


async def test_a_lost_link_is_told_and_made_again(sensor, driver, device):
    plan = driver.plan(device, [TEMPERATURE])
    told = Told()
    await subscribed(driver, plan, told)
    sensor.values["2A6E"] = struct.pack("<h", 300)
    await sensor.cut()
    await until(lambda: told.faults.get("temperature"))
    assert told.faults["temperature"].reason is Reason.NOT_CONNECTED
    await until(lambda: told.values["temperature"] == 3.0 and not told.faults)
    await sensor.set(sensor.temperature, "2A6E", struct.pack("<h", 400))
    await until(lambda: told.values["temperature"] == 4.0)


async def test_a_device_that_restarts_is_found_again(air, sensor, driver, device):
    plan = driver.plan(device, [TEMPERATURE])
    told = Told()
    await subscribed(driver, plan, told)
    air.leave(sensor.device)
    await until(lambda: told.count)
    with pytest.raises(DeviceTimeout):
        await driver.read(plan)  # half open: nobody answers
    await until(lambda: told.faults.get("temperature"))
    again = Sensor()
    again.values["2A6E"] = struct.pack("<h", 700)
    await again.start(await air.device(MAC, "Sensor"))
    await until(lambda: told.values["temperature"] == 7.0 and not told.faults, timeout_s=20)


async def test_a_device_that_is_not_there_costs_no_time(driver, device):
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(DeviceTimeout, match="not connected yet"):
        await driver.read(driver.plan(device, [TEMPERATURE]))
    assert asyncio.get_running_loop().time() - began_s < 1.0


async def test_a_slow_answer_is_a_time_out_and_a_slow_device_is_read(sensor, driver, device):
    plan = driver.plan(device, [TEMPERATURE])
    await linked(driver, plan)
    sensor.delay_s = 0.1
    assert (await driver.read(plan)).values == {"temperature": 21.5}
    sensor.delay_s = 1.0
    with pytest.raises(DeviceTimeout, match="reading"):
        await driver.read(plan)
    sensor.delay_s = 0.0
    assert (await linked(driver, plan)).values == {"temperature": 21.5}


async def test_no_notification_is_lost_at_full_speed(sensor, driver, device):
    told = []

    class Counter(Told):
        def tell(self, readings):
            told.append(readings.values.get("fast"))

    plan = driver.plan(device, [point("fast", "INT", characteristic=FAST, type="uint32")])
    await subscribed(driver, plan, Counter())
    for number in range(500):
        await sensor.set(sensor.fast, FAST, struct.pack("<I", number))
    await until(lambda: len(told) == 500)
    assert told == list(range(500))


async def test_a_link_that_nobody_needs_ends(sensor, driver):
    device = BleDevice.model_validate({"mac": MAC, "idleMs": 100})
    await linked(driver, driver.plan(device, [TEMPERATURE]))
    await until(lambda: not sensor.connections)
    assert (await linked(driver, driver.plan(device, [TEMPERATURE]))).values == {"temperature": 21.5}


async def test_closing_leaves_no_task_and_no_link(sensor, driver, device):
    before = asyncio.all_tasks()
    await subscribed(driver, driver.plan(device, [TEMPERATURE]), Told())
    await driver.close()
    await until(lambda: not sensor.connections)
    assert {task for task in asyncio.all_tasks() - before if (task.get_name() or "").startswith("ble ")} == set()
