"""The provisioning file on its way onto a disk: right on the boot partition, or nothing is written at all."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from hardware.errors import InvalidImage, InvalidProvisioning, WrongReadBack
from hardware.flash.blockmap import map_path, scan
from hardware.flash.place import boot_partition, with_files
from hardware.flash.work import Order, mapped
from hardware.flash.work import opened as opened_order
from hardware.flash.writer import flash
from hardware.image.manifest import ImageManifest, TakesProvisioning, manifest_path
from hardware.provision.file import FILE_NAME, read_file
from tests.hardware.test_flash_command import command
from tests.hardware.test_media import MTOOLS, keep, opened, volume
from tests.hardware.test_writer import Memory

MIB = 2**20
pytestmark = pytest.mark.skipif(not MTOOLS, reason="needs mtools and dosfstools")
SAID = "version: 1\ngateway: {name: hall-7}\n"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A GPT disk with a FAT partition that holds a file, something behind it, a map and a manifest."""
    fat = volume(tmp_path, 32, 36 * MIB, "-s", "1")
    ours = opened(fat)
    ours.write_file("config.txt", b"enable_uart=1\n", 1_700_000_000)
    keep(fat, ours)
    path = tmp_path / "gateway.img"
    with path.open("wb") as file:
        file.truncate(48 * MIB)
    script = b"label: gpt\nstart=2048, size=73728\nstart=75776, size=8192\n"
    subprocess.run(["/usr/sbin/sfdisk", "-q", path], input=script, capture_output=True, check=True, timeout=20)
    with path.open("r+b") as file:
        file.seek(MIB)
        file.write(fat.read_bytes())
        file.write(random.Random(1).randbytes(4 * MIB))
    made = scan(path)
    map_path(path).write_text(made.model_dump_json())
    write_manifest(path)
    return path


def write_manifest(image: Path, versions: tuple[int, ...] = (1,), partition: int = 1) -> None:
    manifest = ImageManifest(
        board="qemu-x86-64",
        compatible="qemu-x86-64",
        release="1.0.0",
        proven="vm",
        source_date_epoch=0,
        image=image.name,
        bytes=image.stat().st_size,
        sha256=hashlib.sha256(image.read_bytes()).hexdigest(),
        map_sha256=hashlib.sha256(map_path(image).read_bytes()).hexdigest(),
        wheels="",
        provisioning=TakesProvisioning(versions=versions, partition=partition, file=FILE_NAME),
        components=(),
    )
    manifest_path(image).write_text(manifest.model_dump_json())


@pytest.fixture
def said(tmp_path: Path) -> Path:
    path = tmp_path / "hall-7.yaml"
    path.write_text(SAID)
    return path


def on_boot(disk: Path, name: str) -> bytes:
    done = subprocess.run(["mtype", "-i", f"{disk}@@1M", f"::/{name}"], capture_output=True, timeout=20, check=True)
    return done.stdout


@pytest.mark.parametrize("with_map", [True, False])
def test_the_file_is_on_the_boot_partition_and_the_image_is_as_it_was(image, said, tmp_path, with_map) -> None:
    before = image.read_bytes()
    if not with_map:
        map_path(image).unlink()
    out = tmp_path / "disk"
    done = command("hardware", "flash", image, "--to", out, "--provision", said)
    assert done.returncode == 0, done.stderr
    assert "gateway hall-7" in done.stdout
    assert on_boot(out, FILE_NAME) == SAID.encode()
    assert on_boot(out, "config.txt") == b"enable_uart=1\n"
    assert image.read_bytes() == before
    part = tmp_path / "part"
    part.write_bytes(out.read_bytes()[MIB : 37 * MIB])
    subprocess.run(["/usr/sbin/fsck.vfat", "-n", part], check=True, capture_output=True, timeout=20)
    assert out.read_bytes()[37 * MIB :] == before[37 * MIB :]


def test_another_file_takes_the_place_of_one_in_the_image(image, said, tmp_path) -> None:
    out, again = tmp_path / "disk", tmp_path / "again"
    written(image, said, out)
    shutil.copy(out, image)
    map_path(image).write_text(scan(image).model_dump_json())
    write_manifest(image)
    said.write_text(SAID.replace("hall-7", "hall-8") + "# longer\n" * 500)
    written(image, said, again)
    assert on_boot(again, FILE_NAME) == said.read_bytes()


@pytest.mark.parametrize(
    ("mend", "why"),
    [
        (lambda image, said: said.write_text("version: 2\ngateway: {name: a}\n"), "version"),
        (lambda image, said: said.write_text("version: 1\n"), "gateway"),
        (lambda image, said: said.write_text(SAID + "cloud: {token: used}\n"), "was used already"),
        (lambda image, said: write_manifest(image, versions=(2, 3)), "has version 1, the image takes 2, 3"),
        (lambda image, said: write_manifest(image, partition=7), "no partition 7"),
        (lambda image, said: write_manifest(image, partition=2), "neither FAT16 nor FAT32"),
        (lambda image, said: manifest_path(image).unlink(), "does not say that it takes"),
        (lambda image, said: manifest_path(image).write_text("{"), "cannot be used"),
        (lambda image, said: map_path(image).write_text(map_path(image).read_text() + " "), "is of another image"),
        (
            lambda image, said: image.write_bytes(image.read_bytes().replace(b"mkfs.fat", b"mkfs.fax", 1)),
            "block map says",
        ),
        (lambda image, said: said.unlink(), "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_first_byte(image, said, tmp_path, mend, why) -> None:
    mend(image, said)
    out = tmp_path / "disk"
    out.write_bytes(b"precious")
    with pytest.raises((InvalidImage, InvalidProvisioning), match=why):
        written(image, said, out)
    assert out.read_bytes() == b"precious"


def written(image: Path, said: Path, out: Path) -> None:
    order = Order(image, out, read_file(said), overwrite=True)
    with opened_order(order, mapped(image, lambda _: None), lambda: ()) as work:
        work.write(lambda _: None)


def test_a_refused_file_is_told_in_a_line_and_a_remedy(image, said, tmp_path) -> None:
    said.write_text("version: 2\ngateway: {name: hall-7}\n")
    done = command("hardware", "flash", image, "--to", tmp_path / "disk", "--provision", said)
    assert done.returncode == 4
    assert "hall-7.yaml: version" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "disk").exists()


def test_a_dry_run_says_which_gateway_it_would_be(image, said, tmp_path) -> None:
    out = tmp_path / "disk"
    done = command("hardware", "flash", image, "--to", out, "--provision", said, "--dry-run", "--json")
    assert json.loads(done.stdout)["gateway"] == "hall-7"
    assert not out.exists()


def test_a_flipped_bit_in_the_file_is_found_by_the_read_back(image) -> None:
    with image.open("rb") as opened_image:
        boot = boot_partition(opened_image, 1)
        changed, block_map = with_files(opened_image, scan(image), boot, {FILE_NAME: SAID.encode()}, 0)
        disk = Memory(64 * MIB)
        flash(changed, block_map, disk, lambda _: None, lambda: 0.0)
        assert disk.looks_bootable
        at = bytes(disk.held).index(SAID.encode())
        again = Memory(64 * MIB)
        again.flip = 8 * at + 3
        with pytest.raises(WrongReadBack):
            flash(changed, block_map, again, lambda _: None, lambda: 0.0)
        assert not again.looks_bootable


def test_no_room_on_the_boot_partition_is_told(image) -> None:
    block_map = scan(image)
    with image.open("rb") as opened_image:
        boot = boot_partition(opened_image, 1)
        with pytest.raises(InvalidImage, match="is full"):
            with_files(opened_image, block_map, boot, {FILE_NAME: bytes(40 * MIB)}, 0)
