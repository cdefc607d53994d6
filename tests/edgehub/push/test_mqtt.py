"""Pushes by MQTT to a real Mosquitto, in our shape and in KubeEdge's."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.conftest import MOSQUITTO
from tests.edgehub.push.site import push, site, until, view_of
from twin.link import Message
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions
from twin.mosquitto import find_mosquitto

DEVICE = """
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: tank, namespace: plant}
spec: {properties: [{name: level, type: FLOAT, accessMode: ReadOnly, unit: "%"}]}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: tank, namespace: plant}
spec:
  deviceModelRef: {name: tank}
  properties:
    - name: level
      visitors: {protocolName: x, configData: {}}
      pushMethod:
        mqtt: {address: "tcp://HOST:PORT", topic: hall/level, qos: 0, retained: true}
"""


def options(broker, account) -> MqttOptions:
    return MqttOptions(broker.host, broker.port, "listener", account.name, account.password)


async def test_each_reading_is_a_message_that_the_broker_has_acknowledged_also_after_it_was_away(tmp_path, broker):
    got: list[tuple[str, dict]] = []
    secret = tmp_path / "password"
    secret.write_text(broker.hub.password + "\n")
    config = (
        f"{{url: 'mqtt://{broker.host}:{broker.port}', username: hub, retained: true, password: {{file: {secret}}}}}"
    )
    async with site(tmp_path / "s") as gateway, MqttLink(options(broker, broker.hub)) as link:
        await link.subscribe("edgetwin/#", lambda message: got.append((message.topic, json.loads(message.payload))))
        await link.connected(10)
        await gateway.follow(view_of(push("mqtt", config)))
        await gateway.report(*map(float, range(120)))
        await until(lambda: len(got) >= 120)
        os.kill(broker.child.pid, signal.SIGKILL)  # the supervisor starts another
        await gateway.report(120.0)
        await until(lambda: got[-1][1]["value"] == 120.0)
    assert got[0][0] == "edgetwin/gw-1/plant/tank/level"
    assert list(dict.fromkeys(body["value"] for _, body in got)) == [float(number) for number in range(121)]


async def test_what_the_broker_does_not_let_us_publish_waits_and_says_so(tmp_path, broker):
    account = broker.account("pusher", ("write", "allowed/#"))
    secret = tmp_path / "password"
    secret.write_text(account.password)
    config = (
        f"{{url: 'mqtt://{broker.host}:{broker.port}', username: pusher, password: {{file: {secret}}}, topic: no/x}}"
    )
    async with site(tmp_path / "s") as gateway:
        await gateway.follow(view_of(push("mqtt", config)))
        await gateway.report(1.0, 2.0)
        await until(lambda: "Not authorized" in str(gateway.told().get("why")))
        assert gateway.told()["waiting"] == 2
        secret.unlink()
        await until(lambda: gateway.told().get("state") == "broken", gateway.told)
        assert "cannot be read" in str(gateway.told()["why"])


@pytest.mark.parametrize(
    ("strict", "shape"), [(False, r'\{"id":"gw-1\..*"value":7.5'), (True, r"time is \d{4}-.* hall/level: 7.5$")]
)
async def test_a_push_method_of_kubeedge_works_as_it_is(tmp_path, free_port, strict, shape):
    got: list[Message] = []
    async with site(tmp_path / "s", strict=strict) as gateway, open_broker(free_port(), tmp_path) as port:
        await gateway.follow(view_of(DEVICE.replace("HOST:PORT", f"127.0.0.1:{port}")))
        (spec,) = gateway.door.specs()
        assert spec.key.name.startswith("kubeedge-mqtt-")
        async with MqttLink(MqttOptions("127.0.0.1", port, "listener")) as link:
            await link.subscribe("#", got.append)
            await link.connected(10)
            await gateway.report(7.5)
            await until(lambda: got)
    assert got[0].topic == "hall/level"
    assert re.match(shape, got[0].payload.decode())


@asynccontextmanager
async def open_broker(port: int, folder: Path) -> AsyncIterator[int]:
    """A Mosquitto that lets everyone in, as KubeEdge's field needs it."""
    conf = folder / "open.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
    binary = await find_mosquitto(MOSQUITTO)
    process = await asyncio.create_subprocess_exec(str(binary.path), "-c", str(conf), stderr=asyncio.subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        await process.wait()
