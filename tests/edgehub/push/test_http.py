"""Pushes by HTTP through the real process, against a server on a real socket that has its moods."""

import asyncio
import os
import signal

from tests.edgehub.push.servers import moody_server
from tests.edgehub.push.site import push, site, until, view_of


def values(moody) -> list:
    return [one["value"] for one in moody.readings()]


async def test_each_reading_arrives_with_quality_time_unit_and_a_name_of_its_own(tmp_path):
    async with site(tmp_path / "s") as gateway, moody_server() as moody:
        await gateway.follow(view_of(push("http", f"{{url: '{moody.url}'}}", "select: {properties: [level]}")))
        await gateway.report(1.5)
        await gateway.report("hello", name="note")
        await gateway.report(1.5)
        await until(lambda: len(moody.readings()) == 2)
    first, second = moody.readings()
    assert {**first, "id": "", "tick": 0, "time": ""} == {
        **{"id": "", "tick": 0, "time": "", "gateway": "gw-1", "namespace": "plant", "device": "tank"},
        **{"property": "level", "value": 1.5, "quality": "good", "unit": "%"},
    }
    assert first["id"] == f"gw-1.{first['tick']}"
    assert second["tick"] > first["tick"]
    assert moody.taken[0].headers["content-type"] == "application/json"


async def test_moods_of_the_server_cost_time_and_no_reading(tmp_path):
    async with site(tmp_path / "s") as gateway, moody_server() as moody:
        moody.moods.extend(
            [(500, {}, b"oh"), (429, {"Retry-After": "1"}, b""), "cut", "hang", (401, {}, b""), (503, {}, b"busy")]
        )
        await gateway.follow(view_of(push("http", f"{{url: '{moody.url}'}}", "timeout: 500ms")))
        for number in range(200):
            await gateway.report(float(number))
        await until(lambda: len(values(moody)) >= 200)
        await until(lambda: gateway.told().get("state") in ("idle", "sending"))
    assert list(dict.fromkeys(values(moody))) == [float(number) for number in range(200)]


async def test_a_reading_that_is_refused_for_good_is_set_aside_and_holds_nothing_up(tmp_path):
    async with site(tmp_path / "s") as gateway, moody_server() as moody:
        moody.refuses = lambda request: any(one["value"] == 13.0 for one in request.readings())
        await gateway.report(*map(float, range(5)))
        await gateway.follow(view_of(push("http", f"{{url: '{moody.url}'}}")))
        await gateway.report(*map(float, range(10, 40)))
        await until(lambda: len(values(moody)) == 29)
        await until(lambda: gateway.told().get("aside") == 1)
        assert "no such unit" in gateway.told()["why"] or gateway.told()["why"] == ""
    assert values(moody) == [float(number) for number in range(10, 40) if number != 13]


async def test_killed_in_the_midst_of_a_batch_nothing_is_lost_and_what_comes_twice_has_the_same_name(tmp_path):
    async with site(tmp_path / "s") as gateway, moody_server() as moody:
        await gateway.follow(view_of(push("http", f"{{url: '{moody.url}'}}")))
        for round_ in range(2):
            moody.always = "hang"
            moody.came.clear()
            await gateway.report(*(float(round_ * 100 + number) for number in range(100)))
            async with asyncio.timeout(30):
                await moody.came.wait()
            os.kill(gateway.child, signal.SIGKILL)
            moody.always = None
        await until(lambda: len(set(values(moody))) == 200)
    by_id = {one["id"]: one["value"] for one in moody.readings()}
    assert len(by_id) == 200
    assert sorted(by_id.values()) == [float(number) for number in range(200)]


async def test_the_line_is_down_the_hub_ends_and_all_of_it_arrives_in_order_later(tmp_path, free_port):
    port = free_port()
    document = push("http", f"{{url: 'http://127.0.0.1:{port}/x'}}")
    async with site(tmp_path / "s") as gateway:
        await gateway.follow(view_of(document))
        await gateway.report(*map(float, range(5000)))
        await until(lambda: gateway.told().get("state") == "waiting" and gateway.told().get("waiting") == 5000)
        assert gateway.door.alarms()
    async with site(tmp_path / "s") as gateway, moody_server(port) as moody:
        await gateway.follow(view_of(document))
        await gateway.report(5000.0)
        await until(lambda: len(values(moody)) >= 5001)
        await until(lambda: gateway.told().get("waiting") == 0)
    assert list(dict.fromkeys(values(moody))) == [float(number) for number in range(5001)]
