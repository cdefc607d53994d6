"""A full disk: nothing is acknowledged falsely, the hub alarms and lives on, and heals when there is space again."""

import asyncio
import contextlib
import os
import subprocess

import pytest

from edgehub.state import StateFolder
from tests.e2e.rig import DOCUMENTS, Hub
from twin.errors import StoreError
from twin.sqlite_store import SqliteStore
from twin.wire.api import DocumentSource

SIZE = 6 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path):
    """A file system of six megabytes; needs root, as mounting does."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place) -> None:
    with contextlib.suppress(OSError), (place / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_full_disk_refuses_alarms_and_heals(stopped_hub: Hub, small_disk):
    stopped_hub.folder = StateFolder(small_disk / "state")
    stopped_hub.environment["EDGETWIN_STATE"] = str(stopped_hub.folder.path)
    stopped_hub.start()
    await stopped_hub.ready()
    async with stopped_hub.client() as client:
        await client.apply([DocumentSource(name="x.yaml", text=DOCUMENTS.replace("${PORT}", "1502"))])
        acked = 0
        for number in range(1, 50):
            await client.set("free", {"count": number})
            acked = number
        fill(small_disk)
        with pytest.raises(StoreError):  # noqa: PT012  # the first of many that the disk no longer takes
            for number in range(1000, 6000):
                await client.set("free", {"count": number})
                acked = number
        status = await client.status()
        assert "takes no changes" in status.alarms[0]
        assert (await client.get("free")).desired["count"].value == acked
        (small_disk / "filler").unlink()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(StoreError):
                    await client.set("free", {"count": 7000})
                    break
        assert (await client.status()).alarms == []
    stopped_hub.kill()
    stopped_hub.start()
    async with stopped_hub.client() as client:
        assert (await client.get("free")).desired["count"].value == 7000


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_documents_accounts_and_copies_that_a_full_disk_does_not_take_leave_the_old_ones(
    stopped_hub: Hub, small_disk
):
    hub = stopped_hub
    hub.folder = StateFolder(small_disk / "state")
    hub.environment["EDGETWIN_STATE"] = str(hub.folder.path)
    documents = DOCUMENTS.replace("${PORT}", "1502")
    hub.start()
    async with hub.client() as client:
        await client.apply([DocumentSource(name="x.yaml", text=documents)])
        await asyncio.to_thread(hub.run, "account", "create", "first")
        accounts, registry = hub.folder.logins.read_bytes(), hub.folder.registry.read_bytes()
        fill(small_disk)
        with pytest.raises(StoreError, match="No space left on device") as caught:
            await client.apply([DocumentSource(name="x.yaml", text=documents.replace("hall-1", "hall-2"))])
        assert "free space" in caught.value.remedy
        made = await asyncio.to_thread(hub.run, "account", "create", "second")
        assert made.returncode == 5
        assert "accounts.json cannot be written: No space left on device" in made.stderr
        assert (hub.folder.logins.read_bytes(), hub.folder.registry.read_bytes()) == (accounts, registry)
    store = SqliteStore(small_disk.parent / "elsewhere.db")
    store.open()
    try:
        with pytest.raises(StoreError):
            store.copy_to(small_disk / "copy.db")
    finally:
        store.close()
    assert not (small_disk / "copy.db").exists()
    assert not (small_disk / "copy.db.new").exists()
