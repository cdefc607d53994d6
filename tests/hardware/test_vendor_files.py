"""What a vendor's image is unpacked to, and which texts its files become: pure, or nearly so."""

from __future__ import annotations

import lzma
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware.boards import board
from hardware.errors import BuildFailed, InvalidImage
from hardware.vendor import files as vendor
from hardware.vendor.packages import installed
from hardware.vendor.unpack import unpack
from tests.hardware.vendor_image import CMDLINE, FILES, MIB, STATUS

pytestmark = pytest.mark.fast
PI = board("raspberry-pi-4")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (lzma.compress(bytes(9 * MIB)), "more than 8388608 bytes"),
        (bytes(9 * MIB), "more than 8388608 bytes"),
        (lzma.compress(os.urandom(MIB))[:-40], "cut short"),
        (lzma.compress(bytes(MIB))[:30] + b"no" * 50, "is damaged|cut short"),
        (b"x" * 700, "no number of sectors"),
    ],
)
def test_what_cannot_be_unpacked_is_told(tmp_path: Path, content: bytes, why: str) -> None:
    source = tmp_path / "source"
    source.write_bytes(content)
    with pytest.raises(InvalidImage, match=why):
        unpack(source, tmp_path / "out", limit_bytes=8 * MIB)


def test_an_unpacked_image_keeps_its_holes(tmp_path: Path) -> None:
    source = tmp_path / "source.xz"
    source.write_bytes(lzma.compress(b"a" * 512 + bytes(64 * MIB - 512)))
    assert unpack(source, tmp_path / "out") == 64 * MIB
    assert (tmp_path / "out").stat().st_blocks * 512 <= 2 * MIB


# -- pure --------------------------------------------------------------------------------------------------------------

lines = st.lists(st.sampled_from(["a=1", "[pi4]", "# text", "", "dtparam=audio=on"]), max_size=6)


@given(before=lines, ends=st.booleans())
def test_adapting_the_configuration_twice_changes_nothing_more(before: list[str], ends: bool) -> None:
    text = "\n".join(before) + ("\n" if ends else "")
    once = vendor.firmware_config(text, PI)
    assert vendor.firmware_config(once, PI) == once
    assert once.startswith(text)
    other = vendor.firmware_config(once, replace_config("dtoverlay=uart5"))
    assert "dtoverlay=uart5" in other
    assert "enable_uart" not in other
    line = vendor.kernel_line(" ".join(before), PI)
    assert vendor.kernel_line(line, PI) == line


def replace_config(*lines: str):
    return PI.model_copy(update={"boot_config": lines})


def test_a_console_stays_where_no_port_is_for_devices() -> None:
    bare = PI.model_copy(update={"serial": ()})
    assert vendor.kernel_line(CMDLINE, bare).split()[0] == "console=serial0,115200"
    assert "console=tty1" in vendor.kernel_line(CMDLINE, PI)
    assert "console=serial0" not in vendor.kernel_line(CMDLINE, PI)


@given(taken=st.sets(st.integers(101, 990), max_size=40))
def test_a_number_is_free_in_both_files(taken: set[int]) -> None:
    passwd = "".join(f"u{one}:x:{one}:0::/:\n" for one in taken if one % 2)
    group = "".join(f"g{one}:x:{one}:\n" for one in taken if not one % 2)
    number = vendor.user_id(passwd, group)
    assert number not in taken
    assert 100 < number < 1000
    line = vendor.user_lines(number)["/etc/passwd"]
    once = vendor.with_line(passwd, line)
    assert vendor.with_line(once, line) == once
    assert vendor.user_id(once, group) == number


def test_only_what_is_installed_counts() -> None:
    assert set(installed(STATUS)) == {"python3", "mosquitto", "nftables"}


@pytest.mark.parametrize(
    ("fstab", "where"),
    [(FILES["etc/fstab"], "/boot/firmware"), ("/dev/mmcblk0p1 /boot vfat defaults 0 2\n", "/boot")],
)
def test_the_boot_partition_is_where_the_image_mounts_it(fstab: str, where: str) -> None:
    assert vendor.boot_folder(fstab) == where


def test_an_image_that_mounts_no_boot_partition_is_refused() -> None:
    with pytest.raises(BuildFailed, match="mounts no boot partition"):
        vendor.boot_folder("# /dev/x /boot vfat\nproc /proc proc defaults 0 0\n")
