"""The gateway's disk runs full while the line is cut, and still is when it is back: nothing acknowledged is lost."""

import contextlib
import os
import subprocess

import pytest

from tests.e2e.sync_site import SyncSite, devices, equal
from twin.errors import StoreError

SIZE = 24 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path):
    """The gateway's state on a file system of its own; needs root, as mounting does."""
    place = tmp_path / "gateway"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.torture
@pytest.mark.timeout(300)
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_full_disk_in_a_partition_loses_nothing_that_was_acknowledged(tmp_path, small_disk):
    filler = small_disk / "filler"
    with SyncSite(tmp_path) as site:
        site.apply(devices("t1", "t2"))
        site.live()
        async with site.users() as (edge, cloud):
            site.line.cut()
            acked = 0
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            with contextlib.suppress(StoreError):
                for number in range(1, 5000):
                    await edge.set("plant/t1", {"valve": number})
                    acked = number
            await cloud.set("plant/t2", {"mode": 7})
            site.line.restore()
            with contextlib.suppress(StoreError):
                await edge.set("plant/t1", {"mode": 1})
            filler.unlink()
            await equal(edge, cloud, within_s=60)
            valve = (await cloud.get("plant/t1")).desired.get("valve")
            assert (valve.value if valve else 0) == acked
            assert (await edge.get("plant/t2")).desired["mode"].value == 7
        site.live(60)
