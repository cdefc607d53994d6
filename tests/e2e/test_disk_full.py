"""A full disk: nothing is acknowledged falsely, the hub alarms and lives on, and heals when there is space again."""

import asyncio
import contextlib
import os
import subprocess

import pytest

from edgehub.state import StateFolder
from tests.e2e.rig import DOCUMENTS, Hub
from twin.errors import StoreError
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
