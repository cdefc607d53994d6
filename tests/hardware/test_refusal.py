"""The wrong disk is never written: machines of every kind, and each class of refusal by itself."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hardware.errors import DiskRefused, NoSuchDisk
from hardware.flash.blockmap import BlockMap, Range
from hardware.flash.disk import Disk, find_disk, read_disks
from hardware.flash.plan import plan
from hardware.flash.refusal import CEILING_BYTES, Why, refusals
from tests.hardware.trees import machine

pytestmark = pytest.mark.fast
IMAGE_BYTES = 2 * 10**9
STICK = Disk("/dev/sdb", "disk", 16 * 10**9, "8:16", model="Stick", serial="S-1", removable=True)


@pytest.mark.parametrize("seed", range(400))
def test_no_disk_of_any_machine_is_judged_wrongly(seed: int) -> None:
    made = machine(random.Random(seed), IMAGE_BYTES)
    disks = read_disks(made.text)
    for truth in made.truths:
        disk = find_disk(disks, truth.path)
        assert (not refusals(disk, IMAGE_BYTES)) is truth.free, (disk, refusals(disk, IMAGE_BYTES))
        assert (not refusals(disk, IMAGE_BYTES, truth.serial)) is truth.by_serial
        assert (not refusals(disk, IMAGE_BYTES, "SN-of-another")) is truth.free
        for one in disk.tree():
            if one is not disk:
                assert Why.NOT_WHOLE in {found.why for found in refusals(one, 1, one.serial)}


def test_the_machines_hold_every_sort_of_disk() -> None:
    seen: set[Why] = set()
    good = 0
    for seed in range(400):
        for disk in read_disks(machine(random.Random(seed), IMAGE_BYTES).text):
            found = refusals(disk, IMAGE_BYTES)
            seen |= {one.why for one in found}
            good += not found
    assert seen == set(Why)
    assert good > 50


@pytest.mark.parametrize(
    ("disk", "why"),
    [
        (replace(STICK, mounts=("/",)), Why.SYSTEM),
        (replace(STICK, children=(replace(STICK, path="/dev/sdb1", type="part", mounts=("/mnt",)),)), Why.IN_USE),
        (replace(STICK, filesystem="LVM2_member"), Why.MEMBER),
        (replace(STICK, children=(replace(STICK, path="/dev/md0", type="raid1"),)), Why.MEMBER),
        (replace(STICK, read_only=True), Why.READ_ONLY),
        (replace(STICK, size_bytes=IMAGE_BYTES - 512), Why.TOO_SMALL),
        (replace(STICK, type="part"), Why.NOT_WHOLE),
    ],
)
def test_what_would_destroy_something_is_refused_whatever_is_typed(disk: Disk, why: Why) -> None:
    for typed in ("", "S-1"):
        assert [one.why for one in refusals(disk, IMAGE_BYTES, typed)] == [why]


@pytest.mark.parametrize(
    ("disk", "why"),
    [(replace(STICK, removable=False), Why.FIXED), (replace(STICK, size_bytes=CEILING_BYTES + 512), Why.LARGE)],
)
def test_a_built_in_or_large_disk_needs_its_serial_number_typed(disk: Disk, why: Why) -> None:
    assert [one.why for one in refusals(disk, IMAGE_BYTES)] == [why]
    assert [one.why for one in refusals(disk, IMAGE_BYTES, "S-2")] == [why]
    assert refusals(disk, IMAGE_BYTES, "S-1") == ()
    assert [one.why for one in refusals(replace(disk, serial=""), IMAGE_BYTES, "")] == [why]


def test_every_refusal_says_what_to_do() -> None:
    for seed in range(50):
        for disk in read_disks(machine(random.Random(seed), IMAGE_BYTES).text):
            for one in refusals(disk, IMAGE_BYTES):
                assert one.message
                assert one.remedy


MAP = BlockMap(image_bytes=IMAGE_BYTES, ranges=(Range(offset=0, length=4096, sha256="0" * 64),))


def test_a_serial_number_of_another_disk_is_refused_even_where_none_is_needed(tmp_path) -> None:
    device = tmp_path / "null"
    device.symlink_to("/dev/null")  # a path that is there and is no file
    known = (replace(STICK, path="/dev/null"),)
    assert plan(tmp_path / "image", MAP, device, "", lambda: known).disk == known[0]
    assert plan(tmp_path / "image", MAP, device, "S-1", lambda: known).disk == known[0]
    with pytest.raises(DiskRefused, match="has the serial number S-1, not S-9"):
        plan(tmp_path / "image", MAP, device, "S-9", lambda: known)


def test_all_reasons_are_said_at_once(tmp_path) -> None:
    known = (replace(STICK, path="/dev/null", read_only=True, removable=False, mounts=("/srv",)),)
    with pytest.raises(DiskRefused, match="mounted on /srv; it is read-only; it is built in"):
        plan(tmp_path / "image", MAP, tmp_path.parent / "/dev/null", "", lambda: known)


def test_a_device_that_is_not_there_is_not_made_as_a_file(tmp_path) -> None:
    with pytest.raises(NoSuchDisk, match="/dev/no-such-disk is no disk of this machine") as told:
        plan(tmp_path / "image", MAP, tmp_path / "/dev/no-such-disk", "", lambda: (STICK,))
    assert "/dev/sdb" in str(told.value)


def test_a_file_is_not_overwritten_unasked_and_the_image_never(tmp_path) -> None:
    image, other = tmp_path / "image", tmp_path / "other"
    for path in (image, other):
        path.write_bytes(b"x")
    with pytest.raises(DiskRefused, match="is there already"):
        plan(image, MAP, other, "", tuple)
    assert plan(image, MAP, other, "", tuple, overwrite=True).disk is None
    with pytest.raises(DiskRefused, match="is the image itself"):
        plan(image, MAP, image, "", tuple, overwrite=True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"blockdevices": [{"path": 1}]}'])
def test_what_is_not_lsblks_is_told(text: str) -> None:
    with pytest.raises(NoSuchDisk, match="what lsblk says cannot be read"):
        read_disks(text)
