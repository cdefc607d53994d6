"""Vendors' images become gateways: what was there stays, what is needed is added, twice the same. No root is used.

The images are of Raspberry Pi OS's layout, but made here: nobody has tried the vendor's own.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
from pathlib import Path

import pytest

from hardware.boards import board
from hardware.errors import BuildFailed, InvalidImage
from hardware.image.build import Workshop
from hardware.image.cli import TREE
from hardware.image.keep import Built
from hardware.media.table import extents
from hardware.vendor import files as vendor
from hardware.vendor.adapt import PROGRAMS, adapt
from tests.hardware.test_media import MTOOLS
from tests.hardware.vendor_image import (
    BOOT_AT,
    BOOT_BYTES,
    CONFIG,
    FILES,
    MIB,
    PATH,
    STATUS,
    debugfs,
    run,
    vendor_image,
    wheel,
)

EPOCH_S = 1_700_000_000
PI = board("raspberry-pi-4")
RELEASE = "1.2.0"
needs_tools = pytest.mark.skipif(
    not MTOOLS or any(shutil.which(one, path=PATH) is None for one in PROGRAMS),
    reason="needs mtools, dosfstools, e2fsprogs",
)


def made_of(source: Path, out: Path, profile=PI) -> Built:
    def fetch(_tools, _tree, _arch, house: Path) -> str:
        house.mkdir(parents=True, exist_ok=True)
        return wheel(house).name

    return adapt(profile, source, RELEASE, Workshop(TREE, out / "cache", out, EPOCH_S), lambda *_: None, fetch)


def stat_of(disk: Path, path: str) -> tuple[str, str, str]:
    said = debugfs(disk, f"stat {path}\n")
    fields = said.replace("\n", " ").split()
    at = fields.index("Mode:")
    return fields[at + 1], fields[fields.index("User:") + 1], fields[fields.index("Group:") + 1]


def text_of(disk: Path, path: str) -> str:
    return debugfs(disk, f"cat {path}\n").partition("\n")[2]


@pytest.fixture(scope="module")
def vendors(tmp_path_factory) -> Path:
    if not MTOOLS:
        pytest.skip("needs mtools, dosfstools")
    disk = vendor_image(tmp_path_factory.mktemp("vendor"))
    script = "set_inode_field /usr/bin/ping mode 0104755\nea_set /usr/bin/ping security.capability \\001\\002\n"
    for path, owner in (("/home/pi/notes", 1000), ("/etc/shadow", 42)):
        script += f"set_inode_field {path} gid {owner}\nset_inode_field {path} mode 0100640\n"
    debugfs(disk, script, write=True)
    return disk


@pytest.fixture(scope="module")
def built(vendors: Path, tmp_path_factory) -> Built:
    return made_of(vendors, tmp_path_factory.mktemp("built"))


@needs_tools
def test_the_result_is_whole_and_has_the_gateway_in_it(built: Built, tmp_path: Path) -> None:
    disk = built.image
    run("e2fsck", "-fn", f"{disk}?offset={BOOT_AT + BOOT_BYTES}")
    boot = tmp_path / "boot"
    boot.write_bytes(disk.read_bytes()[BOOT_AT : BOOT_AT + BOOT_BYTES])
    run("fsck.vfat", "-n", boot)
    release = f"/opt/edgetwin/releases/{RELEASE}"
    assert text_of(disk, f"{release}/lib/python3.11/site-packages/library.py") == "x = 1\n"
    assert stat_of(disk, f"{release}/bin/edgetwin") == ("0755", "0", "0")
    assert 'Fast link dest: "releases/1.2.0"' in debugfs(disk, "stat /opt/edgetwin/current\n")
    assert 'link dest: "/usr/bin/python3.11"' in debugfs(disk, f"stat {release}/bin/python3\n")
    for unit in vendor.ENABLED:
        assert f"/usr/lib/systemd/system/{unit}" in debugfs(
            disk, f"stat /etc/systemd/system/multi-user.target.wants/{unit}\n"
        )
        assert "ExecStart=" in text_of(disk, f"/lib/systemd/system/{unit}")
    assert "SYMLINK" in text_of(disk, "/etc/udev/rules.d/70-edgetwin.rules")
    assert "/boot/firmware/edgetwin-provision.yaml" in text_of(
        disk, "/usr/lib/systemd/system/edgetwin-provision.service"
    )
    assert "RuntimeWatchdogSec=15" in text_of(disk, "/etc/systemd/system.conf.d/edgetwin.conf")
    assert f"{EPOCH_S:#x}" in debugfs(disk, "stat /usr/lib/clock-epoch\n")


@needs_tools
def test_what_the_vendor_made_stays_with_owners_modes_and_attributes(vendors: Path, built: Built) -> None:
    disk = built.image
    for path in ("/usr/bin/ping", "/home/pi/notes", "/etc/fstab"):
        assert stat_of(disk, path) == stat_of(vendors, path)
        assert text_of(disk, path) == FILES[path[1:]]
    assert stat_of(disk, "/usr/bin/ping")[0] == "04755"
    assert "security.capability (2)" in debugfs(disk, "ea_list /usr/bin/ping\n")
    assert stat_of(disk, "/etc/shadow") == ("0640", "0", "42")


@needs_tools
def test_our_user_is_one_more_with_a_number_of_its_own(built: Built) -> None:
    disk = built.image
    assert text_of(disk, "/etc/passwd") == FILES["etc/passwd"] + (
        "edgetwin:x:989:989::/var/lib/edgetwin:/usr/sbin/nologin\n"
    )
    assert text_of(disk, "/etc/group").endswith("edgetwin:x:989:\n")
    assert text_of(disk, "/etc/shadow").endswith("edgetwin:!:19000::::::\n")
    assert stat_of(disk, "/var/lib/edgetwin") == ("0700", "989", "989")


@needs_tools
def test_the_boot_partition_says_what_the_board_needs(built: Built) -> None:
    def on_boot(name: str) -> str:
        return run("mtype", "-i", f"{built.image}@@{BOOT_AT}", f"::/{name}").decode()

    words = on_boot("cmdline.txt").split()
    assert not any(one.startswith("console=serial0") for one in words)
    assert words[-1] == "panic=10"
    assert "root=PARTUUID=c0ffee00-02" in words
    assert on_boot("cmdline.txt").count("\n") == 1
    config = on_boot("config.txt")
    assert config.startswith(CONFIG + "\n")
    assert "[all]\nenable_uart=1\n" in config


@needs_tools
def test_equal_inputs_give_equal_bytes_from_a_compressed_image_too(vendors: Path, built: Built, tmp_path: Path) -> None:
    packed = tmp_path / "vendor.img.xz"
    packed.write_bytes(lzma.compress(vendors.read_bytes(), preset=0))
    again = made_of(packed, tmp_path / "out")
    assert again.image.read_bytes() == built.image.read_bytes()
    assert again.map.read_text() == built.map.read_text()


@needs_tools
def test_the_manifest_says_what_it_was_made_of_and_where_it_is_provisioned(vendors: Path, built: Built) -> None:
    said = json.loads(built.manifest.read_text())
    assert said["board"] == "raspberry-pi-4"
    assert said["proven"] == "untested"
    assert said["base_sha256"] == hashlib.sha256(vendors.read_bytes()).hexdigest()
    assert said["provisioning"] == {"versions": [1], "partition": 1, "file": "edgetwin-provision.yaml"}
    names = {one["name"] for one in said["components"]}
    assert {"mosquitto", "library"} <= names
    assert "pkg:pypi/library@1.0" in built.sbom.read_text()


@needs_tools
def test_a_root_without_room_is_enlarged_and_its_partition_with_it(built: Built, vendors: Path) -> None:
    content = built.image.read_bytes()
    _, root = extents(lambda at, length: content[at : at + length])
    assert root.length > 64 * MIB
    assert root.offset + root.length == len(content)
    said = run("dumpe2fs", "-h", f"{built.image}?offset={BOOT_AT + BOOT_BYTES}").decode()
    fields = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    assert int(fields["Block count"]) * int(fields["Block size"]) == root.length
    assert int(fields["Free blocks"]) * int(fields["Block size"]) >= 128 * MIB


@needs_tools
def test_a_root_with_room_stays_as_large_as_it_is(tmp_path: Path) -> None:
    source = vendor_image(tmp_path, 256 * MIB)
    assert made_of(source, tmp_path / "out").image.stat().st_size == source.stat().st_size


@needs_tools
@pytest.mark.parametrize(
    ("mend", "why"),
    [
        (lambda disk: disk.write_bytes(disk.read_bytes()[: BOOT_AT + BOOT_BYTES + MIB]), "ends before its root"),
        (lambda disk: disk.write_bytes(bytes(MIB)), "no partition table"),
        (lambda disk: disk.write_bytes(b""), "no number of sectors"),
        (lambda disk: run("sfdisk", "-q", "--part-type", disk, "2", "7"), "another layout"),
        (lambda disk: run("mdel", "-i", f"{disk}@@{BOOT_AT}", "::/config.txt"), "has no config.txt"),
        (lambda disk: debugfs(disk, "rm /var/lib/dpkg/status\n", write=True), "has no /var/lib/dpkg/status"),
        (lambda disk: debugfs(disk, "rm /etc/passwd\nmkdir /etc/passwd\n", write=True), "has no /etc/passwd"),
        (lambda disk: debugfs(disk, "clri /etc\n", write=True), "is damaged"),
    ],
)
def test_an_image_that_is_none_is_refused_and_nothing_is_left(tmp_path: Path, mend, why: str) -> None:
    disk = vendor_image(tmp_path)
    mend(disk)
    out = tmp_path / "out"
    with pytest.raises((BuildFailed, InvalidImage), match=why):
        made_of(disk, out)
    assert [one.name for one in out.iterdir() if one.name not in ("cache", "raspberry-pi-4.build.log")] == []


@needs_tools
def test_another_python_than_that_of_the_wheels_is_refused(tmp_path: Path) -> None:
    status = STATUS.replace("3.11.2-1+b1", "3.13.5-1")
    disk = vendor_image(tmp_path, files={**FILES, "var/lib/dpkg/status": status})
    with pytest.raises(BuildFailed, match=r"Python 3\.13"):
        made_of(disk, tmp_path / "out")


def test_a_board_that_is_built_from_packages_takes_no_vendors_image(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="is built from packages"):
        made_of(tmp_path / "none", tmp_path, board("qemu-x86-64"))
