"""AWS's shadows on the plain listener of a running gateway, by a client of MQTT 3.1.1."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager

import paho.mqtt.client as paho
import pytest

from tests.e2e.rig import Hub
from tests.e2e.shadows import account, with_lamp

CLASSIC = "$aws/things/lamp/shadow"
NAMED = f"{CLASSIC}/name/WifiConfig"


class Peer:
    """A client and all that it hears."""

    def __init__(self, client: paho.Client) -> None:
        self.client = client
        self.heard: queue.Queue[tuple[str, dict]] = queue.Queue()
        client.on_message = lambda _client, _user, message: self.heard.put(
            (message.topic, json.loads(message.payload or b"{}"))
        )

    def ask(self, topic: str, body: object = None) -> None:
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.client.publish(topic, payload, qos=1)

    def next(self, count: int = 1) -> list[tuple[str, dict]]:
        return [self.heard.get(timeout=10) for _ in range(count)]

    def answer(self, topic: str, body: object = None) -> dict:
        """Ask, and take what comes up to the answer."""
        self.ask(topic, body)
        while True:
            heard, answer = self.heard.get(timeout=10)
            if heard in (f"{topic}/accepted", f"{topic}/rejected"):
                return answer


@contextmanager
def connected(port: int, name: str, password: str, *, filters: tuple[str, ...] = ("$aws/#",)) -> Iterator[Peer]:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, name, protocol=paho.MQTTv311)
    client.username_pw_set(name, password)
    granted: queue.Queue[object] = queue.Queue()
    client.on_subscribe = lambda *_: granted.put(None)
    peer = Peer(client)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        client.subscribe([(one, 1) for one in filters])
        granted.get(timeout=10)
        yield peer
    finally:
        client.disconnect()
        client.loop_stop()


ANSWERS = (f"{CLASSIC}/+/+", f"{CLASSIC}/name/+/+/+")


@pytest.fixture
async def lamp(stopped_hub: Hub) -> tuple[Hub, int, str]:
    """A gateway with a lamp, the port of its broker, and the password of the account `lamp`."""
    password = account(stopped_hub, "lamp", "lamp")
    hub = await with_lamp(stopped_hub)
    return hub, (await hub.access()).port, password


async def test_an_app_and_a_device_speak_over_a_shadow_as_they_do_at_aws(lamp: tuple[Hub, int, str]) -> None:
    hub, port, password = lamp
    with connected(port, "lamp", password, filters=ANSWERS) as peer:
        assert peer.answer(f"{CLASSIC}/get")["code"] == 404
        peer.ask(f"{CLASSIC}/update", {"state": {"desired": {"on": True, "rgb": {"r": 1, "g": 2}}}, "clientToken": "t"})
        heard = peer.next(3)
        assert [topic.removeprefix(f"{CLASSIC}/") for topic, _ in heard] == [
            "update/delta",
            "update/accepted",
            "update/documents",
        ]
        assert {body["clientToken"] for _, body in heard} == {"t"}
        version = heard[1][1]["version"]
        conflict = peer.answer(f"{CLASSIC}/update", {"state": {"reported": {"on": True}}, "version": version - 1})
        assert (conflict["code"], conflict["message"]) == (409, "Version conflict")
        accepted = peer.answer(f"{CLASSIC}/update", {"state": {"reported": {"on": True}}, "version": version})
        assert accepted["version"] == version + 1
        found = peer.answer(f"{CLASSIC}/get", {"clientToken": "g"})
        assert found["state"]["delta"] == {"rgb": {"r": 1, "g": 2}}
        assert found["clientToken"] == "g"
        for body, code in (
            (b"{", 400),
            (b"\xff\xff", 415),
            (b" " * 200_000, 413),
            ({"state": {"desired": {"level": 200}}}, 400),
            ({"state": {"desired": {"nothing": 1}}}, 400),
        ):
            assert peer.answer(f"{CLASSIC}/update", body)["code"] == code
        while not peer.heard.empty():
            peer.heard.get()
        assert hub.run("set", "lamp", "level=40", "--wait", "0").returncode == 0
        (topic, delta), (other, documents) = peer.next(2)
        assert (topic, other) == (f"{CLASSIC}/update/delta", f"{CLASSIC}/update/documents")
        assert delta["state"]["level"] == 40
        assert documents["current"]["state"]["desired"]["level"] == 40
        shown = json.loads(hub.run("get", "lamp", "--json").stdout)
        assert "on" in json.dumps(shown)
        assert "version" in peer.answer(f"{CLASSIC}/delete")
        assert peer.answer(f"{CLASSIC}/get")["code"] == 404


async def test_named_shadows_outlive_documents_restarts_and_kills_and_are_twins_like_any_other(
    lamp: tuple[Hub, int, str],
) -> None:
    hub, port, password = lamp
    with connected(port, "lamp", password, filters=ANSWERS) as peer:
        accepted = peer.answer(f"{NAMED}/update", {"state": {"desired": {"ssid": "x", "any": {"thing": [1]}}}})
        assert accepted["version"] == 1
    await_documents = hub.run(
        "apply",
        "-f",
        "-",
        stdin=b"""
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: more}
spec: {properties: [{name: a, type: INT}]}
""",
    )
    assert await_documents.returncode == 0, await_documents.stderr
    hub.kill()
    hub.start()
    await hub.ready()
    with connected((await hub.access()).port, "lamp", password, filters=ANSWERS) as peer:
        found = peer.answer(f"{NAMED}/get")
        assert found["state"]["desired"] == {"ssid": "x", "any": {"thing": [1]}}
        async with hub.client() as client:
            twin = await client.get("shadow/default/lamp.-wifi-config")
            assert twin.desired["ssid"].value == "x"
            await client.set("shadow/default/lamp.-wifi-config", {"ssid": "y"})
        (_, delta), (_, documents) = peer.next(2)
        assert delta["state"]["ssid"] == "y"
        assert documents["previous"]["state"]["desired"]["ssid"] == "x"
        assert peer.answer(f"{NAMED}/delete")["version"] == 3
        assert peer.answer(f"{NAMED}/get")["code"] == 404


async def test_an_account_asks_for_its_own_devices_only_and_cannot_answer(lamp: tuple[Hub, int, str]) -> None:
    _, port, password = lamp
    with connected(port, "lamp", password, filters=("$aws/#",)) as peer:
        peer.answer(f"{CLASSIC}/get")
        for topic in (
            "$aws/things/other/shadow/get",
            "$aws/things/other/shadow/name/a/update",
            f"{CLASSIC}/update/accepted",
            f"{CLASSIC}/update/delta",
            f"{CLASSIC}/name/a/update/documents",
        ):
            peer.ask(topic, {"state": {}})
        peer.answer(f"{CLASSIC}/get")
        assert all(topic.startswith((f"{CLASSIC}/get",)) for topic, _ in peer.heard.queue)
