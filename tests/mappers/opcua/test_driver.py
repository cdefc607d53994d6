"""The driver against node-opcua: a server that shares no code with it."""

import asyncio
import shutil
import signal
import stat
import time
from itertools import pairwise
from pathlib import Path

import pytest

from mappers.opcua.config import OpcuaConnection, OpcuaPoint, OpcuaScan
from mappers.opcua.driver import OpcuaDriver
from mappers.sdk import DeviceTimeout, MapperError, NotConnected, Point, Quality, Reason, ValueType, WriteRefused

WHOLE = ("SByte", "Byte", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64")
VALUES = {
    "Boolean": (True, False),
    **dict.fromkeys(WHOLE, (7, 9)),
    "Float": (1.5, -2.25),
    "Double": (2.5, 1e300),
    "String": ("häll", "名前 ☃"),
    "DateTime": ("2023-11-14T22:13:20.123Z", "2030-01-02T03:04:05.678Z"),
    "Guid": ("72962b91-fa75-4ae6-8d28-b404dc7daf63", "00000000-0000-4000-8000-000000000001"),
    "ByteString": ("AAEC", "//79"),
    "Doubles": ([1.0, 2.0, 3.0], [4.0, 5.5]),
}


async def test_every_type_is_read_written_and_told(server, connect, point, device, heard):
    driver = await connect()
    points = [point(name) for name in VALUES]
    plan = driver.plan(device, points)
    readings = await driver.read(plan)
    assert readings.values == {name: before for name, (before, _) in VALUES.items()}
    assert readings.faults == {}
    assert set(readings.times_ms) == set(VALUES)
    agreed = await driver.subscribe(plan, 100, heard)
    assert agreed.refused == frozenset()
    await heard.until(lambda: heard.readings)
    assert heard.readings[0].values == readings.values
    for one in points:
        await driver.write(device, one, VALUES[one.name][1])
    assert (await driver.read(plan)).values == {name: after for name, (_, after) in VALUES.items()}
    await heard.until(lambda: all(heard.values(name)[-1] == after for name, (_, after) in VALUES.items()))


async def test_one_bad_node_harms_no_other_and_is_left_to_polling(strict, connect, point, device, heard):
    driver = await connect(url=strict.url, user="ann", password="secret")
    plan = driver.plan(device, [point("Double"), point("Nosuch"), point("Float"), point("Byte")])
    readings = await driver.read(plan)
    assert readings.values == {"Double": 2.5, "Float": 1.5, "Byte": 7}
    assert readings.faults["Nosuch"].reason is Reason.ILLEGAL_ADDRESS
    assert (await driver.subscribe(plan, 100, heard)).refused == {"Nosuch"}
    await heard.until(lambda: heard.readings)
    assert heard.readings[0].values == readings.values


async def test_a_status_is_told_as_quality(server, connect, point, device, heard):
    driver = await connect()
    plan = driver.plan(device, [point("Double")])
    await driver.subscribe(plan, 100, heard)
    await heard.until(lambda: heard.readings)
    for code, quality, reason in (
        ("UncertainSensorNotAccurate", Quality.UNCERTAIN, Reason.NOT_ACCURATE),
        ("BadSensorFailure", Quality.BAD, Reason.DEVICE_FAILURE),
    ):
        await server.status("Double", code)
        await heard.until(
            lambda reason=reason: heard.readings[-1].faults and heard.readings[-1].faults["Double"].reason is reason
        )
        fault = heard.readings[-1].faults["Double"]
        assert (fault.quality, fault.reason) == (quality, reason)
        assert code in fault.text
    await server.set("Double", 8)
    await heard.until(lambda: not heard.readings[-1].faults)
    assert heard.readings[-1].values == {"Double": 8.0}


async def test_a_server_without_news_says_that_it_is_there(server, connect, point, device, heard):
    driver = await connect(keepAliveMs=1000)
    await driver.subscribe(driver.plan(device, [point("Double")]), 100, heard)
    await heard.until(lambda: heard.alive_count >= 3)


async def test_a_queue_tells_every_value_in_order(server, connect, point, device, heard):
    driver = await connect()
    node = point("n0", nodeId="ns=1;s=n0", samplingMs=10, queue=50)
    await driver.subscribe(driver.plan(device, [node]), 500, heard)
    await heard.until(lambda: len(heard.values("n0")) > 40)
    values = heard.values("n0")
    steps = [after - before for before, after in pairwise(values[1:])]
    assert max(steps) < 15, "a value a publish would step by 25"
    assert min(steps) > 0


@pytest.mark.parametrize("name", ["Float", "Any"])
async def test_a_deadband_is_kept_by_the_server_or_here_if_it_refuses(server, connect, point, device, heard, name):
    driver = await connect()
    plan = driver.plan(
        device, [point(name, deadband=1), point("String", deadband=1), point("Double", deadbandPercent=1)]
    )
    assert (await driver.subscribe(plan, 50, heard)).refused == frozenset()
    await heard.until(lambda: heard.values(name) and heard.values("Double"))
    first = heard.values(name)[0]
    for number, step in enumerate((0.5, 2.5, 2, 4)):
        await server.set(name, first + step)
        await server.set("String", str(number))
        await heard.until(lambda number=number: heard.values("String")[-1] == str(number))
    assert heard.values(name) == [first, first + 2.5, first + 4]
    assert bool(kept(driver, name)) is (name == "Any"), "who keeps it"


async def test_a_percentage_that_the_server_refuses_is_of_the_nodes_own_range(server, connect, point, device, heard):
    driver = await connect()
    await driver.subscribe(driver.plan(device, [point("Any", deadbandPercent=10), point("String")]), 50, heard)
    assert kept(driver, "Any") == 20
    await heard.until(lambda: heard.values("Any"))
    for number, value in enumerate((29, 31)):
        await server.set("Any", value)
        await server.set("String", str(number))
        await heard.until(lambda number=number: heard.values("String")[-1] == str(number))
    assert heard.values("Any") == [10, 31]


def kept(driver, name):
    """The deadband that is applied here."""
    (item,) = [one for one in driver._watch._items.values() if one.name == name]
    return item.deadband


async def test_a_method_is_called_with_the_desired_value(server, connect, point, device):
    driver = await connect()
    fill = point("fill", nodeId="", method="ns=1;s=Tank.Fill", object="ns=1;s=Tank")
    plan = driver.plan(device, [fill])
    assert (await driver.read(plan)).faults["fill"].quality is Quality.UNCERTAIN
    await driver.write(device, fill, 55)
    assert (await driver.read(plan)).values == {"fill": 55}
    assert (await driver.read(driver.plan(device, [point("Double")]))).values == {"Double": 55.0}
    for value, text in ((101, "BadOutOfRange"), ("much", "is not a number"), ([1, 2], "takes 1 arguments, not 2")):
        with pytest.raises(WriteRefused, match=text):
            await driver.write(device, fill, value)


async def test_a_write_that_does_not_fit_is_refused_with_its_reason(server, connect, point, device):
    driver = await connect()
    for name, value, text in (
        ("Byte", 256, "does not fit into Byte"),
        ("Byte", 1.5, "not a whole number"),
        ("Boolean", "yes", "neither true nor false"),
        ("Doubles", 1.0, "not an array"),
        ("Double", [1.0], "holds one value"),
        ("DateTime", "soon", "is not a DateTime"),
        ("Locked", 1.0, "server answered Bad"),
    ):
        with pytest.raises(WriteRefused, match=text):
            await driver.write(device, point(name), value)


@pytest.mark.parametrize("policy", ["Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"])
@pytest.mark.parametrize("mode", ["Sign", "SignAndEncrypt"])
async def test_a_secure_channel_stands_once_the_server_is_trusted(
    server, connect, point, device, tmp_path, policy, mode
):
    security = {"securityPolicy": policy, "securityMode": mode}
    with pytest.raises(NotConnected, match="is not trusted") as refused:
        await connect(**security)
    (rejected,) = (tmp_path / "ours" / "rejected").iterdir()
    assert f"mv {rejected}" in refused.value.remedy
    shutil.move(rejected, tmp_path / "ours" / "trusted")
    driver = await connect(**security, user="ann", password="secret")
    assert (await driver.read(driver.plan(device, [point("Double")]))).values == {"Double": 2.5}
    key = tmp_path / "ours" / "own" / "private-key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    pinned = await connect(**security, serverCertificate=str(tmp_path / "ours" / "trusted" / rejected.name))
    assert (await pinned.read(pinned.plan(device, [point("Double")]))).values == {"Double": 2.5}
    with pytest.raises(NotConnected, match="another certificate"):
        await connect(**security, serverCertificate=str(tmp_path / "ours" / "own" / "certificate.pem"))


async def test_a_login_that_is_refused_says_whose(strict, connect):
    with pytest.raises(NotConnected, match="refused the login as user 'ann'"):
        await connect(url=strict.url, user="ann", password="wrong")
    with pytest.raises(NotConnected, match="refused the login as anonymous"):
        await connect(url=strict.url)
    await connect(url=strict.url, user="ann", password="secret")


async def test_a_certificate_login(strict, connect, tmp_path):
    secure = {"url": strict.url, "securityPolicy": "Basic256Sha256", "trustAnyServer": True}
    with pytest.raises(NotConnected):
        await connect(**secure)
    own = tmp_path / "ours" / "own"
    login = {"userCertificate": str(own / "certificate.pem"), "userKey": str(own / "private-key.pem")}
    await connect(**secure, **login)


async def test_a_certificate_login_that_is_refused(server, connect, tmp_path):
    await connect(securityPolicy="Basic256Sha256", trustAnyServer=True)
    own = tmp_path / "ours" / "own"
    login = {"userCertificate": str(own / "certificate.pem"), "userKey": str(own / "private-key.pem")}
    with pytest.raises(NotConnected, match="refused"):
        await connect(securityPolicy="Basic256Sha256", trustAnyServer=True, **login)


async def test_a_restarted_server_is_noticed_and_served_again(server, connect, point, device, heard):
    driver = await connect()
    plan = driver.plan(device, [point("Double")])
    await driver.subscribe(plan, 100, heard)
    await heard.until(lambda: heard.readings)
    server.stop()
    await heard.until(lambda: heard.losses)
    with pytest.raises(NotConnected):
        await driver.connect()
    await asyncio.to_thread(server.start)
    await driver.connect()
    heard.readings.clear()
    assert (await driver.subscribe(plan, 100, heard)).refused == frozenset()
    await heard.until(lambda: heard.values("Double"))
    await server.set("Double", 9)
    await heard.until(lambda: heard.values("Double")[-1] == 9)


async def test_a_subscription_goes_on_after_a_lost_connection(server, connect, point, device, heard):
    driver = await connect(user="ann", password="secret")  # nobody may take over what is anonymous and unsecured
    plan = driver.plan(device, [point("Double", queue=10)])
    await driver.subscribe(plan, 100, heard)
    await heard.until(lambda: heard.readings)
    driver._session.client.disconnect_socket()
    await heard.until(lambda: heard.losses)
    await driver.close()
    told = plan.told
    for value in (11, 12, 13):
        await server.set("Double", value)
    await driver.connect()
    await driver.subscribe(plan, 100, heard)
    assert plan.told is told, "the server has carried the subscription over"
    await heard.until(lambda: heard.values("Double")[-1] == 13)


async def test_a_half_open_connection_is_noticed(server, connect, point, device, heard):
    driver = await connect(keepAliveMs=2500, timeoutMs=2500)
    await driver.subscribe(driver.plan(device, [point("Double")]), 100, heard)
    await heard.until(lambda: heard.readings)
    server.signal(signal.SIGSTOP)
    try:
        with pytest.raises((DeviceTimeout, NotConnected)):
            await driver.read(driver.plan(device, [point("Double")]))
        await heard.until(lambda: heard.losses)
    finally:
        server.signal(signal.SIGCONT)


async def test_garbage_on_the_port_is_not_a_server(tmp_path):
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(range(256)))
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        config = {"url": f"opc.tcp://127.0.0.1:{port}", "timeoutMs": 1000, "pki": str(tmp_path)}
        driver = OpcuaDriver(OpcuaConnection.model_validate(config))
        with pytest.raises(NotConnected, match="OPC UA at"):
            await driver.connect()
        await driver.close()


async def test_a_port_where_nobody_answers(tmp_path):
    hung_up = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        config = {"url": f"opc.tcp://127.0.0.1:{port}", "timeoutMs": 200, "pki": str(tmp_path)}
        driver = OpcuaDriver(OpcuaConnection.model_validate(config))
        with pytest.raises(NotConnected, match="no answer"):
            await driver.connect()
        async with asyncio.timeout(5):
            await hung_up.wait()  # the driver has let go of the socket


async def test_a_server_is_browsed_into_devices(server, connect):
    driver = await connect()
    told = []
    (tank,) = [one async for one in driver.discover(OpcuaScan(), told.append) if one.name == "tank"]
    assert (told[-1].done, told[-1].place) == (told[-1].of, "variables")
    points = {one.name: one for one in tank.points}
    assert set(VALUES) <= set(points)
    assert points["Byte"].visitor == {"nodeId": "ns=1;s=Tank.Byte"}
    assert (str(points["Byte"].type), str(points["Byte"].access)) == ("INT", "ReadWrite")
    assert str(points["Locked"].access) == "ReadOnly"


async def test_a_browse_path_and_a_namespace_uri_find_the_node(server, connect, point, device):
    driver = await connect()
    plan = driver.plan(
        device,
        [
            point("path", nodeId="", path="1:Tank/1:Double"),
            point("nowhere", nodeId="", path="1:Tank/1:Nosuch"),
            point("uri", nodeId="nsu=urn:nobody;s=x"),
        ],
    )
    readings = await driver.read(plan)
    assert readings.values == {"path": 2.5}
    assert {fault.reason for fault in readings.faults.values()} == {Reason.ILLEGAL_ADDRESS}


def events(name="alarms", **more):
    return Point(name, ValueType.JSON, OpcuaPoint.model_validate({"nodeId": "i=2253", "events": True, **more}))


async def test_events_are_told_in_order_with_their_time_and_none_is_dropped(server, connect, point, device, heard):
    driver = await connect()
    plan = driver.plan(device, [events(), point("Double")])
    assert not (await driver.subscribe(plan, 200, heard)).refused
    for number in range(20):
        await server.event(f"overflow-{number}", 500 + number)
    await heard.until(lambda: len(heard.values("alarms")) == 20)
    told = [one for one in heard.readings if "alarms" in one.values]
    assert [one.values["alarms"]["message"] for one in told] == [f"overflow-{number}" for number in range(20)]
    last = told[-1].values["alarms"]
    assert (last["source"], last["severity"], last["type"]) == ("Tank", 519, "i=2041")
    assert abs(told[-1].times_ms["alarms"] - time.time() * 1000) < 60_000
    assert (await driver.read(plan)).values["alarms"] == last


async def test_the_server_keeps_events_back_that_are_less_severe(server, connect, device, heard):
    driver = await connect()
    await driver.subscribe(driver.plan(device, [events(minSeverity=600)]), 100, heard)
    await server.event("small", 599)
    await server.event("great", 600)
    await heard.until(lambda: heard.values("alarms"))
    assert [one["message"] for one in heard.values("alarms")] == ["great"]


async def test_events_cannot_be_polled_nor_written(server, connect, device, heard):
    driver = await connect(subscribe=False)
    point = events()
    read = await driver.read(driver.plan(device, [point]))
    assert read.faults["alarms"].reason is Reason.CONFIG_ERROR
    with pytest.raises(WriteRefused, match="cannot be written"):
        await driver.write(device, point, {})


async def test_subscribing_may_be_switched_off(server, connect, point, device, heard):
    driver = await connect(subscribe=False)
    with pytest.raises(MapperError, match="subscribe is false"):
        await driver.subscribe(driver.plan(device, [point("Double")]), 100, heard)


def test_the_peer_is_an_independent_one():
    assert "asyncua" not in (Path(__file__).parents[2] / "peers" / "opcua_server.js").read_text()
