"""Tier 2, opt-in (make test-vm): an image is built, boots in a virtual machine, provisions itself, is in the cloud."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from cloudsync.ask.session import cloud_client
from hardware.boards import board
from hardware.image.build import Workshop, build
from hardware.image.cli import TREE
from hardware.provision.receipt import NAME, Receipt, State
from tests.cloudsync.process import CloudProcess
from tests.e2e.sync_site import all_twins, devices
from tests.vm.guest import FIRMWARE, HOST, Guest, put_on_boot
from tests.vm.record import proved

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="an image is built by root"),
    pytest.mark.skipif(
        not (FIRMWARE / "OVMF_CODE_4M.fd").exists(), reason="needs ovmf, qemu-system-x86, socat, mtools"
    ),
]
EPOCH_S = 1_700_000_000
POWER_ON_S = 900.0
"""Of a busy machine; a quiet one takes 50 s."""
PROVISIONING = "edgetwin-provision.yaml"


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("image")
    shop = Workshop(TREE, TREE / ".cache/images", out, EPOCH_S)
    return build(board("qemu-x86-64"), "1.0.0", shop, lambda *_: None).image


def test_equal_inputs_give_equal_bytes(image: Path, tmp_path: Path) -> None:
    shop = Workshop(TREE, TREE / ".cache/images", tmp_path, EPOCH_S)
    again = build(board("qemu-x86-64"), "1.0.0", shop, lambda *_: None).image
    subprocess.run(["cmp", image, again], check=True, timeout=120)


async def test_a_flashed_machine_with_a_provisioning_file_is_in_the_cloud(image: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    took_s = await powered_on(image, disk, tmp_path)
    # The power is gone by now: what was said to be written is there.
    receipt = Receipt.model_validate_json(from_boot(disk, NAME))
    assert receipt.done
    assert {one.step: one.state for one in receipt.steps}["cloud"] is State.APPLIED
    assert b'"token": "used"' in from_boot(disk, PROVISIONING)
    proved("qemu-x86-64", "power on to its device in the cloud's twin", f"{took_s:.0f} s")


async def powered_on(image: Path, disk: Path, tmp_path: Path) -> float:
    """Boot a copy of an image with a provisioning file until its device is in a cloud; seconds. Then the power goes."""
    await asyncio.to_thread(subprocess.run, ["cp", "--sparse=always", image, disk], check=True, timeout=120)
    os.truncate(disk, disk.stat().st_size + 1024 * 2**20)  # room for data to grow into
    cloud = CloudProcess(tmp_path / "cloud", EDGETWIN_CLOUD_PUBLIC_HOST=HOST)
    cloud.run("cloud", "init")
    cloud.start()
    guest = Guest(disk, tmp_path, (cloud.gateways_port, cloud.web_port))
    try:
        token = cloud.json("cloud", "token", "create", "--gateway", "gw-1")["token"]
        said = {
            "version": 1,
            "gateway": {"name": "gw-1"},
            "settings": {"cloud": {"first_delay": "0s"}},
            "cloud": {"token": token},
            "devices": devices("tank-1"),
        }
        file = tmp_path / "provisioning.yaml"
        file.write_text(json.dumps(said))
        put_on_boot(disk, file, PROVISIONING)
        admin = tmp_path / "admin.json"
        admin.write_text((cloud.folder / "admin.json").read_text().replace(HOST, "127.0.0.1"))
        admin.chmod(0o600)
        guest.start()
        async with cloud_client(admin) as above, above.watch(kind="device") as events, asyncio.timeout(POWER_ON_S):
            async for event in events:
                if event.twin == "device/plant/tank-1":
                    break
            assert "device/plant/tank-1" in await all_twins(above)
        return time.monotonic() - guest.began_s
    finally:
        guest.cut()
        cloud.stop()


def from_boot(disk: Path, name: str) -> bytes:
    """What a file of the boot partition holds."""
    words = ["mtype", "-i", f"{disk}@@1M", f"::/{name}"]
    return subprocess.run(words, check=True, capture_output=True, timeout=30).stdout
