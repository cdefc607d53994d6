"""The verbs over the link in memory: client, server and engine together."""

import asyncio
import contextlib
import json

import pytest

from twin.api import MAX_REQUESTS, ApiServer, Caller, Served, TwinVerbs, send_reply
from twin.client import TwinClient
from twin.document import Leaf, Slot
from twin.errors import (
    EdgetwinError,
    InvalidMessage,
    InvalidName,
    InvalidValue,
    LinkError,
    RequestTimeout,
    StoreError,
    UnknownProperty,
    UnknownTwin,
    VersionMismatch,
    error_from_wire,
)
from twin.link.memory import MemoryBroker
from twin.model import ConflictPolicy, Kind, PropertySpec, Quality, Reason, Site, TwinKey, TwinSpec
from twin.reading import PropertyMark
from twin.view import explanation
from twin.watches import MAX_WATCHES, WATCH_LEASE_S
from twin.wire import topics
from twin.wire.api import GetRequest, Verb, WatchRequest
from twin.wire.codec import encode

pytestmark = pytest.mark.fast

TIMEOUT_S = 5.0


@pytest.fixture
async def broker():
    return MemoryBroker()


@pytest.fixture
async def hub_link(broker):
    async with broker.link() as link:
        await link.connected(TIMEOUT_S)
        yield link


@pytest.fixture
async def app_link(broker):
    async with broker.link() as link:
        await link.connected(TIMEOUT_S)
        yield link


@pytest.fixture
async def server(tank, hub_link):
    verbs = TwinVerbs(tank.engine, hub_link, tank.clock)
    made = ApiServer(hub_link, verbs.verbs())
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def client(server, app_link):
    async with TwinClient(app_link, account="me", client="1", timeout_s=TIMEOUT_S) as made:
        yield made


@pytest.fixture
async def ask(app_link):
    """Send bytes to a topic and await the one reply; without a topic of its own the answer goes to a good one."""
    replies = asyncio.Queue()
    await app_link.subscribe("et/1/reply/raw/#", replies.put_nowait)

    async def call(topic, payload, correlation=b"7"):
        app_link.publish(topic, payload, qos=1, response_topic="et/1/reply/raw/1", correlation=correlation)
        message = await asyncio.wait_for(replies.get(), TIMEOUT_S)
        assert message.correlation == correlation
        return json.loads(message.payload)

    call.replies = replies
    return call


async def next_of(events):
    return await asyncio.wait_for(anext(events), TIMEOUT_S)


async def until(condition):
    """Wait for a condition, a turn of the loop at a time."""

    async def poll():
        while not condition():  # noqa: ASYNC110 any change of state counts, there is no event for it
            await asyncio.sleep(0)

    await asyncio.wait_for(poll(), TIMEOUT_S)


# -- get and list ------------------------------------------------------------------------------------------------------


async def test_get_shows_the_whole_twin(tank, client, key):
    tank.engine.report(
        key, {"level": 41.5, "valve": 39}, {"raw": PropertyMark(Quality.BAD, Reason.TIMEOUT)}, at=5, by="modbus"
    )
    tank.engine.set_desired(key, {"valve": 40, "mode": "off"}, by="cli")
    twin = await client.get("plant/tank")
    assert (twin.twin, twin.uid, twin.model, twin.gateway) == ("device/plant/tank", "u1", "tank", "gw1")
    assert twin.version == tank.engine.document(key).version
    assert (twin.reported["level"].value, twin.reported["level"].by, twin.reported["level"].at) == (41.5, "modbus", 5)
    assert (twin.reported["raw"].value, twin.reported["raw"].quality) == (None, Quality.BAD)
    assert (twin.desired["valve"].value, twin.desired["valve"].unit) == (40, "%")
    assert twin.delta == {"valve": 40, "mode": "off"}


async def test_get_shows_nothing_that_is_not_on_disk(tank, client, key):
    tank.store.gate.clear()
    tank.engine.report(key, {"raw": 1}, {}, at=1, by="m")
    getting = asyncio.create_task(client.get("plant/tank"))
    await tank.store.begun()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not getting.done()
    tank.store.gate.set()
    assert (await getting).reported["raw"].value == 1


async def test_an_unknown_twin_comes_back_as_that_error_with_its_remedy(client):
    with pytest.raises(UnknownTwin, match="device/plant/nosuch is not known here") as caught:
        await client.get("plant/nosuch")
    assert "edgetwin get" in caught.value.remedy


async def test_a_bad_name_comes_back_as_that_error(client):
    with pytest.raises(InvalidName, match="'T#nk'"):
        await client.get("plant/T#nk")


@pytest.fixture
async def fleet(tank, tank_spec):
    """Twins whose names sort otherwise as text than as keys."""
    texts = ["a-b/x", "a/z", "a/y", "a.b/x", "a/x-1", "pod/a/p", "gateway/a/g"]
    for number, text in enumerate(texts):
        tank.engine.define(tank_spec(f"f{number}", TwinKey.parse(text)))
    await tank.engine.settled()
    return [str(key) for key in tank.engine]


async def listed(client, **wanted):
    return [twin.twin async for twin in client.list(**wanted)]


async def test_list_gives_every_twin_once_in_order(client, fleet):
    assert await listed(client) == fleet
    assert await listed(client, kind="pod") == ["pod/a/p"]
    assert await listed(client, namespace="a") == [name for name in fleet if name.split("/")[1] == "a"]
    assert await listed(client, kind="device", namespace="nosuch") == []
    with pytest.raises(InvalidMessage, match="no kind 'nosuch'"):
        await listed(client, kind="nosuch")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 1000])
async def test_pages_of_any_size_make_the_whole(ask, server, fleet, limit):
    found, after = [], ""
    while True:
        reply = await ask("et/1/api/get", encode(GetRequest(limit=limit, after=after)))
        page = reply["result"]
        assert len(page["twins"]) <= limit
        found += [twin["twin"] for twin in page["twins"]]
        after = page.get("after", "")
        if not after:
            break
    assert found == fleet


async def test_more_twins_than_a_page_are_listed(tank, client, tank_spec):
    for number in range(250):
        tank.engine.define(TwinSpec(TwinKey(Kind.DEVICE, "many", f"d{number}"), f"m{number}"))
    assert len(await listed(client, namespace="many")) == 250


# -- set ---------------------------------------------------------------------------------------------------------------


async def test_set_answers_with_the_version_when_the_values_are_on_disk(tank, client, key):
    tank.store.gate.clear()
    setting = asyncio.create_task(client.set("plant/tank", {"valve": 40}))
    await tank.store.begun()
    for _ in range(50):
        await asyncio.sleep(0)
    assert not setting.done()
    tank.store.gate.set()
    assert await setting == tank.on_disk()[0]
    slot = tank.on_disk()[1]["desired", "valve", "edge"]
    assert (slot.value, slot.by) == (40, "me")


async def test_unset_takes_a_desired_value_back(client):
    await client.set("plant/tank", {"valve": 40, "mode": "off"})
    await client.set("plant/tank", {}, unset=["valve"])
    assert set((await client.get("plant/tank")).desired) == {"mode"}


@pytest.mark.parametrize(
    ("twin", "desired", "error", "said"),
    [
        ("plant/tank", {"valve": 101}, InvalidValue, "outside the limits 0 to 100 %"),
        ("plant/tank", {"level": 1.0}, InvalidValue, "ReadOnly"),
        ("plant/tank", {"nosuch": 1}, UnknownProperty, "nosuch"),
        ("plant/nosuch", {"valve": 1}, UnknownTwin, "nosuch"),
        ("plant/tank", {}, InvalidMessage, "names no property"),
    ],
)
async def test_a_set_that_is_refused_comes_back_as_its_error(tank, client, twin, desired, error, said):
    with pytest.raises(error, match=said):
        await client.set(twin, desired)
    assert tank.store.writes == []


async def test_a_version_that_is_not_current_is_refused(client):
    version = await client.set("plant/tank", {"valve": 40})
    assert await client.set("plant/tank", {"valve": 41}, version=version) == version + 1
    with pytest.raises(VersionMismatch, match=f"not {version}"):
        await client.set("plant/tank", {"valve": 42}, version=version)


async def test_a_dead_disk_is_told_to_who_sets(tank, client):
    tank.store.failing = StoreError("disk full", remedy="Free some space.")
    with pytest.raises(StoreError, match="disk full") as caught:
        await client.set("plant/tank", {"valve": 40})
    assert caught.value.remedy == "Free some space."


# -- watch -------------------------------------------------------------------------------------------------------------


async def test_a_watch_gives_the_twins_as_they_are_then_ready_then_each_change(tank, client, key, fleet):
    async with client.watch(namespace="plant") as events:
        first = await next_of(events)
        assert (first.twin, first.initial, first.body.twin) == ("device/plant/tank", True, "device/plant/tank")
        assert (await next_of(events)).ready
        tank.engine.report(TwinKey.parse("a/z"), {"raw": 1}, {}, at=1, by="m")  # another namespace
        tank.engine.report(key, {"raw": 1}, {}, at=1, by="m")
        tank.engine.set_desired(key, {"valve": 4}, by="me")
        event = await next_of(events)
        assert (event.twin, event.desired, event.reported) == ("device/plant/tank", ["valve"], ["raw"])
        assert event.body.reported["raw"].value == 1
        await tank.engine.settled()
        tank.engine.remove(key)
        event = await next_of(events)
        assert (event.twin, event.body) == ("device/plant/tank", None)


async def test_a_watch_of_one_twin_sees_only_that_one(tank, client, key, fleet):
    async with client.watch("plant/tank") as events:
        assert (await next_of(events)).initial
        assert (await next_of(events)).ready
        tank.engine.report(TwinKey.parse("a/z"), {"raw": 1}, {}, at=1, by="m")
        tank.engine.report(key, {"raw": 1}, {}, at=1, by="m")
        assert (await next_of(events)).twin == "device/plant/tank"


async def test_a_watch_of_an_unknown_twin_is_refused(client):
    with pytest.raises(UnknownTwin, match="nosuch"):
        async with client.watch("plant/nosuch") as events:
            await next_of(events)


async def test_a_watch_that_ended_is_forgotten_by_both_sides(tank, client, key):
    async with client.watch("plant/tank") as events:
        await next_of(events)
    assert client._waiting == {}
    assert tank.engine._watchers
    await until(lambda: tank.engine.report(key, {"each": 1}, {}, at=1, by="m") and not tank.engine._watchers)


@pytest.fixture
async def watch_raw(ask, server, app_link):
    """Watch without the client, so that nothing renews; returns how to send a further request of the watch."""

    async def send(**more):
        app_link.publish(
            "et/1/api/watch",
            encode(WatchRequest(twin="plant/tank", **more)),
            qos=1,
            response_topic="et/1/reply/raw/1",
            correlation=b"w",
        )

    async def event():
        return json.loads((await asyncio.wait_for(ask.replies.get(), TIMEOUT_S)).payload)["result"]

    send.event = event
    return send


async def changed(tank, key, number):
    await tank.engine.report(key, {"raw": number}, {}, at=1, by="m").commit.stored()


async def test_a_lease_that_is_renewed_goes_on_and_one_that_is_not_ends(tank, key, clock, watch_raw, ask):
    await watch_raw()
    assert (await watch_raw.event())["initial"]
    assert (await watch_raw.event())["ready"]
    clock.s += WATCH_LEASE_S - 1
    await watch_raw(renew=True)
    await changed(tank, key, 1)
    assert (await watch_raw.event())["reported"] == ["raw"]
    clock.s += WATCH_LEASE_S - 1
    await changed(tank, key, 2)
    assert (await watch_raw.event())["body"]["reported"]["raw"]["value"] == 2
    clock.s += WATCH_LEASE_S + 1
    await changed(tank, key, 3)
    await changed(tank, key, 4)
    assert ask.replies.empty()
    assert not tank.engine._watchers


async def test_watches_are_bounded_and_expired_ones_make_room(tank, key, clock, hub_link):
    verbs = TwinVerbs(tank.engine, hub_link, clock).verbs()[Verb.WATCH]
    request = WatchRequest(twin=str(key))
    callers = [Caller("me", "et/1/reply/me/1", str(number).encode()) for number in range(MAX_WATCHES + 1)]
    for caller in callers[:-1]:
        await verbs.answer(request, caller)
    with pytest.raises(EdgetwinError, match=f"{MAX_WATCHES} watches are open"):
        await verbs.answer(request, callers[-1])
    await verbs.answer(request, callers[0])
    clock.s += WATCH_LEASE_S + 1
    await verbs.answer(request, callers[-1])


async def test_a_renewal_of_a_watch_that_the_hub_does_not_know_starts_it_again(tank, key, clock, watch_raw):
    await watch_raw(renew=True)
    assert (await watch_raw.event())["initial"]
    assert (await watch_raw.event())["ready"]


async def test_replies_that_cannot_be_sent_keep_nobody_from_their_answer(tank, key, broker, hub_link, watch_raw):
    await watch_raw()
    await watch_raw.event()
    await watch_raw.event()
    broker.cut(hub_link)
    with contextlib.suppress(LinkError):
        while True:
            hub_link.publish("fill", b"", qos=1)
    await asyncio.wait_for(changed(tank, key, 1), TIMEOUT_S)


# -- explain -----------------------------------------------------------------------------------------------------------


async def test_explain_says_who_wrote_and_whether_the_device_followed(tank, client, key):
    await client.set("plant/tank", {"valve": 40})
    said = await client.explain("plant/tank", "valve")
    assert (said.winner, said.why, said.pending) == (Site.EDGE, "it is the only write", True)
    assert (said.slots[0].value, said.slots[0].by) == (40, "me")
    assert said.rules == ["type INT", "access ReadWrite", "minimum 0", "maximum 100", "unit %"]
    await tank.engine.report(key, {"valve": 40}, {}, at=1, by="m").commit.stored()
    said = await client.explain("plant/tank", "valve")
    assert (said.pending, said.reported.value) == (False, 40)
    await client.set("plant/tank", {}, unset=["valve"])
    said = await client.explain("plant/tank", "valve")
    assert (said.slots[0].deleted, said.slots[0].value, said.pending) == (True, None, False)


async def test_explain_of_what_nobody_wrote_and_of_what_is_not_there(client):
    said = await client.explain("plant/tank", "mode")
    assert (said.winner, said.why, said.policy) == (None, "nobody has written a desired value", "cloud")
    assert "one of 'auto', 'off'" in said.rules
    with pytest.raises(UnknownProperty, match="nosuch") as caught:
        await client.explain("plant/tank", "nosuch")
    assert "valve" in caught.value.remedy


@pytest.mark.parametrize(
    ("leaf", "policy", "winner", "why"),
    [
        (Leaf(Slot(1, 5, 9), Slot(2, 9)), "cloud", Site.EDGE, "the edge wrote knowing"),
        (Leaf(Slot(1, 5), Slot(2, 9, 5)), "edge", Site.CLOUD, "the cloud wrote knowing"),
        (Leaf(Slot(1, 5, at=2), Slot(2, 9, at=1)), "latest", Site.EDGE, "the policy is latest"),
        (Leaf(Slot(1, 5, at=2), Slot(2, 9, at=1)), "cloud", Site.CLOUD, "the policy is cloud"),
    ],
)
async def test_explain_gives_the_rule_that_decided_and_the_overruled_value(tank, key, leaf, policy, winner, why):
    document = tank.engine.document(key)
    spec = PropertySpec("valve", conflict=ConflictPolicy(policy), tolerance=0.5)
    document.spec.properties["valve"] = spec
    document.desired["valve"] = leaf
    said = explanation(document, key, "valve")
    assert said.winner is winner
    assert why in said.why
    assert {slot.value for slot in said.slots} == {1, 2}


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "payload", "code"),
    [
        ("et/1/api/get", b"", "invalid_message"),
        ("et/1/api/get", b"\xff", "invalid_message"),
        ("et/1/api/get", b'{"twin":"a","twin":"b"}', "invalid_message"),
        ("et/1/api/get", b'{"nosuch":1}', "invalid_message"),
        ("et/1/api/get", b'{"limit":0}', "invalid_message"),
        ("et/1/api/get", b'{"limit":1001}', "invalid_message"),
        ("et/1/api/get", b'{"after":"a/b/c/d"}', "invalid_name"),
        ("et/1/api/set", b'{"twin":"plant/tank","desired":{"valve":NaN}}', "invalid_message"),
        ("et/1/api/set", b'{"twin":"plant/tank","desired":{"note":1e999}}', "invalid_value"),
        ("et/1/api/set", b'{"twin":"#","desired":{"valve":1}}', "invalid_name"),
        ("et/1/api/set", b" " * (4 * 1024 * 1024 + 1), "too_large"),
        ("et/1/api/explain", b'{"twin":"plant/tank"}', "invalid_message"),
        ("et/1/api/watch", b'{"kind":"nosuch"}', "invalid_message"),
        ("et/1/api/apply", b"{}", "invalid_message"),
        ("et/1/api/nosuch", b"{}", "invalid_message"),
        ("et/1/api/GET", b"{}", "invalid_message"),
    ],
    ids=lambda part: str(part)[:40],
)
async def test_a_bad_request_is_answered_with_what_is_wrong(ask, server, topic, payload, code):
    reply = await ask(topic, payload)
    assert reply["error"]["code"] == code
    assert reply["error"]["message"]
    assert "result" not in reply


@pytest.mark.parametrize(
    "response_topic",
    ["", "et/1/report/modbus/device/plant/tank", "et/1/delta/device/plant/tank", "$SYS/x", "et/1/reply/me", "other"],
)
async def test_a_request_with_a_response_topic_elsewhere_is_ignored(
    broker, ask, server, app_link, tank, response_topic
):
    heard = []
    await app_link.subscribe("#", heard.append)
    request = b'{"twin":"plant/tank","desired":{"valve":1}}'
    app_link.publish("et/1/api/set", request, qos=1, response_topic=response_topic)
    await ask("et/1/api/get", b"{}")
    assert {message.topic for message in heard} == {"et/1/api/set", "et/1/api/get", "et/1/reply/raw/1"}
    assert tank.store.writes == []


async def test_a_fault_of_ours_is_told_without_its_secrets_and_ends_nothing(hub_link, ask, caplog):
    async def broken(_request, _caller):
        message = "secret"
        raise ZeroDivisionError(message)

    server = ApiServer(hub_link, {Verb.GET: Served(GetRequest, broken)})
    await server.open()
    for _ in range(2):
        reply = await ask("et/1/api/get", b"{}")
        assert reply["error"]["code"] == "error"
        assert "secret" not in json.dumps(reply)
    assert "request get failed" in caplog.text
    await server.close()


async def test_a_flood_is_refused_beyond_a_bound_and_the_rest_is_answered(hub_link, app_link, ask):
    gate, entered = asyncio.Event(), []

    async def slow(_request, _caller):
        entered.append(1)
        await gate.wait()

    server = ApiServer(hub_link, {Verb.GET: Served(GetRequest, slow)})
    await server.open()
    for number in range(MAX_REQUESTS):
        app_link.publish(
            "et/1/api/get", b"{}", qos=1, response_topic="et/1/reply/raw/1", correlation=str(number).encode()
        )
    reply = await ask("et/1/api/get", b"{}", b"one too many")
    assert f"{MAX_REQUESTS} requests are under way" in reply["error"]["message"]
    assert reply["error"]["remedy"] == "Ask again in a second."
    await until(lambda: len(entered) == MAX_REQUESTS)
    gate.set()
    await until(lambda: not server._under_way)
    assert ask.replies.empty()
    await server.close()


async def test_closing_the_server_gives_up_what_is_under_way(hub_link, app_link, ask):
    entered = asyncio.Event()

    async def endless(_request, _caller):
        entered.set()
        await asyncio.Event().wait()

    server = ApiServer(hub_link, {Verb.GET: Served(GetRequest, endless)})
    await server.open()
    app_link.publish("et/1/api/get", b"{}", qos=1, response_topic="et/1/reply/raw/1")
    await asyncio.wait_for(entered.wait(), TIMEOUT_S)
    await asyncio.wait_for(server.close(), TIMEOUT_S)


# -- the client's own --------------------------------------------------------------------------------------------------


async def test_no_answer_is_a_time_out_with_a_remedy(app_link):
    async with TwinClient(app_link, account="me", client="1", timeout_s=0.01) as client:
        with pytest.raises(RequestTimeout, match=r"no answer to get in 0\.01 s") as caught:
            await client.get("plant/tank")
        assert "edgetwin status" in caught.value.remedy
        with pytest.raises(RequestTimeout):
            await client.status()
        assert client._waiting == {}


async def test_a_request_made_before_the_hub_listens_is_answered_when_it_does(tank, hub_link, app_link):
    """As after a restart of the broker, when the client has connected again sooner than the hub."""
    async with TwinClient(app_link, account="me", client="1", timeout_s=TIMEOUT_S) as client:
        asked = asyncio.create_task(client.set("plant/tank", {"valve": 40}))
        await until(lambda: client._waiting)
        server = ApiServer(hub_link, TwinVerbs(tank.engine, hub_link, tank.clock).verbs())
        for _ in range(10):  # the broker has long dropped the request
            await asyncio.sleep(0)
        await server.open()
        assert await asked == tank.on_disk()[0]
        assert client._waiting == {}
        await server.close()


async def test_replies_that_nobody_waits_for_or_that_are_no_replies_do_no_harm(client, hub_link, app_link):
    hub_link.publish(topics.reply("me", "1"), b"{}", qos=1, correlation=b"nobody")
    getting = asyncio.create_task(client.get("plant/tank"))
    await until(lambda: client._waiting)
    (correlation,) = client._waiting
    hub_link.publish(topics.reply("me", "1"), b"garbage", qos=1, correlation=correlation)
    with pytest.raises(InvalidMessage, match="reply"):
        await getting


async def test_two_clients_of_one_account_get_their_own_replies(server, app_link, tank):
    async with (
        TwinClient(app_link, account="me", client="1", timeout_s=TIMEOUT_S) as one,
        TwinClient(app_link, account="me", client="2", timeout_s=TIMEOUT_S) as two,
    ):
        results = await asyncio.gather(
            one.get("plant/tank"), two.explain("plant/tank", "valve"), two.get("plant/nosuch"), return_exceptions=True
        )
    assert results[0].twin == "device/plant/tank"
    assert results[1].property == "valve"
    assert isinstance(results[2], UnknownTwin)


def test_an_error_of_a_later_release_comes_back_as_the_root():
    error = error_from_wire("brand_new", "it failed", "Do this.")
    assert type(error) is EdgetwinError
    assert str(error) == "it failed\n  Do this."


async def test_a_reply_that_the_link_does_not_take_is_dropped(broker):
    link = broker.link()
    verbs = TwinVerbs(None, link, None)
    assert set(verbs.verbs()) == {Verb.GET, Verb.SET, Verb.WATCH, Verb.EXPLAIN}
    caller = type("Caller", (), {"account": "me", "response_topic": "a/#", "correlation": b""})()
    send_reply(link, caller, EdgetwinError("x"))
