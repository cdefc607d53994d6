"""A state folder that was harmed while the hub was away: it is noticed, set aside, mended and said."""

import asyncio
import os
import sqlite3

import pytest

from edgehub.state import StateFolder
from tests.e2e.rig import DOCUMENTS, Hub
from tests.e2e.test_disk_full import fill, small_disk  # noqa: F401  # a fixture
from twin.wire.api import DocumentSource


async def desired_count(hub: Hub) -> object:
    async with hub.client() as client:
        return (await client.get("free")).desired["count"].value


async def set_count(hub: Hub, value: int) -> None:
    async with hub.client() as client:
        await client.set("free", {"count": value})


def harm(hub: Hub) -> None:
    """Overwrite the middle of the database, as a failing card does, and lose its log."""
    database = hub.folder.database
    content = bytearray(database.read_bytes())
    content[100:-100] = b"\xa5" * (len(content) - 200)
    database.write_bytes(content)
    for ending in ("-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


async def test_a_corrupt_database_is_set_aside_and_the_last_good_copy_takes_its_place(hub, plant):
    await set_count(hub, 5)
    assert hub.stop() == 0
    hub.start()
    await set_count(hub, 6)
    hub.kill()
    harm(hub)
    hub.start()
    assert await desired_count(hub) == 5
    async with hub.client() as client:
        alarms = (await client.status()).alarms
    assert "set aside as state.db.corrupt-1" in alarms[0]
    assert "its last good copy took its place" in alarms[0]
    assert (hub.folder.path / "state.db.corrupt-1").exists()
    await set_count(hub, 7)
    assert hub.stop() == 0
    hub.start()
    assert await desired_count(hub) == 7
    async with hub.client() as client:
        assert (await client.status()).alarms == []


async def test_without_a_copy_the_twins_start_empty_and_devices_report_anew(hub, plant):
    await set_count(hub, 5)
    hub.kill()
    harm(hub)
    hub.start()
    async with hub.client() as client:
        assert (await client.get("free")).desired == {}
        assert "the twins start empty" in (await client.status()).alarms[0]
        async with client.watch("device/default/v1") as events, asyncio.timeout(10):
            async for event in events:
                if event.body and "flow" in event.body.reported:
                    break


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_disk_that_is_full_at_start_gets_the_reserve_and_the_hub_starts_with_an_alarm(
    stopped_hub: Hub,
    small_disk,  # noqa: F811  # the fixture
):
    hub = stopped_hub
    hub.folder = StateFolder(small_disk / "state")
    hub.environment["EDGETWIN_STATE"] = str(hub.folder.path)
    hub.start()
    async with hub.client() as client:
        await client.apply([DocumentSource(name="x.yaml", text=DOCUMENTS.replace("${PORT}", "1502"))])
        await client.set("free", {"count": 5})
    hub.kill()
    fill(small_disk)
    hub.start()
    assert await desired_count(hub) == 5
    async with hub.client() as client:
        assert "was full at start and got the reserve back" in (await client.status()).alarms[0]
    status = await asyncio.to_thread(hub.run, "status")
    assert status.returncode == 1
    assert "ALARM" in status.stdout


async def test_a_value_that_the_disk_changed_is_left_out_and_named(hub, plant):
    await set_count(hub, 5)
    async with hub.client() as client:
        await client.set("free", {"position": 111})
    assert hub.stop() == 0
    db = sqlite3.connect(hub.folder.database)
    db.execute("UPDATE leaf SET value = 6 WHERE property = 'count' AND section = 1")
    db.commit()
    db.close()
    hub.start()
    async with hub.client() as client:
        desired = (await client.get("free")).desired
        assert "count" not in desired
        assert desired["position"].value == 111
        (alarm,) = (await client.status()).alarms
    assert "the disk has damaged state.db, which does without: desired count of device/default/free" in alarm
    await set_count(hub, 7)
    assert hub.stop() == 0
    hub.start()
    assert await desired_count(hub) == 7
    async with hub.client() as client:
        assert (await client.status()).alarms == []
