"""The main job from the outside: apply, read, set, watch, explain, stop, with the real command and a real device."""

import asyncio
import json
from collections.abc import Callable

from twin.client import TwinClient
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions
from twin.model import Quality, Reason, TwinKey
from twin.wire import topics
from twin.wire.api import TwinBody
from twin.wire.codec import decode, encode
from twin.wire.messages import Ack, Report

KUBEEDGE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: sensor-model, namespace: default}
spec:
  protocol: modbus
  properties:
    - {name: temperature, description: temperature in degree celsius, type: INT, accessMode: ReadWrite,
       maximum: "100", unit: degree celsius}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: sensor-instance-01, namespace: default}
spec:
  deviceModelRef: {name: sensor-model}
  nodeName: gw-test
  protocol: {protocolName: modbus, configData: {ip: 127.0.0.1, port: ${PORT}, slaveID: 1}}
  properties:
    - name: temperature
      desired: {value: "30"}
      collectCycle: 200
      reportCycle: 200
      reportToCloud: true
      visitors:
        protocolName: modbus
        configData: {register: HoldingRegister, offset: 4, limit: 1, scale: 1, isSwap: false, isRegisterSwap: false}
"""


async def twin_when(
    client: TwinClient, key: str, wanted: Callable[[TwinBody], bool], timeout_s: float = 10.0
) -> TwinBody:
    """The twin as soon as it is as wanted."""
    async with asyncio.timeout(timeout_s), client.watch(f"device/default/{key}") as events:
        async for event in events:
            if event.body is not None and wanted(event.body):
                return event.body
    raise AssertionError("the watch ended")


def value_is(name: str, value: object):
    return lambda body: name in body.reported and body.reported[name].value == value


async def test_a_login_that_calls_itself_the_hub_takes_no_connection_from_it(hub, plant):
    access = await hub.access()
    options = [
        MqttOptions(access.host, access.port, name, access.account, access.password)
        for name in ("edgetwin-hub", "edgetwin-mapper")
    ]
    async with hub.client() as client, MqttLink(options[0]) as first, MqttLink(options[1]) as second:
        await first.connected(5.0)
        await second.connected(5.0)
        plant.set_input(0, 77)
        await twin_when(client, "v1", value_is("flow", 77))
    assert "link edgetwin-" not in hub.log.read_text()


async def test_a_value_of_the_device_reaches_the_twin_and_a_desired_value_reaches_the_device(hub, plant):
    async with hub.client() as client:
        await twin_when(client, "v1", value_is("flow", 17))
        plant.set_input(0, 18)
        await twin_when(client, "v1", value_is("flow", 18))
        await client.set("v1", {"position": 420})
        body = await twin_when(client, "v1", value_is("position", 420))
        assert plant.holding(0) == 420
        assert body.delta == {}
        assert body.desired["position"].value == 420


async def test_what_is_set_survives_a_stop_and_the_device_gets_it_after_the_start(hub, plant):
    async with hub.client() as client:
        await twin_when(client, "v1", value_is("flow", 17))
        plant.server.stop()
        await client.set("v1", {"position": 55})
        body = await twin_when(client, "v1", lambda body: body.reported["flow"].quality is Quality.BAD)
        assert body.delta == {"position": 55}
        assert body.reported["flow"].reason in (Reason.NOT_CONNECTED, Reason.TIMEOUT)
        assert body.reported["flow"].value == 17
    assert hub.stop() == 0
    plant.server.start()
    hub.start()
    async with hub.client() as client:
        body = await twin_when(client, "v1", value_is("position", 55))
        assert body.delta == {}
    assert plant.holding(0) == 55


async def test_kubeedge_documents_are_served_unchanged_and_their_desired_value_is_written(hub, device, tmp_path):
    file = tmp_path / "kubeedge.yaml"
    file.write_text(KUBEEDGE.replace("${PORT}", str(device.port)))
    done = await asyncio.to_thread(hub.run, "apply", "-f", str(file))
    assert done.returncode == 0, done.stderr
    async with hub.client() as client:
        await twin_when(client, "sensor-instance-01", value_is("temperature", 30))
    assert device.holding(4) == 30


async def test_a_device_of_another_gateway_is_kept_with_a_warning_and_not_polled(hub, device, tmp_path):
    file = tmp_path / "kubeedge.yaml"
    file.write_text(KUBEEDGE.replace("${PORT}", str(device.port)).replace("gw-test", "worker-1"))
    done = await asyncio.to_thread(hub.run, "apply", "-f", str(file))
    assert done.returncode == 0, done.stderr
    assert "names the gateway worker-1, this is gw-test" in done.stderr
    async with hub.client() as client:
        assert (await client.get("sensor-instance-01")).reported == {}


async def test_commands_work_as_a_shell_user_sees_them(hub, plant, tmp_path):
    run = lambda *arguments: asyncio.to_thread(hub.run, *arguments)  # noqa: E731  # a short name for many calls
    async with hub.client() as client:
        await twin_when(client, "v1", value_is("flow", 17))
    table = await run("get", "v1")
    assert table.returncode == 0
    assert "flow" in table.stdout
    assert "17" in table.stdout
    done = await run("set", "v1", "position=77", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pending"] == []
    assert plant.holding(0) == 77
    explained = await run("explain", "v1", "position")
    assert "77, written at the edge" in explained.stdout
    assert "the device has followed" in explained.stdout
    unread = await run("set", "free", "count=4", "--wait", "0.2")
    assert unread.returncode == 1
    assert "the device has not followed" in unread.stdout
    status = json.loads((await run("status", "--json")).stdout)
    assert status["gateway"] == "gw-test"
    assert [child["running"] for child in status["children"]] == [True, True]
    assert (await run("--help")).returncode == 0
    assert (await run("nonsense")).returncode == 2


async def test_without_a_hub_reading_and_applying_work_and_setting_says_the_remedy(hub, plant, tmp_path):
    async with hub.client() as client:
        await twin_when(client, "v1", value_is("flow", 17))
    assert hub.stop() == 0
    found = await asyncio.to_thread(hub.run, "get", "v1", "--json")
    assert json.loads(found.stdout)["twins"][0]["reported"]["flow"]["value"] == 17
    refused = await asyncio.to_thread(hub.run, "set", "v1", "position=1")
    assert refused.returncode == 3
    assert "edgetwin run" in refused.stderr
    more = tmp_path / "more.yaml"
    more.write_text(
        "apiVersion: edgetwin.dev/v1\nkind: Device\nmetadata: {name: later}\nspec: {deviceModelRef: {name: valve}}\n"
    )
    applied = await asyncio.to_thread(hub.run, "apply", "-f", str(more))
    assert applied.returncode == 0, applied.stderr
    assert (await asyncio.to_thread(hub.run, "status")).returncode == 3
    hub.start()
    async with hub.client() as client:
        assert (await client.get("later")).model == "valve"


async def test_dry_run_and_diff_change_nothing_and_delete_removes_the_twin(hub, plant, tmp_path):
    run = lambda *arguments: asyncio.to_thread(hub.run, *arguments)  # noqa: E731  # a short name for many calls
    file = tmp_path / "free.yaml"
    file.write_text(
        "apiVersion: edgetwin.dev/v1\nkind: Device\nmetadata: {name: free, labels: {a: b}}\n"
        "spec: {deviceModelRef: {name: valve}}\n"
    )
    diff = await run("diff", "-f", str(file))
    assert diff.returncode == 1
    assert "+  labels:" in diff.stdout
    assert (await run("apply", "-f", str(file), "--dry-run")).stdout.startswith("Device default/free updated")
    assert (await run("diff", "-f", str(file))).returncode == 1
    assert (await run("apply", "-f", str(file))).returncode == 0
    assert (await run("diff", "-f", str(file))).returncode == 0
    assert (await run("delete", "-f", str(file))).returncode == 0
    gone = await run("get", "free")
    assert gone.returncode == 4
    assert "device/default/free is not known here" in gone.stderr


async def test_a_login_of_the_users_reports_on_its_devices_only(hub, plant):
    made = json.loads(
        (await asyncio.to_thread(hub.run, "account", "create", "rig", "--device", "free", "--json")).stdout
    )
    access = await hub.access()

    options = MqttOptions(access.host, access.port, "rig-1", "rig", made["password"], retry_base_s=0.1, retry_cap_s=0.2)
    acks: asyncio.Queue[Ack] = asyncio.Queue()
    async with MqttLink(options) as link:
        await link.connected(15)
        await link.subscribe(
            topics.ack("rig"), lambda message: acks.put_nowait(decode(Ack, message.payload, what="ack"))
        )
        link.publish(topics.report("rig", TwinKey.parse("v1")), encode(Report(id=1, at=1, values={"count": 1})))
        link.publish(topics.report("rig", TwinKey.parse("free")), encode(Report(id=2, at=2, values={"count": 5})))
        ack = await asyncio.wait_for(acks.get(), 10)
    assert ack.stored == [2]
    async with hub.client() as client:
        assert (await client.get("free")).reported["count"].value == 5
        assert "count" not in (await client.get("v1")).reported
    assert made["password"] not in hub.folder.logins.read_text()


async def test_two_hubs_on_one_state_folder_are_refused_with_the_holder_named(hub):
    second = await asyncio.to_thread(hub.run, "run")
    assert second.returncode == 5
    assert str(hub.process.pid) in second.stderr
