"""AWS's shadows over an engine whose disk blocks and fails on demand, and a link that keeps what is published."""

import asyncio
import contextlib
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgehub.aws import AwsShadows
from edgehub.settings import AwsSettings
from edgehub.twins import Counters
from tests.twin.conftest import Bench, HandClock
from twin.document import Slot
from twin.errors import StoreError
from twin.exchange import Row
from twin.link import Message
from twin.model import Access, Kind, PropertySpec, Quality, Reason, Section, Site, TwinKey, TwinSpec, ValueType
from twin.reading import PropertyMark

pytestmark = pytest.mark.fast

LAMP = TwinKey(Kind.DEVICE, "default", "lamp")
CONFIG = TwinKey(Kind.SHADOW, "default", "lamp.config")
CLASSIC = "$aws/things/lamp/shadow"
NAMED = f"{CLASSIC}/name/config"


class KeepingLink:
    """Keeps what is published, and hands over what is asked."""

    def __init__(self):
        self.sent = []
        self.filters = []

    async def subscribe(self, topic_filter, handler, *, qos=1):
        self.filters.append(topic_filter)
        self.handler = handler
        return lambda: self.filters.remove(topic_filter)

    def publish(self, topic, payload, **_):
        self.sent.append((topic, json.loads(payload)))


class Gateway:
    """An engine with a lamp, and the dialect."""

    def __init__(self, folder, executor, settings=None):
        self.settings = settings or AwsSettings()
        self.bench = Bench(folder / "state.db", HandClock(), executor)

    @property
    def engine(self):
        return self.bench.engine

    async def start(self):
        self.link = KeepingLink()
        self.counters = Counters()
        self.shadows = AwsShadows(self.engine, self.link, self.bench.clock, self.settings, "gw1", self.counters)
        self.shadows.load()
        await self.engine.define(spec()).stored()
        self.shadows.projected()
        await self.shadows.open()
        await self.idle()
        return self

    async def restart(self):
        self.shadows.close()
        assert self.link.filters == []
        await self.bench.reopen()
        return await self.start()

    async def idle(self):
        with contextlib.suppress(StoreError):
            await asyncio.wait_for(self.engine.settled(), 10)
        await asyncio.sleep(0)

    def ask(self, topic, body=None, retain=False):
        payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self.link.handler(Message(topic, payload, retain=retain))

    async def asked(self, topic, body=None):
        """What is published until the disk has taken it: topics from the shadow's own on, and bodies."""
        self.link.sent.clear()
        self.ask(topic, body)
        await self.idle()
        return self.said()

    def said(self):
        return [(topic.removeprefix("$aws/things/lamp/shadow/"), body) for topic, body in self.link.sent]

    async def update(self, prefix=CLASSIC, version=None, **state):
        body = {"state": state} if version is None else {"state": state, "version": version}
        return await self.asked(f"{prefix}/update", body)


def spec(key=LAMP, gateway="gw1"):
    properties = (
        PropertySpec("on", ValueType.BOOLEAN, Access.READ_WRITE),
        PropertySpec("level", ValueType.DOUBLE, Access.READ_WRITE, minimum=0, maximum=100, tolerance=0.5),
        PropertySpec("lux", ValueType.INT),
        PropertySpec("rgb", ValueType.JSON, Access.READ_WRITE),
    )
    return TwinSpec(key, "u1", "lamp", gateway, properties={one.name: one for one in properties})


@pytest.fixture
async def gateway(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        made = await Gateway(tmp_path, executor).start()
        yield made
        await made.bench.close()


def topics(said):
    return [topic for topic, _ in said]


# -- the classic shadow ------------------------------------------------------------------------------------------------


async def test_a_delta_comes_before_accepted_and_documents_follow(gateway):
    said = await gateway.update(desired={"on": True})
    assert topics(said) == ["update/delta", "update/accepted", "update/documents"]
    assert said[0][1]["state"] == {"on": True}
    assert {body["version"] for _, body in said[:2]} == {gateway.engine.version(LAMP)}
    said = await gateway.update(reported={"on": True})
    assert topics(said) == ["update/accepted", "update/documents"]
    previous, current = said[1][1]["previous"], said[1][1]["current"]
    assert current["version"] == previous["version"] + 1
    assert current["state"] == {"desired": {"on": True}, "reported": {"on": True}}


async def test_nothing_is_answered_before_the_commit_is_on_disk(gateway):
    gateway.link.sent.clear()
    gateway.bench.store.gate.clear()
    for topic, body in (
        ("update", {"state": {"desired": {"on": True}}}),
        ("get", None),
        ("delete", None),
        ("get", None),
    ):
        gateway.ask(f"{CLASSIC}/{topic}", body)
    await asyncio.to_thread(gateway.bench.store._begun.acquire, True, 10)
    assert gateway.said() == []
    gateway.bench.store.gate.set()
    await gateway.idle()
    assert topics(gateway.said()) == [
        *("update/delta", "update/accepted", "update/documents"),
        *("get/accepted", "delete/accepted", "get/rejected"),
    ]


async def test_a_disk_that_fails_is_a_500_and_the_shadow_is_what_it_was(gateway):
    await gateway.update(reported={"rgb": {"r": 1}})
    gateway.bench.store.failing = StoreError("disk full")
    said = await gateway.asked(f"{CLASSIC}/update", {"state": {"reported": {"rgb": {"r": 2}}}, "clientToken": "t"})
    assert topics(said) == ["update/rejected"]
    assert (said[0][1]["code"], said[0][1]["clientToken"]) == (500, "t")
    gateway.bench.store.failing = None
    [(topic, body)] = await gateway.asked(f"{CLASSIC}/get")
    assert (topic, body["state"]) == ("get/accepted", {"reported": {"rgb": {"r": 1}}})
    said = await gateway.update(reported={"rgb": {"g": 3}})
    assert said[-1][1]["previous"]["state"] == {"reported": {"rgb": {"r": 1}}}
    assert said[-1][1]["current"]["state"] == {"reported": {"rgb": {"r": 1, "g": 3}}}


async def test_a_version_that_is_not_the_current_one_is_a_conflict(gateway):
    said = await gateway.update(desired={"on": True})
    version = said[1][1]["version"]
    for wrong in (version - 1, version + 1, 0):
        [(topic, body)] = await gateway.update(version=wrong, desired={"on": False})
        assert (topic, body["code"], body["message"]) == ("update/rejected", 409, "Version conflict")
    said = await gateway.update(version=version, desired={"on": False})
    assert said[1][1]["version"] == version + 1
    await gateway.engine.set_desired(LAMP, {"on": True}, by="cli").stored()
    [(topic, body)] = await gateway.update(version=version + 1, desired={"on": False})
    assert body["code"] == 409


async def test_of_two_updates_for_one_version_in_one_commit_the_second_is_a_conflict(gateway):
    version = (await gateway.update(desired={"on": True}))[1][1]["version"]
    gateway.link.sent.clear()
    for level in (1, 2):
        gateway.ask(f"{CLASSIC}/update", {"state": {"desired": {"level": level}}, "version": version})
    await gateway.idle()
    assert sorted(topics(gateway.said())) == [
        *("update/accepted", "update/delta", "update/documents", "update/rejected"),
    ]
    assert gateway.engine.document(LAMP).desired["level"].edge.value == 1


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"desired": {"level": 500}}, "level: 500 is outside the limits 0 to 100"),
        ({"desired": {"lux": 5}}, "lux: it is ReadOnly"),
        ({"reported": {"colour": 5}}, "model 'lamp' has no such property"),
        ({"reported": {"on": True, "level": "high"}}, "level"),
    ],
)
async def test_what_the_model_forbids_is_a_400_and_nothing_is_stored(gateway, state, said):
    version = gateway.engine.version(LAMP)
    [(topic, body)] = await gateway.update(**state)
    assert (topic, body["code"]) == ("update/rejected", 400)
    assert said in body["message"]
    assert gateway.engine.version(LAMP) == version
    assert gateway.counters.refused == 1


async def test_null_removes_a_leaf_a_property_a_section_and_the_state(gateway):
    await gateway.update(desired={"on": True, "rgb": {"r": 1, "g": 2}}, reported={"on": True, "lux": 3})
    await gateway.update(desired={"rgb": {"r": None}}, reported={"lux": None, "level": None})
    [(_, body)] = await gateway.asked(f"{CLASSIC}/get")
    assert body["state"] == {
        "desired": {"on": True, "rgb": {"g": 2}},
        "reported": {"on": True},
        "delta": {"rgb": {"g": 2}},
    }
    said = await gateway.update(reported=None)
    assert said[0][1]["state"] == {"on": True, "rgb": {"g": 2}}
    await gateway.asked(f"{CLASSIC}/update", {"state": None})
    [(topic, body)] = await gateway.asked(f"{CLASSIC}/get")
    assert (topic, body["state"], body["metadata"]) == ("get/accepted", {}, {})


async def test_the_delta_keeps_to_the_tolerance_of_the_model(gateway):
    said = await gateway.update(desired={"level": 10, "on": True}, reported={"level": 10.4, "on": True})
    assert topics(said) == ["update/accepted", "update/documents"]


async def test_a_delete_empties_the_twin_and_the_version_goes_on(gateway):
    [(topic, body)] = await gateway.asked(f"{CLASSIC}/delete", {"clientToken": "t"})
    assert (topic, body["code"], body["clientToken"]) == ("delete/rejected", 404, "t")
    version = (await gateway.update(desired={"on": True}, reported={"on": True}))[0][1]["version"]
    [(topic, body)] = await gateway.asked(f"{CLASSIC}/delete")
    assert (topic, body["version"]) == ("delete/accepted", version + 1)
    assert not gateway.engine.document(LAMP).reported
    for _ in (1, 2):
        [(topic, body)] = await gateway.asked(f"{CLASSIC}/get")
        assert (topic, body["code"], body["message"]) == ("get/rejected", 404, "No shadow exists with name: 'lamp'")
        await gateway.restart()
    said = await gateway.update(reported={"on": True})
    assert said[0][1]["version"] == version + 2


async def test_times_within_an_object_outlive_a_restart(gateway):
    await gateway.update(reported={"rgb": {"r": 1, "g": 2}})
    first = gateway.bench.clock.us // 1_000_000
    gateway.bench.clock.us += 60_000_000
    await gateway.update(reported={"rgb": {"g": 3}})
    for _ in (1, 2):
        [(_, body)] = await gateway.asked(f"{CLASSIC}/get")
        assert body["metadata"]["reported"]["rgb"] == {"r": {"timestamp": first}, "g": {"timestamp": first + 60}}
        await gateway.restart()


# -- what others change ------------------------------------------------------------------------------------------------


async def test_what_others_set_and_report_is_said_at_once_and_only_once(gateway):
    await gateway.asked(f"{CLASSIC}/get")
    gateway.link.sent.clear()
    await gateway.engine.set_desired(LAMP, {"on": True}, by="cli").stored()
    assert topics(gateway.said()) == ["update/delta", "update/documents"]
    assert gateway.said()[1][1]["previous"]["state"] == {}
    gateway.link.sent.clear()
    await gateway.engine.report(LAMP, {"lux": 4}, {}, at=5000, by="mapper").commit.stored()
    assert topics(gateway.said()) == ["update/documents"]
    gateway.link.sent.clear()
    await gateway.engine.report(LAMP, {"on": True}, {}, at=6000, by="mapper").commit.stored()
    assert topics(gateway.said()) == ["update/documents"]
    body = gateway.said()[0][1]
    assert body["current"]["metadata"]["reported"] == {"lux": {"timestamp": 5}, "on": {"timestamp": 6}}


async def test_a_change_by_others_in_the_commit_of_an_update_is_told_before_it(gateway):
    await gateway.update(reported={"lux": 1})
    gateway.link.sent.clear()
    gateway.engine.set_desired(LAMP, {"on": True}, by="cli")
    gateway.ask(f"{CLASSIC}/update", {"state": {"reported": {"lux": 2}}, "clientToken": "t"})
    gateway.engine.set_desired(LAMP, {"on": False}, by="cli")
    await gateway.idle()
    await gateway.idle()
    documents = [body for topic, body in gateway.said() if topic == "update/documents"]
    steps = [(body["previous"]["version"], body["current"]["version"]) for body in documents]
    assert [b - a for a, b in steps] == [1, 1, 1]
    assert all(after == before for (_, after), (before, _) in itertools.pairwise(steps))
    assert [body.get("clientToken") for body in documents] == [None, "t", None]


async def test_what_is_not_on_disk_yet_is_told_to_nobody(gateway):
    await gateway.asked(f"{CLASSIC}/get")
    gateway.link.sent.clear()
    store = gateway.bench.store
    while store._begun.acquire(blocking=False):
        pass
    store.gate.clear()
    gateway.engine.report(LAMP, {"lux": 1}, {}, at=1, by="mapper")
    await store.begun()
    gateway.engine.set_desired(LAMP, {"on": True}, by="cli")
    store.gate.set()
    await store.begun()
    await gateway.idle()
    assert topics(gateway.said()) == ["update/delta", "update/documents"]
    store.failing = StoreError("disk full")
    gateway.link.sent.clear()
    gateway.engine.set_desired(LAMP, {"on": False}, by="cli")
    await gateway.idle()
    assert gateway.said() == []


async def test_a_device_that_nobody_asked_for_costs_no_message_until_somebody_does_and_then_for_good(gateway):
    await gateway.engine.set_desired(LAMP, {"on": True}, by="cli").stored()
    assert gateway.said() == []
    await gateway.asked(f"{CLASSIC}/get")
    await gateway.restart()
    await gateway.engine.set_desired(LAMP, {"on": False}, by="cli").stored()
    assert topics(gateway.said()) == ["update/delta", "update/documents"]


async def test_a_change_of_quality_alone_is_told_as_a_new_version(gateway):
    await gateway.update(reported={"lux": 1})
    gateway.link.sent.clear()
    mark = PropertyMark(Quality.BAD, Reason.TIMEOUT)
    await gateway.engine.report(LAMP, {}, {"lux": mark}, at=1, by="mapper").commit.stored()
    assert topics(gateway.said()) == ["update/documents"]


# -- named shadows -----------------------------------------------------------------------------------------------------


async def test_a_named_shadow_is_made_by_its_first_update_and_gone_with_delete(gateway):
    [(topic, body)] = await gateway.asked(f"{NAMED}/get")
    assert (topic, body["code"]) == ("name/config/get/rejected", 404)
    assert body["message"] == "No shadow exists with name: 'config'"
    assert CONFIG not in gateway.engine
    said = await gateway.update(NAMED, desired={"any": {"thing": [1, "x"]}})
    assert topics(said) == [f"name/config/update/{one}" for one in ("delta", "accepted", "documents")]
    assert said[1][1]["version"] == 1
    assert said[2][1]["previous"] == {"state": {}, "metadata": {}, "version": 0}
    assert gateway.engine.document(CONFIG).spec.gateway == "gw1"
    await gateway.restart()
    [(_, body)] = await gateway.asked(f"{NAMED}/get")
    assert body["state"]["desired"] == {"any": {"thing": [1, "x"]}}
    [(topic, body)] = await gateway.asked(f"{NAMED}/delete")
    assert (topic, body["version"]) == ("name/config/delete/accepted", 2)
    [(topic, body)] = await gateway.asked(f"{NAMED}/get")
    assert body["code"] == 404
    assert (await gateway.update(NAMED, reported={"a": 1}))[0][1]["version"] == 3


async def test_an_update_of_nothing_makes_an_empty_shadow(gateway):
    said = await gateway.asked(f"{NAMED}/update", {"state": {}, "version": 0})
    assert topics(said) == ["name/config/update/accepted", "name/config/update/documents"]
    await gateway.restart()
    [(topic, body)] = await gateway.asked(f"{NAMED}/get")
    assert (topic, body["state"], body["version"]) == ("name/config/get/accepted", {}, 1)


async def test_a_refused_first_update_leaves_no_shadow(gateway):
    for body, code in (
        ({"state": {"desired": {"bad name": 1}}}, 400),
        ({"state": {"desired": {"a": 1}}, "version": 4}, 409),
        ({"state": {"desired": {"a": "x" * 9000}}}, 413),
    ):
        said = await gateway.asked(f"{NAMED}/update", body)
        assert [(topic, answer["code"]) for topic, answer in said] == [("name/config/update/rejected", code)]
        assert CONFIG not in gateway.engine
    gateway.bench.store.failing = StoreError("disk full")
    [(_, answer)] = await gateway.update(NAMED, desired={"a": 1})
    assert answer["code"] == 500
    gateway.bench.store.failing = None
    async with asyncio.timeout(5):
        while answer["code"] == 500:  # a commit that began before may still fail
            *_, (_, answer) = await gateway.asked(f"{NAMED}/get")
    assert answer["code"] == 404
    assert (await gateway.update(NAMED, desired={"a": 1}))[1][0] == "name/config/update/accepted"


async def test_a_shadow_that_the_other_site_makes_is_told(gateway):
    row = Row(CONFIG, "", Section.DESIRED, "a", Site.CLOUD, Slot(1, 5, by="cloud", at=3000))
    await gateway.engine.replica.merge([row]).stored()
    assert topics(gateway.said()) == ["name/config/update/delta", "name/config/update/documents"]
    await gateway.restart()
    [(_, body)] = await gateway.asked(f"{NAMED}/get")
    assert body["metadata"]["desired"] == {"a": {"timestamp": 3}}


async def test_a_shadow_goes_with_its_device(gateway):
    await gateway.update(NAMED, desired={"a": 1})
    gateway.engine.remove(CONFIG)
    await gateway.engine.remove(LAMP).stored()
    gateway.shadows.projected()
    await gateway.idle()
    assert gateway.engine.notes("aws") == {}
    [(_, body)] = await gateway.asked(f"{NAMED}/get", {"clientToken": "t"})
    assert (body["code"], body["message"], body["clientToken"]) == (404, "Thing not found", "t")


# -- limits and names --------------------------------------------------------------------------------------------------


async def test_more_requests_in_flight_than_allowed_are_a_429(gateway):
    gateway.link.sent.clear()
    gateway.bench.store.gate.clear()
    for number in range(12):
        gateway.ask(f"{CLASSIC}/update", {"state": {"reported": {"lux": number}}, "clientToken": str(number)})
    assert [(body["code"], body["clientToken"]) for _, body in gateway.said()] == [(429, "10"), (429, "11")]
    gateway.bench.store.gate.set()
    await gateway.idle()
    assert topics(await gateway.update(reported={"lux": 1})) == ["update/accepted", "update/documents"]


async def test_a_retained_request_is_not_carried_out_at_each_start(gateway):
    gateway.link.sent.clear()
    gateway.ask(f"{CLASSIC}/update", {"state": {"reported": {"lux": 1}}}, retain=True)
    await gateway.idle()
    assert gateway.said() == []
    assert not gateway.engine.document(LAMP).reported


@pytest.mark.parametrize(
    ("topic", "code", "said"),
    [
        ("$aws/things/pump/shadow/get", 404, "Thing not found"),
        ("$aws/things/Lamp/shadow/update", 404, "Thing not found"),
        ("$aws/things/lamp/shadow/name/a.b/update", 400, "not a valid name"),
        ("$aws/things/foreign/shadow/get", 403, "Forbidden"),
    ],
)
async def test_what_is_not_served_here_is_refused(gateway, topic, code, said):
    await gateway.engine.define(spec(TwinKey(Kind.DEVICE, "default", "foreign"), "gw2")).stored()
    [(where, body)] = await gateway.asked(topic, {"state": {}, "clientToken": "t"})
    assert where == topic.removeprefix("$aws/things/lamp/shadow/") + "/rejected"
    assert (body["code"], body["clientToken"]) == (code, "t")
    assert said in body["message"]


async def test_a_fault_of_ours_is_a_500_and_the_next_request_is_served(gateway, caplog):
    def broken(_):
        raise RuntimeError("broken")

    kept, gateway.engine.document = gateway.engine.document, broken
    [(topic, body)] = await gateway.update(reported={"lux": 1})
    assert (topic, body["code"]) == ("update/rejected", 500)
    gateway.engine.document = kept
    assert "broken" in caplog.text
    assert topics(await gateway.update(reported={"lux": 1})) == ["update/accepted", "update/documents"]


async def test_a_thing_of_the_table_is_followed_from_the_start(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        gateway = await Gateway(tmp_path, executor, AwsSettings(things={"Lamp_1": "lamp"})).start()
        await gateway.engine.set_desired(LAMP, {"on": True}, by="cli").stored()
        assert [topic for topic, _ in gateway.link.sent] == [
            "$aws/things/Lamp_1/shadow/update/delta",
            "$aws/things/Lamp_1/shadow/update/documents",
        ]
        await gateway.bench.close()
