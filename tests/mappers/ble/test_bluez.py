"""What is BlueZ's own way, over bleak's backend for it and the facade; the other suites run over both radios."""

import contextlib
import struct

import pytest
from dbus_fast import BusType, Message
from dbus_fast.aio import MessageBus

from mappers.ble.config import BleDevice
from mappers.ble.virtual import Air
from mappers.sdk import DeviceTimeout, NotConnected
from tests.mappers.ble.conftest import MAC, Told, new_driver, on_bluez, point, until
from tests.mappers.ble.test_driver import linked, subscribed
from tests.peers.ble_peripheral import Sensor
from tests.peers.bluez_facade import Facade, PrivateBus

TEMPERATURE = point("temperature", characteristic="2A6E")
RSSI = point("rssi", "INT", advertised="rssi")
OTHER = "C4:7C:8D:6A:56:78"


@pytest.fixture
async def bluez(air, tmp_path):
    async with on_bluez(air, tmp_path) as facade:
        yield facade


@pytest.fixture
async def made(bluez):
    driver = new_driver(None)
    await driver.connect()
    yield driver
    await driver.close()


async def test_looking_for_a_device_and_listening_to_another_share_the_one_discovery(air, sensor, made, device):
    other = Sensor()
    await other.start(await air.device(OTHER, "Other"))
    heard = Told()
    await made.subscribe(made.plan(BleDevice.model_validate({"mac": OTHER}), [RSSI]), 1000, heard)
    await until(lambda: "rssi" in heard.values)
    assert (await linked(made, made.plan(device, [TEMPERATURE]))).values == {"temperature": 21.5}
    count = heard.count
    await until(lambda: heard.count > count + 3)  # still listening


async def test_nothing_is_discovered_while_nobody_wants_to_hear(sensor, made, device, bluez):
    plan = made.plan(device, [TEMPERATURE])
    await linked(made, plan)
    await until(lambda: not bluez.adapters["hci0"].discovering)


async def test_a_link_that_a_killed_program_left_behind_is_taken_over(sensor, made, device, bluez):
    bus = await MessageBus(bluez.address, BusType.SYSTEM).connect()
    adapter, place = "/org/bluez/hci0", f"/org/bluez/hci0/dev_{MAC.replace(':', '_')}"
    await called(bus, adapter, "Adapter1", "StartDiscovery")
    await until(lambda: bluez.value(place, "Address"))
    await called(bus, place, "Device1", "Connect")
    await until(lambda: bluez.value(place, "ServicesResolved"))
    await called(bus, adapter, "Adapter1", "StopDiscovery")
    bus.disconnect()
    await sensor.device.stop_advertising()
    assert (await linked(made, made.plan(device, [TEMPERATURE]))).values == {"temperature": 21.5}
    assert bluez.adapters["hci0"].connections == 1


async def called(bus: MessageBus, path: str, interface: str, member: str) -> None:
    answer = await bus.call(Message("org.bluez", path, f"org.bluez.{interface}", member))
    assert answer is not None
    assert answer.error_name is None


async def test_a_bluetooth_daemon_that_restarts_is_noticed_and_used_again(air, sensor, device, tmp_path, monkeypatch):
    async with PrivateBus(tmp_path) as address:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
        driver = new_driver(None)
        plan, told = driver.plan(device, [TEMPERATURE]), Told()
        async with Facade(address, {"hci0": await air.central()}):
            await driver.connect()
            await subscribed(driver, plan, told)
        with pytest.raises(NotConnected, match="Bluetooth is not available"):
            await driver.read(plan)
        await driver.close()
        await sensor.cut()
        sensor.values["2A6E"] = struct.pack("<h", 300)
        async with Facade(address, {"hci0": await air.central()}):
            await driver.connect()
            await subscribed(driver, plan, again := Told())
            assert again.values == {"temperature": 3.0}
            await driver.close()


async def test_an_adapter_that_is_off_is_said_and_used_once_it_is_on(sensor, made, device, bluez):
    plan = made.plan(device, [TEMPERATURE])
    bluez.adapters["hci0"].power(on=False)
    with pytest.raises(NotConnected, match="No powered Bluetooth adapters found"):
        await linked(made, plan)
    with pytest.raises(NotConnected, match="No powered Bluetooth adapters found"):
        await made.read(made.plan(device, [RSSI]))
    bluez.adapters["hci0"].power(on=True)
    while True:  # until bleak has heard of it
        await made.connect()
        with contextlib.suppress(NotConnected):
            assert (await linked(made, plan)).values == {"temperature": 21.5}
            return


async def test_the_adapter_that_is_named_is_used_and_one_that_is_not_there_is_said(sensor, air, device, tmp_path):
    async with on_bluez(air, tmp_path, {"hci0": await Air().central(), "hci1": await air.central()}) as facade:
        for name, fails in (("hci1", None), ("hci0", DeviceTimeout), ("hci7", NotConnected)):
            driver = new_driver(None, adapter=name, connect_timeout_ms=300)
            plan = driver.plan(device, [TEMPERATURE])
            await driver.connect()
            if fails is None:
                assert (await linked(driver, plan)).values == {"temperature": 21.5}
            else:
                with pytest.raises(fails, match="not found" if fails is NotConnected else "not"):
                    await driver.read(plan)
            await driver.close()
        assert [one.connections for one in facade.adapters.values()] == [0, 1]


async def test_two_connections_on_one_adapter_are_told_to_be_one(sensor, made, device):
    await made.read(made.plan(device, [RSSI]))
    other = new_driver(None)
    await other.connect()
    with pytest.raises(DeviceTimeout, match="InProgress") as refused:
        await other.read(other.plan(device, [RSSI]))
    assert "one Connection" in refused.value.remedy
    await other.close()


async def test_without_a_bus_there_is_no_bluetooth(device, tmp_path, monkeypatch):
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    driver = new_driver(None)
    await driver.connect()
    with pytest.raises(NotConnected, match="Bluetooth is not available") as refused:
        await linked(driver, driver.plan(device, [TEMPERATURE]))
    assert "BlueZ" in refused.value.remedy
    await driver.close()
