"""watch in the cloud: twins and live queries, told by whichever worker has the watch."""

import asyncio
import contextlib

import pytest

from tests.cloudsync.api.conftest import PROPERTIES, tank, until
from twin.errors import InvalidMessage, InvalidQuery, UnknownTwin
from twin.model import PropertySpec, ValueType
from twin.wire.api import LiveChange

HOT = "SELECT name, reported.level FROM twins WHERE reported.level > 80"


async def _until_ready(events):
    found = []
    async for event in events:
        if event.ready:
            return found
        found.append(event)
    return found


async def _next(events):
    async with asyncio.timeout(5):
        return await anext(events)


async def test_a_twin_is_shown_first_and_then_each_change_by_whichever_worker(cloud, client_of):
    await cloud.define(tank())
    client = await client_of("ann")
    async with client.watch("plant/tank") as events:
        first = await _until_ready(events)
        assert [(one.twin, one.initial) for one in first] == [("device/plant/tank", True)]
        for value in range(6):  # sets go to one worker and the other in turn
            await client.set("plant/tank", {"valve": value})
            event = await _next(events)
            assert (event.body.desired["valve"].value, event.desired, event.reported) == (value, ["valve"], [])
        await cloud.report(tank(), level=3.5)
        event = await _next(events)
        assert (event.body.reported["level"].value, event.reported) == (3.5, ["level"])


async def test_other_twins_are_not_told(cloud, client_of):
    for name in ("a", "b"):
        await cloud.define(tank(name))
        await cloud.define(tank(name, "lab"), gateway="gw-2")
    client = await client_of("ann")
    async with client.watch(namespace="plant") as plant, client.watch(gateway="gw-2") as lab:
        assert len(await _until_ready(plant)) == len(await _until_ready(lab)) == 2
        await client.set("lab/a", {"valve": 1})
        await client.set("plant/b", {"valve": 2})
        assert (await _next(plant)).twin == "device/plant/b"
        assert (await _next(lab)).twin == "device/lab/a"


async def test_a_twin_that_is_removed_or_made_is_told(cloud, client_of):
    await cloud.define(tank())
    client = await client_of("vic")
    async with client.watch(kind="device") as events:
        await _until_ready(events)
        await cloud.remove(tank())
        event = await _next(events)
        assert (event.twin, event.body) == ("device/plant/tank", None)
        await cloud.define(tank("new"))
        assert (await _next(events)).twin == "device/plant/new"


async def test_a_live_query_tells_what_enters_changes_and_leaves_it(cloud, client_of):
    for name, level in (("a", 90.0), ("b", 10.0)):
        await cloud.define(tank(name))
        await cloud.report(tank(name), level=level)
    client = await client_of("vic")
    async with client.watch(query=HOT) as events:
        first = await _until_ready(events)
        assert [(one.row, one.change, one.initial) for one in first] == [
            ({"name": "a", "reported.level": 90.0}, LiveChange.ENTERED, True)
        ]
        for name, level, change in (
            ("b", 85.0, LiveChange.ENTERED),
            ("a", 91.0, LiveChange.CHANGED),
            ("b", 20.0, LiveChange.LEFT),
        ):
            await cloud.report(tank(name), level=level)
            event = await _next(events)
            assert (event.twin, event.change) == (f"device/plant/{name}", change)
            assert (event.row or {}).get("reported.level") == (None if change is LiveChange.LEFT else level)
        await cloud.report(tank("b"), level=21.0)  # no news
        await cloud.report(tank("a"), level=92.0)
        assert (await _next(events)).row["reported.level"] == 92.0


async def test_a_label_that_changes_moves_a_twin_into_a_live_query(cloud, client_of):
    await cloud.define(tank(), labels=[("area", "yard")])
    client = await client_of("vic")
    async with client.watch(query="SELECT name FROM twins WHERE tags.area = 'hall'") as events:
        assert await _until_ready(events) == []
        await cloud.define(tank(), labels=[("area", "hall")])
        assert (await _next(events)).change is LiveChange.ENTERED
        await cloud.define(
            tank(), labels=[("area", "yard")], properties={**PROPERTIES, "x": PropertySpec("x", ValueType.INT)}
        )
        assert (await _next(events)).change is LiveChange.LEFT


async def test_a_change_whose_hint_is_lost_is_told_all_the_same(cloud, client_of):
    await cloud.define(tank())
    client = await client_of("vic")
    async with client.watch("plant/tank") as events:
        await _until_ready(events)
        for api in cloud.apis:
            api.follower._stop_hints()
        await cloud.report(tank(), level=1.5)
        assert (await _next(events)).reported == ["level"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("SELECT name FROM twins ORDER BY name", "neither ORDER BY"),
        ("SELECT COUNT(*) FROM twins", "neither ORDER BY"),
        ("SELECT name, model AS name FROM twins", "called 'name'"),
        ("SELECT name FROM leaf", "only FROM twins"),
    ],
)
async def test_a_query_that_cannot_live_is_refused(client_of, query, text):
    client = await client_of("vic")
    with pytest.raises(InvalidQuery, match=text):
        async with client.watch(query=query) as events:
            await _until_ready(events)


async def test_a_watch_of_nothing_is_refused(client_of):
    client = await client_of("vic")
    with pytest.raises(UnknownTwin):
        async with client.watch("plant/nothing") as events:
            await _until_ready(events)
    with pytest.raises(InvalidMessage, match="not both"):
        async with client.watch("plant/tank", query=HOT) as events:
            await _until_ready(events)


async def test_a_watch_whose_worker_died_begins_anew_and_says_so(cloud, client_of, monkeypatch):
    await cloud.define(tank())
    monkeypatch.setattr("twin.client.LOST_AFTER_S", 0.3)  # else the test would take twelve seconds
    client = await client_of("ann")
    async with client.watch("plant/tank") as events:
        await _until_ready(events)
        holder = next(api for api in cloud.apis if api._watches._watches)
        await holder.__aexit__()
        cloud.apis.remove(holder)
        event = await _next(events)
        assert event.restarted
        await _until_ready(events)
        await client.set("plant/tank", {"valve": 9})
        assert (await _next(events)).body.desired["valve"].value == 9


async def test_a_watch_that_is_left_ends_in_the_cloud(cloud, client_of):
    await cloud.define(tank())
    client = await client_of("vic")
    async with client.watch("plant/tank") as events:
        await _until_ready(events)
        assert sum(len(api._watches._watches) for api in cloud.apis) == 1

    async def ended():
        return not any(api._watches._watches for api in cloud.apis)

    await until(ended)


async def test_many_changes_while_a_watch_reads_are_told_once_each_twin_at_least_as_they_are_then(cloud, client_of):
    for number in range(20):
        await cloud.define(tank(f"t{number}"))
    client = await client_of("vic")
    async with client.watch(namespace="plant") as events:
        await _until_ready(events)
        for value in range(50):
            await cloud.report(tank(f"t{value % 20}"), level=float(value))
        last = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while last.get("device/plant/t9") != 49.0 or len(last) < 20:
                    event = await anext(events)
                    last[event.twin] = event.body.reported["level"].value
        expected = {
            f"device/plant/t{number}": float(40 + number if number < 10 else 20 + number) for number in range(20)
        }
        assert last == expected
