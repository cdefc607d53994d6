"""Looking for devices over a virtual link."""

from mappers.ble.config import BleDevice, BleScan
from mappers.ble.point import BlePoint
from mappers.sdk import Access, ValueType
from tests.mappers.ble.conftest import MAC
from tests.mappers.ble.test_advertisements import BTHOME, OTHERS
from tests.peers.ble_peripheral import CONFIG, LAMP, Sensor


async def found(driver, **wanted):
    progress = []
    devices = [one async for one in driver.discover(BleScan.model_validate(wanted), progress.append)]
    return devices, progress


async def test_who_advertises_is_found_with_what_it_advertises(air, sensor, driver):
    other = Sensor()
    await other.start(await air.device("C4:00:00:00:00:02"), OTHERS)
    await sensor.advertise(BTHOME, name="Küche 1")
    devices, progress = await found(driver, seconds=0.3)
    assert [one.address["mac"] for one in devices] == ["C4:00:00:00:00:02", MAC]
    assert [point.name for point in devices[1].points] == ["battery", "temperature", "temperature-2", "rssi"]
    assert devices[1].name == "k-che-1-1234"
    assert dict(devices[1].points[2].visitor) == {"bthome": "temperature", "number": 2}
    assert {point.name for point in devices[0].points} == {"data-180A", "maker-65535", "rssi"}
    assert (progress[-1].done, progress[-1].of, progress[-1].place) == (2, 2, "devices")
    named, _ = await found(driver, seconds=0.3, named="küche")
    assert len(named) == 1


async def test_a_device_is_looked_into(sensor, driver):
    (device,), _ = await found(driver, seconds=0.3, connect=True)
    points = {point.name: point for point in device.points}
    assert (points["temperature"].type, points["temperature"].unit) == (ValueType.DOUBLE, "°C")
    assert dict(points["temperature"].visitor) == {"characteristic": "2A6E"}
    assert points["manufacturer-name-string"].access is Access.READ_ONLY
    assert points[LAMP].access is Access.READ_WRITE
    said = points[CONFIG]  # its presentation format names no title
    assert (said.type, said.unit) == (ValueType.DOUBLE, "°C")
    assert dict(said.visitor) == {"characteristic": CONFIG, "type": "int16", "scale": 0.01}
    assert not sensor.connections


async def test_what_is_found_can_be_written_as_a_document(sensor, driver):
    await sensor.advertise(BTHOME + b"")
    (device,), _ = await found(driver, seconds=0.3, connect=True)
    assert BleDevice.model_validate(dict(device.address)).mac == MAC
    for point in device.points:
        assert BlePoint.model_validate(dict(point.visitor)).mismatch(point.type) == ""
