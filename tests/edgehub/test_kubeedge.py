"""KubeEdge's topics over an engine whose disk blocks and fails on demand, and a link that keeps what is published."""

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from edgehub.kubeedge import MAX_GETS, MAX_LISTS, MAX_WAITING, KubeEdge
from edgehub.settings import KubeEdgeSettings
from edgehub.twins import Counters
from tests.edgehub.test_aws import KeepingLink
from tests.twin.conftest import Bench, HandClock
from twin.document import Slot
from twin.errors import StoreError
from twin.exchange import Row
from twin.link import Message
from twin.model import Access, Kind, PropertySpec, Section, Site, TwinKey, TwinSpec, ValueType

pytestmark = pytest.mark.fast

LAMP = TwinKey(Kind.DEVICE, "default", "lamp")
PUMP = TwinKey(Kind.DEVICE, "hall", "pump")
DEVICE = "$hw/events/device/lamp"
NODE = "$hw/events/node/gw1/membership"


class Gateway:
    """An engine with a lamp, and the dialect."""

    def __init__(self, folder, executor):
        self.bench = Bench(folder / "state.db", HandClock(), executor)

    @property
    def engine(self):
        return self.bench.engine

    async def start(self):
        self.link, self.counters = KeepingLink(), Counters()
        self.dialect = KubeEdge(
            self.engine,
            self.link,
            self.bench.clock,
            KubeEdgeSettings(),
            "gw1",
            self.counters,
            event_id=lambda: "drawn",
        )
        self.dialect.load()
        await self.engine.define(self.dialect.completed(spec(LAMP))).stored()
        self.engine.watch_deltas(self.dialect.delta_changed)
        self.dialect.projected()
        await self.dialect.open()
        return self

    async def restart(self):
        await self.dialect.close()
        assert self.link.filters == []
        await self.bench.reopen()
        return await self.start()

    async def idle(self):
        with contextlib.suppress(StoreError):
            async with asyncio.timeout(10):
                await self.engine.settled()
        for _ in range(3):  # answers that are told a turn later
            await asyncio.sleep(0)

    def ask(self, topic, body):
        self.link.handler(Message(topic, json.dumps(body).encode()))

    async def asked(self, topic, body):
        """What is published until the disk has taken it, or refused it."""
        self.link.sent.clear()
        self.ask(topic, body)
        await self.idle()
        return self.link.sent

    async def update(self, half="actual", **values):
        twin = {name: {half: {"value": value}, "metadata": {"type": "int"}} for name, value in values.items()}
        return await self.asked(f"{DEVICE}/twin/update", {"event_id": "e1", "timestamp": 1, "twin": twin})

    async def twins(self):
        sent = await self.asked(f"{DEVICE}/twin/get", {"event_id": "e2", "timestamp": 1})
        [body] = [body for topic, body in sent if topic == f"{DEVICE}/twin/get/result"]
        return body["twin"]


def spec(key):
    properties = (PropertySpec("lux", ValueType.INT), PropertySpec("power", ValueType.INT, Access.READ_WRITE))
    return TwinSpec(key, f"uid of {key.name}", "lamp", "gw1", properties={one.name: one for one in properties})


@pytest.fixture
async def gateway(tmp_path):
    with ThreadPoolExecutor(1) as executor:
        made = await Gateway(tmp_path, executor).start()
        yield made
        await made.dialect.close()
        await made.bench.close()


def codes(sent, ending):
    return [body.get("code", 0) for topic, body in sent if topic == f"{DEVICE}/{ending}"]


async def test_what_the_disk_did_not_take_was_never_said_and_is_forgotten(gateway):
    await gateway.update(lux="1")
    before = await gateway.twins()
    gateway.bench.store.failing = StoreError("disk full")
    sent = await gateway.update(lux="2")
    assert [topic for topic, _ in sent] == [f"{DEVICE}/twin/update/result"]
    assert codes(sent, "twin/update/result") == [500]
    sent = await gateway.update("expected", power="7")
    assert codes(sent, "twin/update/result") == [500]
    assert not [topic for topic, _ in sent if topic.endswith(("delta", "document"))]
    gateway.bench.store.failing = None
    assert await gateway.twins() == before
    await gateway.restart()
    assert await gateway.twins() == before


async def test_after_a_failed_commit_versions_go_on_as_if_it_had_not_been_asked(gateway, tmp_path):
    with ThreadPoolExecutor(1) as executor:
        other = await Gateway(tmp_path / "other", executor).start()
        for each in (gateway, other):
            await each.update(lux="1")
        gateway.bench.store.failing = StoreError("disk full")
        await gateway.update(lux="2")
        gateway.bench.store.failing = None
        said = [list(await each.update(lux="3")) for each in (gateway, other)]
        assert codes(said[0], "twin/update/result") == [0]
        assert said[0] == said[1]
        assert await gateway.twins() == await other.twins()
        await other.dialect.close()
        await other.bench.close()


async def test_a_state_that_the_disk_did_not_take_is_the_one_before(gateway):
    say = f"{DEVICE}/state/update"
    await gateway.asked(say, {"event_id": "e", "timestamp": 1, "state": "online"})
    gateway.bench.store.failing = StoreError("disk full")
    sent = await gateway.asked(say, {"event_id": "e", "timestamp": 1, "state": "offline"})
    assert codes(sent, "state/update/result") == [500]
    gateway.bench.store.failing = None
    [(_, body)] = await gateway.asked(f"{DEVICE}/state/get", {"event_id": "e", "timestamp": 1})
    assert '"online"' in json.dumps(body)


async def test_an_answer_that_rests_on_a_commit_that_fails_is_a_refusal_too(gateway):
    say = {"event_id": "e", "timestamp": 1, "state": "online"}
    gateway.bench.store.gate.clear()
    gateway.link.sent.clear()
    gateway.ask(f"{DEVICE}/state/update", {**say, "state": "offline"})  # under way when the next come
    for _ in range(3):
        gateway.ask(f"{DEVICE}/state/update", say)  # the first changes it, the others change nothing
    gateway.ask(f"{DEVICE}/twin/update", {"event_id": "e", "timestamp": 1, "twin": {"lux": {"actual": {"value": "x"}}}})
    assert gateway.link.sent == []
    gateway.bench.store.failing = StoreError("disk full")
    gateway.bench.store.gate.set()
    await gateway.idle()
    assert codes(gateway.link.sent, "state/update/result") == [500] * 4
    assert codes(gateway.link.sent, "twin/update/result") == [400]
    gateway.bench.store.failing = None
    [(_, body)] = await gateway.asked(f"{DEVICE}/state/get", {"event_id": "e", "timestamp": 1})
    assert "online" not in json.dumps(body)


async def test_what_others_desire_while_a_commit_fails_is_told_when_it_is_on_disk(gateway):
    await gateway.update(power="1")
    gateway.bench.store.failing = StoreError("disk full")
    gateway.ask(f"{DEVICE}/state/update", {"event_id": "e", "timestamp": 1, "state": "online"})
    gateway.engine.set_desired(LAMP, {"power": 5}, by="somebody")
    await gateway.idle()
    gateway.bench.store.failing = None
    gateway.link.sent.clear()
    gateway.engine.set_desired(LAMP, {"power": 7}, by="somebody")
    await gateway.idle()
    [body] = [body for topic, body in gateway.link.sent if topic == f"{DEVICE}/twin/update/delta"]
    assert body["delta"] == {"power": "7"}


async def test_more_lists_in_a_second_than_the_bound_are_refused_and_later_ones_answered(gateway):
    for _ in range(MAX_LISTS):
        sent = await gateway.asked(f"{NODE}/get", {"event_id": "e"})
        assert [one["id"] for one in sent[0][1]["devices"]] == ["default/lamp"]
    refused = gateway.counters.refused
    [(topic, body)] = await gateway.asked(f"{NODE}/get", {"event_id": "e"})
    assert topic == f"{NODE}/get/result"
    assert "devices" not in body
    assert gateway.counters.refused == refused + 1
    gateway.bench.clock.s += 1.0
    [(_, body)] = await gateway.asked(f"{NODE}/get", {"event_id": "e"})
    assert body["devices"]


async def test_many_properties_survive_a_restart_in_the_order_and_with_the_versions_they_had(gateway):
    for start in range(0, 40, 7):
        await gateway.update(**{f"p{number}": str(number) for number in range(start, start + 7)})
    await gateway.update(p3="33", p20="200")
    before = await gateway.twins()
    assert before["p20"]["actual"]["value"] == "200"
    await gateway.restart()
    assert await gateway.twins() == before
    await gateway.update(p41="1", p5="55")
    after = await gateway.twins()
    await gateway.restart()
    assert await gateway.twins() == after
    await gateway.engine.remove(LAMP).stored()
    gateway.dialect.projected()
    await gateway.idle()
    assert gateway.engine.notes("kubeedge") == {}


async def test_more_gets_than_may_wait_for_the_disk_are_refused_and_the_others_answered(gateway):
    gateway.bench.store.gate.clear()
    gateway.link.sent.clear()
    gateway.ask(f"{DEVICE}/state/update", {"event_id": "e", "timestamp": 1, "state": "online"})
    for _ in range(MAX_GETS + 3):
        gateway.ask(f"{DEVICE}/twin/get", {"event_id": "e", "timestamp": 1})
    assert codes(gateway.link.sent, "twin/get/result") == [503] * 3
    gateway.bench.store.gate.set()
    await gateway.idle()
    assert codes(gateway.link.sent, "twin/get/result") == [503] * 3 + [0] * MAX_GETS


async def test_more_answers_than_may_wait_for_the_disk_are_refused_until_it_goes_on(gateway):
    gateway.bench.store.gate.clear()
    gateway.link.sent.clear()
    for number in range(MAX_WAITING + 2):
        state = "online" if number % 2 else "offline"
        gateway.ask(f"{DEVICE}/state/update", {"event_id": "e", "timestamp": 1, "state": state})
    assert codes(gateway.link.sent, "state/update/result") == [503] * 2
    gateway.bench.store.gate.set()
    await gateway.idle()
    assert codes(gateway.link.sent, "state/update/result") == [503] * 2 + [0] * MAX_WAITING
    assert codes(await gateway.update(lux="2"), "twin/update/result") == [0]


async def test_devices_that_come_and_go_are_told_and_listed(gateway):
    gateway.link.sent.clear()
    await gateway.engine.define(spec(PUMP)).stored()
    gateway.dialect.projected()
    [(topic, body)] = gateway.link.sent
    assert topic == f"{NODE}/updated"
    assert [one["id"] for one in body["added_devices"]] == ["hall/pump"]
    [(_, body)] = await gateway.asked(f"{NODE}/detail", {"event_id": "e"})
    assert sorted(one["id"] for one in body["devices"]) == ["default/lamp", "hall/pump"]
    gateway.link.sent.clear()
    await gateway.engine.remove(PUMP).stored()
    gateway.dialect.projected()
    [(topic, body)] = gateway.link.sent
    assert topic == f"{NODE}/updated"
    assert [one["id"] for one in body["removed_devices"]] == ["hall/pump"]


async def test_what_the_cloud_desires_is_expected_and_in_the_delta_at_once(gateway):
    gateway.link.sent.clear()
    row = Row(LAMP, spec(LAMP).uid, Section.DESIRED, "power", Site.CLOUD, Slot(40, 5, by="app", at=3000))
    await gateway.engine.replica.merge([row]).stored()
    await gateway.idle()
    told = {topic: body for topic, body in gateway.link.sent if topic.startswith("$hw/events/device/default/lamp/")}
    assert list(told) == [f"$hw/events/device/default/lamp/twin/update/{what}" for what in ("document", "delta")]
    assert told["$hw/events/device/default/lamp/twin/update/delta"]["delta"] == {"power": "40"}
    expected = {"value": "40", "metadata": {"timestamp": 3000}}
    assert (await gateway.twins())["power"]["expected"] == expected


async def test_a_device_that_nobody_asks_for_takes_no_memory(gateway):
    await gateway.engine.define(spec(PUMP)).stored()
    gateway.dialect.projected()
    await gateway.asked(f"{NODE}/get", {"event_id": "e", "timestamp": 1})
    assert gateway.dialect._records.known(PUMP) is None
