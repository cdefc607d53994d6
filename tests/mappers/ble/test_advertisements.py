"""What devices advertise, through bleak's scanner over a virtual link."""

import asyncio

import pytest

from mappers.ble.bthome import UUID
from mappers.ble.config import BleDevice
from mappers.ble.gatt import Reader
from mappers.ble.heard import Heard
from mappers.sdk import Quality, Readings, Reason
from tests.mappers.ble.conftest import MAC, Told, point, until
from tests.mappers.ble.test_bthome import KEY, SEALED
from tests.mappers.ble.test_bthome import MAC as SEALED_MAC
from tests.peers.ble_peripheral import structures

BTHOME = structures((0x16, bytes.fromhex("d2fc40 0161 02ca09 02d109")))
OTHERS = structures((0xFF, bytes.fromhex("ffff 2a01")), (0x16, bytes.fromhex("0a18 0203")), (0x0A, b"\xf4"))
POINTS = [
    point("battery", "INT", bthome="battery"),
    point("inside", bthome="temperature"),
    point("outside", bthome="temperature", number=2),
    point("name", "STRING", advertised="name"),
]


async def test_what_is_advertised_is_told_as_it_comes(sensor, driver, device):
    await sensor.advertise(BTHOME)
    told = Told()
    agreed = await driver.subscribe(driver.plan(device, POINTS), 1000, told)
    assert (agreed.alive_s, agreed.refused) == (60.0, frozenset())
    assert set(told.faults) == {"battery", "inside", "outside", "name"}  # nothing is known yet
    await until(lambda: not told.faults)
    assert told.values == {"battery": 97, "inside": 25.06, "outside": 25.13, "name": "Sensor"}
    await sensor.advertise(structures((0x16, bytes.fromhex("d2fc40 0162"))))
    await until(lambda: told.values["battery"] == 98)
    assert told.values["inside"] == 25.06


async def test_parts_of_an_advertisement_are_decoded_like_characteristics(sensor, driver, device):
    await sensor.advertise(OTHERS)
    points = [
        point("maker", "INT", manufacturerData=0xFFFF, type="uint16"),
        point("service", "INT", serviceData="180A", type="uint8", at=1),
        point("power", "INT", advertised="txPower"),
        point("rssi", "INT", advertised="rssi"),
    ]
    plan = driver.plan(device, points)
    await driver.read(plan)

    async with asyncio.timeout(5):
        while (readings := await driver.read(plan)).faults:  # noqa: ASYNC110  # until all of it was heard
            await asyncio.sleep(0.01)
    values = readings.values
    assert isinstance(values.pop("rssi"), int)
    assert values == {"maker": 298, "service": 3, "power": -12}


async def test_advertised_points_beside_characteristics_are_polled(sensor, driver, device):
    await sensor.advertise(BTHOME)
    plan = driver.plan(device, [point("temperature", characteristic="2A6E"), *POINTS])
    await until_read(driver, plan)
    agreed = await driver.subscribe(plan, 1000, Told())
    assert agreed.refused == {"battery", "inside", "outside", "name"}


async def until_read(driver, plan):
    async with asyncio.timeout(5):
        while True:
            try:
                return await driver.read(plan)
            except Exception:  # noqa: BLE001  # not connected yet
                await asyncio.sleep(0.01)


async def test_a_plan_that_is_left_is_told_nothing_more(sensor, driver, device):
    await sensor.advertise(BTHOME)
    plan, told = driver.plan(device, POINTS), Told()
    await driver.subscribe(plan, 1000, told)
    await until(lambda: not told.faults)
    await driver.unsubscribe(plan)
    count = told.count
    other = Told()
    await driver.subscribe(driver.plan(device, POINTS), 1000, other)
    await until(lambda: other.count > 3)
    assert told.count == count


def read(heard: Heard, name: str, now_s: float, **visitor) -> Readings:
    readings = Readings()
    heard.put(readings, Reader.of(point(name, **visitor)), now_s)
    return readings


class Said:
    """An advertisement as bleak gives it."""

    def __init__(self, given: bytes) -> None:
        self.service_data = {UUID: given}
        self.manufacturer_data: dict = {}
        self.tx_power = self.local_name = None
        self.rssi = -60


def test_an_encrypted_message_is_opened_once():
    heard = Heard(SEALED_MAC, KEY, 60.0)
    heard.take(Said(SEALED), 0.0)
    assert read(heard, "t", 1.0, bthome="temperature").values == {"t": 25.06}
    assert ("bthome", "temperature", 1) in heard.take(Said(SEALED), 1.0)  # the same once more is no fraud
    heard._counter = 0x33221101, 1.0
    assert ("bthome", "temperature", 1) not in heard.take(Said(SEALED), 2.0)  # an old one is
    assert ("bthome", "temperature", 1) in heard.take(Said(SEALED), 100.0)  # unless the device began anew


@pytest.mark.parametrize(
    ("key", "text"), [(None, "give the device its bindkey"), (bytes(16), "does not fit the bindkey")]
)
def test_a_message_that_cannot_be_opened_says_why(key, text):
    heard = Heard(SEALED_MAC, key, 60.0)
    heard.take(Said(SEALED), 0.0)
    fault = read(heard, "t", 1.0, bthome="temperature").faults["t"]
    assert fault.reason is Reason.DECODE_ERROR
    assert text in fault.text


def test_an_old_advertisement_is_uncertain():
    heard = Heard(MAC, None, 60.0)
    assert read(heard, "t", 0.0, bthome="battery").faults["t"].reason is Reason.TIMEOUT
    heard.take(Said(bytes.fromhex("400161")), 0.0)
    assert read(heard, "t", 60.0, bthome="battery").faults == {}
    late = read(heard, "t", 61.0, bthome="battery")
    assert late.values == {"t": 97}
    assert (late.faults["t"].reason, late.faults["t"].quality) == (Reason.STALE, Quality.UNCERTAIN)


def test_a_device_is_known_by_its_key_too():
    assert BleDevice.model_validate({"mac": MAC}) != BleDevice.model_validate({"mac": MAC, "bindkey": "0" * 32})
