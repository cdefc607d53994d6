"""KubeEdge's topics on a running gateway: the 42 recorded steps over a real broker, and what the default mode mends."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions
from twin.wire.api import DocumentSource

STEPS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "conformance/kubeedge-twin.jsonl").read_text("utf-8").splitlines()
]
BARE = """
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: any}
spec: {properties: []}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: d1}
spec: {deviceModelRef: {name: any}}
---
apiVersion: edgetwin.dev/v1
kind: DeviceModel
metadata: {name: lamp}
spec:
  properties:
    - {name: power, type: INT, accessMode: ReadWrite, minimum: 0, maximum: 100}
    - {name: level, type: DOUBLE, accessMode: ReadWrite}
---
apiVersion: edgetwin.dev/v1
kind: Device
metadata: {name: lamp}
spec: {deviceModelRef: {name: lamp}}
"""


class Wire:
    """One program on the broker that hears all of KubeEdge's topics."""

    def __init__(self, link):
        self.link = link
        self.heard = asyncio.Queue()

    def send(self, topic, payload):
        if not isinstance(payload, bytes | str):
            payload = json.dumps(payload)
        self.link.publish(topic, payload.encode() if isinstance(payload, str) else payload, qos=1)

    async def next(self, ending=""):
        while True:
            message = await asyncio.wait_for(self.heard.get(), 10)
            if message.topic.endswith(ending):
                return message

    async def asked(self, topic, payload, ending):
        self.send(topic, payload)
        return json.loads((await self.next(ending)).payload)


@asynccontextmanager
async def wire_of(hub, devices=("d1", "lamp", "nope")) -> AsyncIterator[Wire]:
    options = [word for device in devices for word in ("--device", device)]
    made = await asyncio.to_thread(hub.run, "account", "create", "kube", *options)
    access = await hub.access()
    login = MqttOptions(
        access.host, access.port, "kube-1", "kube", made.stdout.split()[-1], retry_base_s=0.1, retry_cap_s=0.2
    )
    async with MqttLink(login) as link:
        await link.connected(15)
        wire = Wire(link)

        def hear(message):
            if not message.topic.endswith(("twin/update", "twin/get", "cloud_updated", "state/update", "state/get")):
                wire.heard.put_nowait(message)

        await link.subscribe("$hw/events/device/#", hear)
        await link.subscribe("$hw/events/node/+/membership/+/result", hear)
        await link.subscribe("$hw/events/node/+/membership/updated", hear)
        yield wire


async def prepared(hub):
    async with hub.client() as client:
        await client.apply([DocumentSource(name="bare.yaml", text=BARE)])


@pytest.fixture
async def strict(stopped_hub):
    stopped_hub.environment["EDGETWIN_DIALECTS_KUBEEDGE_STRICT"] = "true"
    stopped_hub.start()
    await prepared(stopped_hub)
    async with wire_of(stopped_hub) as wire:
        yield wire


@pytest.fixture
async def default(hub):
    await prepared(hub)
    async with wire_of(hub) as wire:
        yield wire


def masked(text):
    text = re.sub(r"\\u00(26|3c|3e)", lambda escape: chr(int(escape[1], 16)), text)
    text = re.sub(r'"timestamp":\d+', '"timestamp":0', text)
    return re.sub(r'"event_id":"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"', '"event_id":"~"', text)


ACTIONS = {"update": "twin/update", "get": "twin/get", "sync": "twin/cloud_updated"}


async def test_every_recorded_answer_comes_over_the_broker_byte_for_byte(strict):
    wrong = []
    for step in STEPS:
        strict.send(f"$hw/events/device/{step['device']}/{ACTIONS[step['kind']]}", step["in"])
        strict.send("$hw/events/device/default/d1/twin/get", {"event_id": f"end-{step['n']}"})
        given = []
        while True:
            message = await strict.next()
            text = message.payload.decode()
            if f'"end-{step["n"]}"' in text:
                break
            given.append((message.topic, masked(text)))
        if step["out"] is None:
            continue
        wanted = [
            (one["resource"], masked(json.dumps(one["body"], separators=(",", ":"))))
            for one in step["out"]
            if one["op"] == "publish"
        ]
        if given != wanted:
            wrong.append((step["n"], given, wanted))
    assert wrong == []


async def test_what_the_command_line_sets_is_expected_and_in_the_delta_at_once(default, hub):
    async with hub.client() as client:
        await client.set("lamp", {"power": 40})
    delta = json.loads((await default.next("default/lamp/twin/update/delta")).payload)
    assert delta["delta"] == {"power": "40"}
    assert delta["twin"]["power"]["expected"]["value"] == "40"
    topic = "$hw/events/device/default/lamp/twin/update"
    done = await default.asked(topic, {"event_id": "1", "twin": {"power": {"actual": {"value": "40"}}}}, "result")
    assert done["event_id"] == "1"
    async with hub.client() as client:
        body = await client.get("lamp")
    assert body.reported["power"].value == 40
    assert body.delta == {}


async def test_the_default_mode_answers_on_the_right_topic_with_the_event_id(default):
    default.send("$hw/events/device/lamp/twin/update", {"event_id": "7", "twin": {"a b": {"actual": {"value": "1"}}}})
    message = await default.next()
    assert message.topic == "$hw/events/device/lamp/twin/update/result"
    assert json.loads(message.payload)["event_id"] == "7"


async def test_the_default_mode_takes_any_text_json_values_and_upper_case_types(default):
    twin = {
        "text": {"actual": {"value": "zwölf Grad {<%>}"}},
        "json": {"actual": {"value": {"a": [1, 2]}}},
        "n": {"actual": {"value": "5"}, "metadata": {"type": "INT"}},
    }
    result = await default.asked("$hw/events/device/default/d1/twin/update", {"event_id": "1", "twin": twin}, "result")
    assert result["twin"]["text"]["actual"]["value"] == "zwölf Grad {<%>}"
    assert result["twin"]["json"]["actual"]["value"] == '{"a":[1,2]}'
    assert result["twin"]["n"]["metadata"] == {"type": "INT"}


async def test_numbers_that_are_equal_leave_no_delta_in_the_default_mode(default, hub):
    topic = "$hw/events/device/default/lamp/twin/update"
    both = {"level": {"expected": {"value": "5"}, "actual": {"value": "5.0"}}}
    default.send(topic, {"event_id": "1", "twin": both})
    await default.next("update/document")
    got = await default.asked("$hw/events/device/default/lamp/twin/get", {"event_id": "2"}, "")
    assert "delta" not in got
    assert got["event_id"] == "2"


async def test_a_value_outside_the_model_is_refused_with_its_rule_and_nothing_is_stored(default, hub):
    twin = {"level": {"actual": {"value": "1"}}, "power": {"actual": {"value": "101"}}}
    result = await default.asked(
        "$hw/events/device/default/lamp/twin/update", {"event_id": "1", "twin": twin}, "result"
    )
    assert result["code"] == 400
    assert "power: 101 is outside the limits 0 to 100" in result["reason"]
    async with hub.client() as client:
        assert (await client.get("lamp")).reported == {}


async def test_state_keeps_last_online_and_survives_a_kill(default, hub):
    topic = "$hw/events/device/default/lamp/state/update"
    online = await default.asked(topic, {"event_id": "1", "state": "online"}, "state/update/result")
    assert online["device"]["state"] == "online"
    offline = await default.asked(topic, {"event_id": "2", "state": "offline"}, "state/update/result")
    assert offline["device"] == {**online["device"], "state": "offline"}
    refused = await default.asked(topic, {"event_id": "3", "state": "asleep"}, "state/update/result")
    assert refused["code"] == 400
    hub.kill()
    hub.start()
    await hub.ready()
    async with wire_of(hub) as wire:
        listed = await wire.asked("$hw/events/node/gw-test/membership/get", {"event_id": "4"}, "membership/get/result")
        lamp = next(one for one in listed["devices"] if one["id"] == "default/lamp")
        assert lamp["state"] == "offline"
        assert lamp["last_online"] == online["device"]["lastOnlineTime"]


async def test_properties_that_a_message_added_survive_a_kill_with_their_versions(default, hub):
    topic = "$hw/events/device/default/d1/twin/update"
    one = {"event_id": "1", "twin": {"n": {"actual": {"value": "007"}, "metadata": {"type": "int"}}}}
    await default.asked(topic, one, "update/result")
    hub.kill()
    hub.start()
    await hub.ready()
    async with hub.client() as client:
        assert (await client.get("d1")).reported["n"].value == 7
    async with wire_of(hub) as wire:
        got = await wire.asked("$hw/events/device/default/d1/twin/get", {"event_id": "2"}, "get/result")
        assert got["twin"]["n"]["actual"]["value"] == "007"


async def test_attributes_are_told_when_they_change(default):
    default.send("$hw/events/device/default/d1/updated", {"event_id": "1", "attributes": {"site": {"value": "hall"}}})
    echo = await default.next("/updated")
    told = await default.next("/updated")
    assert json.loads(told.payload)["attributes"] == {"site": {"value": "hall"}}
    assert "timestamp" not in json.loads(echo.payload)


async def test_a_time_series_becomes_readings(default, hub):
    default.send(
        "$ke/events/device/default/lamp/data/update",
        {"event_id": "1", "timestamp": 1, "data": {"power": {"value": "9", "metadata": {"timestamp": 5}}}},
    )
    got = {}
    while "actual" not in got.get("power", {}):
        answer = await default.asked("$hw/events/device/default/lamp/twin/get", {"event_id": "2"}, "get/result")
        got = answer["twin"]
    assert got["power"]["actual"]["value"] == "9"
    async with hub.client() as client:
        assert (await client.get("lamp")).reported["power"].at == 5


async def test_garbage_unknown_devices_and_floods_leave_the_hub_alive(default, hub):
    for device in ("lamp", "default/lamp", "nope", "default/nope"):
        for action in ("twin/update", "twin/get", "twin/cloud_updated", "state/update", "state/get", "updated"):
            for payload in (
                b"",
                b"\xff",
                b"[]",
                b"{}",
                b'"x"',
                b"null",
                b"{" * 1000,
                b'{"twin":[]}',
                b'{"twin":{"a":7}}',
            ):
                default.send(f"$hw/events/device/{device}/{action}", payload)
    big = b'{"event_id":"big","twin":{"a":{"actual":{"value":"' + b"x" * 300_000 + b'"}}}}'
    default.send("$hw/events/device/default/lamp/twin/update", big)
    for number in range(100):
        default.send("$hw/events/node/gw-test/membership/get", {"event_id": str(number)})
    topic = "$hw/events/device/default/lamp/twin/update"
    default.send(topic, {"event_id": "last", "twin": {"power": {"actual": {"value": "1"}}}})
    reasons = []
    while (answer := json.loads((await default.next("result")).payload))["event_id"] != "last":
        reasons.append(answer.get("reason", ""))
    assert any("over the limit of 262144" in reason for reason in reasons)
    assert any("too many requests" in reason for reason in reasons)
    assert hub.running
    async with hub.client() as client:
        assert (await client.status()).refused > 0
