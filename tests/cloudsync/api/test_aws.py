"""AWS's shadow topics in the cloud: two workers, one of which answers."""

import asyncio
import json

import pytest

from tests.cloudsync.api.conftest import PROPERTIES, tank, until
from twin.model import Access, Kind, PropertySpec, TwinKey, ValueType

LAMP = TwinKey(Kind.DEVICE, "default", "lamp")
CLASSIC = "$aws/things/lamp/shadow"
NAMED = f"{CLASSIC}/name/config"


class App:
    """Hears everything of the lamp's shadows, in order."""

    def __init__(self, link):
        self.link = link
        self.heard = []

    async def open(self):
        await self.link.subscribe("$aws/things/+/shadow/#", self._on_message)
        return self

    def _on_message(self, message):
        if message.topic.rsplit("/", 1)[-1] in ("accepted", "rejected", "delta", "documents"):
            self.heard.append((message.topic.removeprefix(f"{CLASSIC}/"), json.loads(message.payload)))

    async def asked(self, topic, body=None):
        """What is heard up to the answer, and the documents that follow an update."""
        self.heard.clear()
        last = "documents" if topic.endswith("update") else "accepted"
        self.link.publish(topic, b"" if body is None else json.dumps(body).encode(), qos=1)
        return await self.until(lambda name: name.endswith((last, "rejected")))

    async def until(self, fits):
        async def found():
            return any(fits(name) for name, _ in self.heard)

        await until(found)
        return list(self.heard)

    async def update(self, prefix=CLASSIC, version=None, **state):
        body = {"state": state} if version is None else {"state": state, "version": version}
        return await self.asked(f"{prefix}/update", {**body, "clientToken": "t-1"})


@pytest.fixture
async def app(cloud):
    properties = {
        **PROPERTIES,
        "rgb": PropertySpec("rgb", ValueType.JSON, Access.READ_WRITE),
    }
    await cloud.define(LAMP, properties=properties)

    async def acquainted():
        return all(len(api._peers._heard_s) == 1 for api in cloud.apis)

    await until(acquainted)
    for api in cloud.apis:
        api._peers._ready_s = 0.0  # they have heard of each other
    async with cloud.broker.link() as link:
        await link.connected(5)
        yield await App(link).open()


async def test_an_update_is_answered_with_delta_before_accepted_and_then_the_documents(cloud, app):
    heard = await app.update(desired={"valve": 40, "rgb": {"r": 1, "g": 2}})
    assert [name for name, _ in heard] == ["update/delta", "update/accepted", "update/documents"]
    delta, accepted, documents = (body for _, body in heard)
    assert delta["state"] == {"valve": 40, "rgb": {"r": 1, "g": 2}}
    assert accepted["state"] == {"desired": {"valve": 40, "rgb": {"r": 1, "g": 2}}}
    assert (accepted["clientToken"], accepted["version"]) == ("t-1", documents["current"]["version"])
    assert set(accepted["metadata"]["desired"]["rgb"]) == {"r", "g"}
    body = await cloud.store.twin(LAMP)
    assert body.desired["valve"].cloud.value == 40
    assert body.desired["valve"].cloud.by == "aws"


async def test_an_object_is_merged_and_null_deletes(app):
    await app.update(desired={"rgb": {"r": 1, "g": 2}})
    await app.update(desired={"rgb": {"g": None, "b": 3}})
    ((_, got),) = await app.asked(f"{CLASSIC}/get")
    assert got["state"]["desired"] == {"rgb": {"r": 1, "b": 3}}
    await app.update(desired=None)
    heard = await app.asked(f"{CLASSIC}/get")
    assert "desired" not in heard[-1][1]["state"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", 400),
        (b'{"state": {"desired": {"valve": 101}}}', 400),
        (b'{"state": {"desired": {"nothing": 1}}}', 400),
        (b'{"state": {"reported": {"level": 1}}}', 403),
        (b'{"state": {"desired": {"valve": 1}}, "version": 99}', 409),
        (b'{"state": {"desired": {"rgb": {"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":1}}}}}}}}}}}', 400),
        (b"x" * 200_000, 413),
        (b"\xff", 415),
    ],
)
async def test_what_cannot_be_is_rejected_with_aws_s_code_and_changes_nothing(cloud, app, body, code):
    before = await cloud.store.twin(LAMP)
    app.link.publish(f"{CLASSIC}/update", body, qos=1)
    ((name, answer),) = await app.until(lambda one: one.endswith("rejected"))
    assert (name, answer["code"]) == ("update/rejected", code)
    assert await cloud.store.twin(LAMP) == before


async def test_a_thing_that_is_not_there_and_a_shadow_that_is_not_there(app):
    app.link.publish("$aws/things/nobody/shadow/get", b"", qos=1)
    ((_, answer),) = await app.until(lambda one: one.endswith("rejected"))
    assert (answer["code"], answer["message"]) == (404, "Thing not found")
    app.heard.clear()
    ((_, answer),) = await app.asked(f"{NAMED}/get")
    assert (answer["code"], answer["message"]) == (404, "No shadow exists with name: 'config'")


async def test_a_named_shadow_is_made_by_its_first_update_and_deleted(cloud, app):
    heard = await app.update(NAMED, desired={"any": [1, None], "b": "ü"})
    assert heard[-1][0] == "name/config/update/rejected"  # null in an array
    heard = await app.update(NAMED, desired={"any": [1, {"x": 2}], "b": "ü"})
    assert heard[-2][1]["version"] == 1
    key = TwinKey(Kind.SHADOW, "default", "lamp.config")
    assert (await cloud.store.twin(key)).spec.gateway == "gw-1"
    ((_, deleted),) = await app.asked(f"{NAMED}/delete")
    assert deleted["version"] == 2
    ((_, answer),) = await app.asked(f"{NAMED}/get")
    assert answer["code"] == 404
    heard = await app.update(NAMED, desired={"c": 1})
    assert heard[-2][1]["version"] == 3


async def test_what_the_gateway_reports_is_told_once_by_one_worker(cloud, app):
    await app.update(desired={"valve": 40})
    app.heard.clear()
    await asyncio.gather(*(api._shadows._follow_once() for api in cloud.apis))
    await cloud.report(LAMP, valve=40)
    heard = await app.until(lambda one: one.endswith("documents"))
    assert [name for name, _ in heard] == ["update/documents"]
    assert heard[0][1]["current"]["state"] == {"desired": {"valve": 40}, "reported": {"valve": 40}}
    await cloud.report(LAMP, valve=39)
    heard = await app.until(lambda one: one.endswith("delta"))
    assert next(body for name, body in heard if name.endswith("delta"))["state"] == {"valve": 40}
    await app.update(desired={"valve": 39})  # whatever was still to be told is told by now
    assert [name for name, _ in app.heard].count("update/delta") == 0


async def test_other_twins_cost_no_turn(cloud, app):
    await app.update(desired={"valve": 40})
    await cloud.define(tank(), gateway="gw-9")
    app.heard.clear()
    await cloud.report(tank(), gateway="gw-9", level=1.0)
    await asyncio.sleep(0.05)
    assert app.heard == []


async def test_one_worker_answers_and_when_it_leaves_the_other_does(cloud, app):
    owner, other = sorted(cloud.apis, key=lambda api: not api._peers.owns("lamp"))
    assert [api._peers.owns("lamp") for api in (owner, other)] == [True, False]
    await app.update(desired={"valve": 1})
    assert [name for name, _ in app.heard].count("update/accepted") == 1
    await owner.__aexit__()

    async def taken_over():
        return other._peers.owns("lamp")

    await until(taken_over)
    heard = await app.update(desired={"valve": 2})
    assert [name for name, _ in heard].count("update/accepted") == 1


async def test_things_are_shared_out_evenly(cloud, app):
    mine = sum(cloud.apis[0]._peers.owns(f"thing-{number}") for number in range(1000))
    assert 400 < mine < 600
    assert all(sum(api._peers.owns(f"thing-{number}") for api in cloud.apis) == 1 for number in range(1000))
