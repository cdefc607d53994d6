"""A mapper written to KubeEdge's topics, with a client library and no line of ours, on a running gateway."""

import asyncio
import queue
import socket
import subprocess
import sys
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from tests.e2e.rig import until
from tests.e2e.test_kubeedge import prepared
from twin.wire.api import DocumentSource

SECOND = """
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: lamp-2}
spec: {deviceModelRef: {name: lamp}}
"""
NAMED = {"EDGETWIN_DIALECTS_KUBEEDGE_NAMES": '{"hall-lamp": "lamp"}'}
MAPPER = Path(__file__).parents[1] / "peers" / "kubeedge_mapper.py"


class Supervised:
    """The mapper as a child that is started again when it ends, for the broker learns of a login within two seconds."""

    def __init__(self, argv, said):
        self.argv = [sys.executable, str(MAPPER), *argv]
        self.said = said
        self.child = None

    def lines(self):
        return self.said.read_text().splitlines() if self.said.exists() else []

    def up(self):
        if self.child is None or self.child.poll() is not None:
            with self.said.open("ab") as out:
                self.child = subprocess.Popen(self.argv, stdout=out, stderr=out)
        return "up" in self.lines() or None

    def end(self):
        self.child.kill()
        self.child.wait()


@pytest.mark.parametrize("name", ["default/lamp", "lamp", "hall-lamp"])
async def test_an_unchanged_mapper_with_a_login_reports_and_does_what_is_desired(stopped_hub, tmp_path, name):
    hub = stopped_hub
    hub.environment |= NAMED
    hub.start()
    await prepared(hub)
    made = await asyncio.to_thread(hub.run, "account", "create", "mapper-1", "--device", "lamp")
    access = await hub.access()
    login = ("mapper-1", made.stdout.split()[-1])
    await mapped(hub, [access.host, str(access.port), name, *login], tmp_path)


@pytest.mark.parametrize("name", ["default/lamp", "lamp", "hall-lamp"])
async def test_an_unchanged_mapper_without_a_user_works_on_the_legacy_listener(legacy_hub, tmp_path, name):
    hub, port = legacy_hub
    await mapped(hub, ["127.0.0.1", str(port), name], tmp_path)


@pytest.mark.parametrize("user", [None, "hub", "mapper"])
async def test_a_client_without_a_user_hears_and_says_nothing_but_of_its_devices(legacy_hub, user):
    hub, port = legacy_hub
    heard = queue.SimpleQueue()
    subscribed = queue.SimpleQueue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    if user:  # claimed, for nobody asks for a password there
        client.username_pw_set(user, "guessed")
    client.on_message = lambda _client, _user, message: heard.put(message.topic)
    client.on_connect = lambda *_: [client.subscribe(each, 1) for each in ("#", "$hw/#", "$ke/#", "$aws/#", "$SYS/#")]
    client.on_subscribe = lambda _client, _user, mid, *_: subscribed.put(mid)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        for _ in range(5):
            await asyncio.to_thread(subscribed.get, True, 10)
        client.publish("et/1/report/hub/device/default/lamp", '{"values": {"power": 3}}', 1)
        async with hub.client() as twins:
            await twins.set("lamp-2", {"power": 70})
            await twins.set("lamp", {"power": 70})
            for device in ("lamp-2", "lamp"):
                client.publish(f"$hw/events/device/{device}/state/update", '{"event_id": "x", "state": "online"}', 1)
            topics = set()
            while user is None and "$hw/events/device/lamp/state/update/result" not in topics:
                topics.add(await asyncio.to_thread(heard.get, True, 10))
            assert "power" not in (await twins.get("lamp")).reported
        client.subscribe("end", 1)
        await asyncio.to_thread(subscribed.get, True, 10)
        while not heard.empty():
            topics.add(heard.get())
        assert all("/lamp/" in topic or "/hall-lamp/" in topic for topic in topics)
        assert bool(topics) == (user is None)
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.fixture
async def legacy_hub(stopped_hub):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    legacy = {"EDGETWIN_BROKER_LEGACY_LISTEN": f"127.0.0.1:{port}", "EDGETWIN_BROKER_LEGACY_DEVICES": '["lamp"]'}
    stopped_hub.environment |= legacy | NAMED
    stopped_hub.start()
    await prepared(stopped_hub)
    async with stopped_hub.client() as client:
        await client.apply([DocumentSource(name="second.yaml", text=SECOND)])
    return stopped_hub, port


async def mapped(hub, argv, tmp_path):
    """Run the mapper until it has done what is desired, and every answer was good."""
    mapper = Supervised(argv, tmp_path / "mapper.log")
    try:
        await until(mapper.up, 20, lambda: "\n".join(mapper.lines()))
        async with hub.client() as client:
            async with client.watch("lamp") as events, asyncio.timeout(10):
                await client.set("lamp", {"power": 70})
                async for event in events:
                    body = event.body
                    if body is not None and "power" in body.reported and body.reported["power"].value == 70:
                        break
            assert (await client.get("lamp")).delta == {}
        assert "did power 70" in mapper.lines()
        results = [line for line in mapper.lines() if line.startswith("result")]
        assert results
        assert all(line.endswith(" 0") for line in results)
    finally:
        mapper.end()
