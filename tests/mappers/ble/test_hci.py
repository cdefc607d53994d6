"""An adapter in another process, reached over TCP: found, lost and found again."""

import asyncio
from random import Random

import pytest

from mappers.ble.config import BleConnection, BleDevice
from mappers.ble.driver import BleDriver
from mappers.ble.virtual_hci import HciServer
from mappers.sdk import DeviceTimeout, NotConnected
from tests.mappers.ble.conftest import MAC, Told, point, until
from tests.peers.tcp_proxy import Line

DEVICE = BleDevice.model_validate({"mac": MAC})
TEMPERATURE = point("temperature", characteristic="2A6E")


def driver_at(port):
    config = BleConnection(
        adapter=f"tcp:127.0.0.1:{port}", timeout_ms=400, connect_timeout_ms=3000, reconnect_max_ms=50
    )
    return BleDriver(config, rng=Random(1))


async def read(driver):
    """Values of the sensor, as soon as there are any."""
    plan = driver.plan(DEVICE, [TEMPERATURE])
    async with asyncio.timeout(15):
        while True:
            try:
                return (await driver.read(plan)).values
            except DeviceTimeout:
                await asyncio.sleep(0.02)


async def test_a_sensor_is_read_and_tells_over_tcp(air, sensor):
    async with HciServer(air) as port:
        driver = driver_at(port)
        await driver.connect()
        assert await read(driver) == {"temperature": 21.5}
        told = Told()
        await driver.subscribe(driver.plan(DEVICE, [TEMPERATURE]), 100, told)
        await sensor.set(sensor.temperature, "2A6E", (2300).to_bytes(2, "little"))
        await until(lambda: told.values.get("temperature") == 23.0)
        await driver.close()


async def test_a_host_that_dies_and_comes_back_reaches_the_same_sensor(air, sensor):
    server = HciServer(air)
    async with server as port:
        for _ in range(3):
            driver = driver_at(port)
            await driver.connect()
            assert await read(driver) == {"temperature": 21.5}
            for client in list(server._clients):
                client.end()  # as when the process is killed: without a word
            await driver.close()
            await until(lambda: not sensor.connections)


async def test_a_controller_that_goes_is_noticed_and_found_again(air, sensor):
    server = HciServer(air)
    async with server as port:
        driver = driver_at(port)
        await driver.connect()
        assert await read(driver)
        for client in list(server._clients):
            client.end()
        assert await read(driver)
        await driver.close()


async def test_where_no_controller_is_the_adapter_is_not_there():
    driver = driver_at(1)
    await driver.connect()
    with pytest.raises(NotConnected, match=r"no controller answers at 127\.0\.0\.1:1"):
        await read(driver)
    await driver.close()


@pytest.mark.parametrize("noise", [bytes(range(256)), b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x04\xff\xff", bytes(64)])
async def test_noise_from_a_controller_ends_in_a_new_connection(air, sensor, noise):
    escaped: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))
    async with HciServer(air) as target, Line(target) as line:
        driver = driver_at(line.port)
        await driver.connect()
        assert await read(driver) == {"temperature": 21.5}
        line.say(noise)
        await line.cut()
        assert await read(driver) == {"temperature": 21.5}
        await driver.close()
    assert escaped == []
