"""Tier 2, opt-in (make test-vm): a vendor's image becomes a gateway, is flashed with its provisioning file, and boots.

The image is of Raspberry Pi OS's layout, but of this architecture and made here; qemu takes the place of its firmware.
It lacks Mosquitto and nftables, which its own first start installs.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cloudsync.ask.session import cloud_client
from hardware.board import BoardProfile
from hardware.boards import board
from hardware.flash.work import Order, mapped, opened
from hardware.image import rootfs
from hardware.image.build import SOURCES, Workshop
from hardware.image.cli import TREE
from hardware.image.spec import ImageSpec
from hardware.image.tools import Tools
from hardware.provision.file import read_file
from hardware.vendor.adapt import adapt
from tests.cloudsync.process import CloudProcess
from tests.e2e.sync_site import all_twins, devices
from tests.hardware.vendor_image import assemble
from tests.vm.guest import HOST, X86_64, Guest

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="the vendor's root file system has owners"),
    pytest.mark.skipif(shutil.which("mmdebstrap") is None, reason="needs mmdebstrap"),
    pytest.mark.skipif(bool(X86_64.missing()), reason=X86_64.missing()),
]
EPOCH_S = 1_700_000_000
POWER_ON_S = 1200.0
CACHE = TREE / ".cache/images"
MIB = 2**20
CMDLINE = "console=ttyS0 root=PARTUUID=c0ffee00-02 rootfstype=ext4 rootwait panic=10\n"
FSTAB = """PARTUUID=c0ffee00-01 /boot/firmware vfat defaults,x-systemd.device-timeout=15min 0 2
PARTUUID=c0ffee00-02 / ext4 defaults,noatime 0 1
"""


def profile() -> BoardProfile:
    pi = board("raspberry-pi-4")
    return pi.model_copy(update={"name": "vendor-amd64", "arch": "amd64", "watchdog": None, "compatible": ""})


def vendors(folder: Path) -> tuple[Path, Path, Path]:
    """A disk, and the kernel and initramfs that are in it."""
    tools = Tools(folder / "log", EPOCH_S)
    spec = ImageSpec(board("qemu-x86-64"), "1.0.0", EPOCH_S, "")
    tar = rootfs.debian(tools, spec, CACHE, sorted([*SOURCES.glob("*.sources"), *SOURCES.glob("*.list")]))
    root = folder / "root"
    root.mkdir()
    tools.run("tar", "--extract", "--numeric-owner", "--xattrs", "--file", tar, "--directory", root)
    tools.run("chroot", root, "dpkg", "--purge", "mosquitto", "nftables")
    for name, text in (
        ("etc/fstab", FSTAB),
        ("etc/hostname", "vendor\n"),
        ("etc/machine-id", "uninitialized\n"),
        ("etc/systemd/network/80-all.network", "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n"),
    ):
        (root / name).write_text(text)
    (root / "boot/firmware").mkdir()
    tools.run("chroot", root, "systemctl", "enable", "--quiet", "systemd-networkd.service")
    (kernel,) = (one.name for one in (root / "lib/modules").iterdir())
    tools.run("chroot", root, "update-initramfs", "-c", "-k", kernel)
    kept = (folder / "vmlinuz", folder / "initrd.img")
    shutil.copy(root / f"boot/vmlinuz-{kernel}", kept[0])
    shutil.copy(root / f"boot/initrd.img-{kernel}", kept[1])
    disk = assemble(folder, folder / "vendor.img", root, 640 * MIB, CMDLINE)
    shutil.rmtree(root)
    return disk, *kept


async def test_a_vendors_image_that_was_adapted_and_flashed_is_in_the_cloud(tmp_path: Path) -> None:
    source, kernel, initrd = await asyncio.to_thread(vendors, tmp_path)
    shop = Workshop(TREE, CACHE, tmp_path / "out", EPOCH_S)
    built = await asyncio.to_thread(adapt, profile(), source, "1.0.0", shop, lambda *_: None)
    cloud = CloudProcess(tmp_path / "cloud", EDGETWIN_CLOUD_PUBLIC_HOST=HOST)
    cloud.run("cloud", "init")
    cloud.start()
    disk = tmp_path / "disk.img"
    line = await asyncio.to_thread(
        lambda: (
            subprocess.run(
                ["mtype", "-i", f"{built.image}@@4M", "::/cmdline.txt"], capture_output=True, text=True, check=True
            ).stdout
        )
    )
    assert "console=ttyS0" not in line, "the port is for devices"
    guest = Guest(
        disk,
        tmp_path,
        (cloud.gateways_port, cloud.web_port),
        more=(
            "-kernel",
            str(kernel),
            "-initrd",
            str(initrd),
            "-append",
            f"{line.strip()} console=ttyS0 systemd.default_timeout_start_sec=900",
        ),
    )
    try:
        token = cloud.json("cloud", "token", "create", "--gateway", "gw-1")["token"]
        file = tmp_path / "provisioning.yaml"
        said = {
            "version": 1,
            "gateway": {"name": "gw-1"},
            "settings": {"cloud": {"first_delay": "0s"}},
            "cloud": {"token": token},
            "devices": devices("tank-1"),
        }
        file.write_text(json.dumps(said))
        await asyncio.to_thread(flashed, built.image, disk, file)
        admin = tmp_path / "admin.json"
        admin.write_text((cloud.folder / "admin.json").read_text().replace(HOST, "127.0.0.1"))
        admin.chmod(0o600)
        guest.start()
        async with cloud_client(admin) as above, above.watch(kind="device") as events, asyncio.timeout(POWER_ON_S):
            async for event in events:
                if event.twin == "device/plant/tank-1":
                    break
            assert "device/plant/tank-1" in await all_twins(above)
        took_s = time.monotonic() - guest.began_s
    except TimeoutError:
        pytest.fail(f"the guest said last: {guest.said()[-3000:]}")
    finally:
        guest.cut()
        cloud.stop()
    print(f"vendor's image, power on with first start to device in the cloud twin: {took_s:.1f} s")  # noqa: T201


def flashed(image: Path, disk: Path, file: Path) -> None:
    order = Order(image, disk, read_file(file))
    with opened(order, mapped(image, lambda _: None), lambda: ()) as work:
        work.write(lambda _: None)
