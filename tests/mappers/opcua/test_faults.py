"""The driver on a bad line to node-opcua: cut, silent, slow, in crumbs, noisy. Nothing may escape into the loop."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mappers.opcua.config import OpcuaConnection
from mappers.opcua.driver import OpcuaDriver
from mappers.sdk import DeviceTimeout, MapperError, NotConnected
from tests.peers.tcp_proxy import Line


@pytest.fixture
async def line(server) -> AsyncIterator[Line]:
    async with Line(server.port) as made:
        yield made


@pytest.fixture
async def driver(line, connect):
    escaped: list[dict] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))
    yield await connect(
        url=f"opc.tcp://127.0.0.1:{line.port}", user="ann", password="secret", keepAliveMs=2500, timeoutMs=2500
    )
    assert escaped == []


async def test_a_pulled_cable_is_told_and_the_subscription_goes_on_when_it_is_back(
    server, line, driver, point, device, heard
):
    plan = driver.plan(device, [point("Double", queue=10)])
    await driver.subscribe(plan, 100, heard)
    await heard.until(lambda: heard.readings)
    told = plan.told
    await line.pull()
    await heard.until(lambda: heard.losses)
    assert isinstance(heard.losses[0], NotConnected)
    for value in (11, 12, 13):
        await server.set("Double", value)
    with pytest.raises(NotConnected):
        await driver.connect()
    async with Line(server.port, line.port):
        await driver.connect()
        await driver.subscribe(plan, 100, heard)
        assert plan.told is told, "the server has carried the subscription over"
        await heard.until(lambda: heard.values("Double")[-1] == 13)
        await driver.close()


async def test_a_line_that_swallows_everything_is_noticed(line, driver, point, device, heard):
    await driver.subscribe(driver.plan(device, [point("Double")]), 100, heard)
    await heard.until(lambda: heard.readings)
    line.silent = True
    with pytest.raises((DeviceTimeout, NotConnected)):
        await driver.read(driver.plan(device, [point("Double")]))
    await heard.until(lambda: heard.losses)
    with pytest.raises(NotConnected, match="no answer"):
        await driver.connect()
    line.silent = False
    await driver.connect()
    assert (await driver.read(driver.plan(device, [point("Double")]))).values == {"Double": 2.5}


async def test_a_slow_line_is_waited_for_and_a_late_answer_is_nobody_elses(line, connect, point, device):
    driver = await connect(url=f"opc.tcp://127.0.0.1:{line.port}", keepAliveMs=10_000, timeoutMs=2500)
    first, second = (driver.plan(device, [point(name)]) for name in ("Double", "Float"))
    line.delay_s = 0.1
    assert (await driver.read(first)).values == {"Double": 2.5}
    line.delay_s = 1.5  # there and back: longer than timeoutMs
    with pytest.raises(DeviceTimeout, match="no answer in 2500 ms"):
        await driver.read(first)
    line.delay_s = 0.0
    assert (await driver.read(second)).values == {"Float": 1.5}


async def test_messages_in_crumbs_are_whole_messages(line, driver, point, device, heard):
    line.crumbs = True
    plan = driver.plan(device, [point("Double"), point("String")])
    assert (await driver.read(plan)).values == {"Double": 2.5, "String": "häll"}
    await driver.subscribe(plan, 100, heard)
    await heard.until(lambda: heard.readings)
    assert heard.readings[0].values == {"Double": 2.5, "String": "häll"}


NOISES = {
    "bytes": bytes(range(256)),
    "an empty message": b"MSGF\x00\x00\x00\x20" + bytes(24),
    "an endless message": b"MSGF\xff\xff\xff\xff" + bytes(64),
    "an error": b"ERRF\x10\x00\x00\x00\x00\x00\x00\x80\xff\xff\xff\xff",
    "a goodbye": b"CLOF\x0c\x00\x00\x00\x00\x00\x00\x00",
}


async def test_noise_on_an_open_connection_ends_it_and_the_next_one_is_fine(line, driver, point, device, heard):
    for what, noise in NOISES.items():
        plan = driver.plan(device, [point("Double")])
        heard.readings.clear()
        heard.losses.clear()
        await driver.subscribe(plan, 100, heard)
        await heard.until(lambda: heard.readings)
        line.say(noise)
        async with asyncio.timeout(60):
            while not heard.losses:
                try:
                    await driver.read(plan)
                except MapperError:
                    break
                await asyncio.sleep(0.05)
        await driver.connect()
        assert (await driver.read(plan)).values == {"Double": 2.5}, what


@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_of_a_server_escapes(tmp_path, answers):
    """Whatever a server says to the first request, ``connect`` says NotConnected."""
    escaped: list[dict] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            for one in answers:
                writer.write(one)
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            config = {"url": f"opc.tcp://127.0.0.1:{port}", "timeoutMs": 200, "pki": str(tmp_path)}
            driver = OpcuaDriver(OpcuaConnection.model_validate(config))
            with pytest.raises(NotConnected):
                await driver.connect()
            await driver.close()

    asyncio.run(run())
    assert escaped == []
