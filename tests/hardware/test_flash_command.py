"""`edgetwin hardware`, as its user meets it: on files without root, on loop devices with it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hardware.test_writer import image_of

MIB = 2**20


def command(*words: str | Path, answer: str | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from edgehub.cli import main; main()", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, input=answer, check=False)


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "gateway.img"
    path.write_bytes(image_of(random.Random(1), 24 * MIB))
    return path


def test_an_image_is_flashed_to_a_file(image: Path, tmp_path) -> None:
    out = tmp_path / "disk"
    done = command("hardware", "flash", image, "--to", out)
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout
    assert out.read_bytes() == image.read_bytes()


def test_a_dry_run_tells_the_plan_and_writes_nothing(image: Path, tmp_path) -> None:
    out = tmp_path / "disk"
    done = command("hardware", "flash", image, "--to", out, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["image_bytes"] == 24 * MIB
    assert not out.exists()


def test_the_disk_of_this_machine_is_refused_whatever_is_typed(image: Path) -> None:
    disks = json.loads(command("hardware", "disks", "--json").stdout)
    system = [one for one in disks if any(why["why"] == "system" for why in one["refused"])]
    if not system:
        pytest.skip("lsblk shows no disk here that carries the system")
    for words in ([], ["--serial", system[0]["serial"] or "x"]):
        done = command("hardware", "flash", image, "--to", system[0]["path"], "--yes", *words)
        assert done.returncode == 4
        assert "it carries" in done.stderr


def test_without_a_target_the_disks_are_listed(image: Path) -> None:
    done = command("hardware", "flash", image)
    assert done.returncode == 2
    assert "SERIAL" in done.stdout
    assert "--to" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-image", "--to", "out"], "cannot be read"),
        (["{image}", "--to", "/dev/no-such"], "is no disk of this machine"),
        (["{image}", "--to", "/no/such/folder/disk"], "the folder /no/such/folder is not there"),
        (["{image}", "--to", "/dev/null"], "is no disk of this machine"),
    ],
)
def test_bad_input_is_told_in_a_line_and_a_remedy(image: Path, words: list[str], said: str) -> None:
    done = command("hardware", "flash", *(word.format(image=image) for word in words))
    assert done.returncode == 4
    assert said in done.stderr
    assert "Traceback" not in done.stderr


# -- loop devices ------------------------------------------------------------------------------------------------------


def losetup(*words: str | Path) -> str:
    done = subprocess.run(["losetup", *map(str, words)], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


@pytest.fixture
def loop(tmp_path) -> Iterator[tuple[str, Path]]:
    """A real block device, and the file behind it."""
    if os.geteuid() != 0:
        pytest.skip("needs root for loop devices")
    behind = tmp_path / "behind"
    behind.write_bytes(b"\xa5" * 32 * MIB)
    try:
        device = losetup("--find", "--show", behind)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs a loop device: {error}")
    try:
        yield device, behind
    finally:
        losetup("--detach", device)


def test_a_real_device_is_written_when_its_serial_is_typed(image: Path, loop: tuple[str, Path]) -> None:
    device, behind = loop
    refused = command("hardware", "flash", image, "--to", device, "--yes")
    assert refused.returncode == 4
    assert "built in" in refused.stderr
    assert f"--serial {behind}" in refused.stderr
    assert set(behind.read_bytes()) == {0xA5}
    done = command("hardware", "flash", image, "--to", device, "--serial", behind, "--yes")
    assert done.returncode == 0, done.stderr
    whole = image.read_bytes()
    held = behind.read_bytes()
    block = 64 * 1024
    for at in range(0, len(whole), block):
        if any(whole[at : at + block]):
            assert held[at : at + block] == whole[at : at + block]


def test_nobody_is_asked_where_nobody_can_answer(image: Path, loop: tuple[str, Path]) -> None:
    device, behind = loop
    done = command("hardware", "flash", image, "--to", device, "--serial", behind, answer="")
    assert done.returncode == 4
    assert "--yes" in done.stderr
    assert set(behind.read_bytes()) == {0xA5}


def test_a_mounted_device_is_refused_by_rule_and_by_the_kernel(image: Path, loop: tuple[str, Path], tmp_path) -> None:
    from hardware.errors import DiskRefused
    from hardware.flash.disk import disks_here, find_disk
    from hardware.flash.target import OpenTarget

    device, behind = loop
    disk = find_disk(disks_here(), device)
    subprocess.run(["mkfs.ext4", "-q", device], check=True, capture_output=True, timeout=30)
    where = tmp_path / "mounted"
    where.mkdir()
    subprocess.run(["mount", device, where], check=True, timeout=20)
    try:
        done = command("hardware", "flash", image, "--to", device, "--serial", behind, "--yes")
        assert done.returncode == 4
        assert f"{device} is mounted on {where}" in done.stderr
        with pytest.raises(DiskRefused, match="cannot be opened for us alone"), OpenTarget(Path(device), disk, 1):
            pass
    finally:
        subprocess.run(["umount", where], check=True, timeout=20)


def test_a_disk_that_was_changed_for_another_is_refused(loop: tuple[str, Path]) -> None:
    from dataclasses import replace

    from hardware.errors import DiskRefused
    from hardware.flash.disk import disks_here, find_disk
    from hardware.flash.target import OpenTarget

    device, _ = loop
    disk = find_disk(disks_here(), device)
    others = (
        (replace(disk, size_bytes=disk.size_bytes + 512), disk),
        (replace(disk, numbers="8:0"), disk),
        (disk, replace(disk, serial="of another")),
        (disk, None),
    )
    for expected, now in others:
        with (
            pytest.raises(DiskRefused, match="is not the disk it was"),
            OpenTarget(Path(device), expected, disk.size_bytes, lambda _, now=now: now),
        ):
            pass
    with OpenTarget(Path(device), disk, disk.size_bytes, lambda _: disk) as target:
        assert target.size_bytes == disk.size_bytes
