"""Partition tables and FAT volumes, read and changed as bytes; mtools and fsck say whether they are what they seem."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware.errors import InvalidImage
from hardware.media.fat import FatVolume
from hardware.media.table import Extent, extents

MIB = 2**20
AT_S = 1_700_000_000
MTOOLS = shutil.which("mcopy") and shutil.which("mkfs.vfat", path="/usr/sbin:/sbin:/usr/bin")
pytestmark = pytest.mark.skipif(not MTOOLS, reason="needs mtools and dosfstools")


def volume(folder: Path, fat: int, size: int = 36 * MIB, *words: str) -> Path:
    path = folder / f"fat{fat}.img"
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    run("mkfs.vfat", "--invariant", "-F", str(fat), *words, path)
    return path


def run(*command: str | Path) -> bytes:
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env={"PATH": "/usr/sbin:/usr/bin"})
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def opened(path: Path, offset: int = 0) -> FatVolume:
    content = path.read_bytes()
    return FatVolume(lambda at, length: content[at : at + length], offset)


def keep(path: Path, fat: FatVolume) -> None:
    with path.open("r+b") as file:
        for one in fat.changes():
            file.seek(one.offset)
            file.write(one.content)


def by_mtools(path: Path, name: str) -> bytes:
    return run("mtype", "-i", path, f"::/{name}")


names = st.from_regex(r"[a-z][a-z0-9-]{0,24}(\.[a-z]{1,5})?", fullmatch=True)


@pytest.mark.parametrize(("fat", "size", "words"), [(16, 12 * MIB, ("-s", "4")), (32, 36 * MIB, ("-s", "1"))])
@settings(max_examples=8, deadline=None)
@given(
    steps=st.lists(st.tuples(names, st.integers(0, 9000), st.integers(1, 255)), min_size=1, max_size=25),
    before=st.lists(names, max_size=3),
)
def test_what_is_written_is_what_others_read(tmp_path_factory, fat, size, words, steps, before) -> None:
    path = volume(tmp_path_factory.mktemp("fat"), fat, size, *words)
    held: dict[str, bytes] = {}
    for name in before:
        content = name.encode() * 100
        source = path.with_name("source")
        source.write_bytes(content)
        run("mcopy", "-o", "-i", path, source, f"::/{name}")
        held[name.lower()] = content
    ours = opened(path)
    for name, count, letter in steps:
        content = bytes([letter]) * count
        ours.write_file(name, content, AT_S)
        held[name.lower()] = content
        assert ours.read_file(name.upper()) == content
    keep(path, ours)
    run("fsck.vfat", "-n", path)
    for name, content in held.items():
        assert by_mtools(path, name) == content
        assert opened(path).read_file(name) == content
    assert opened(path).read_file("no-such-file") is None


def test_a_folder_grows_when_names_fill_its_cluster(tmp_path: Path) -> None:
    path = volume(tmp_path, 32, 36 * MIB, "-s", "1")
    ours = opened(path)
    for number in range(40):
        ours.write_file(f"a-rather-long-name-{number}.yaml", b"%d" % number, AT_S)
    keep(path, ours)
    run("fsck.vfat", "-n", path)
    assert by_mtools(path, "a-rather-long-name-39.yaml") == b"39"
    assert len(run("mdir", "-b", "-i", path, "::/").splitlines()) == 40


def test_a_full_volume_takes_nothing_and_says_so(tmp_path: Path) -> None:
    path = volume(tmp_path, 16, 12 * MIB, "-s", "4")
    ours = opened(path)
    with pytest.raises(InvalidImage, match="is full"):
        ours.write_file("large.bin", bytes(13 * MIB), AT_S)
    assert ours.read_file("large.bin") is None or ours.read_file("large.bin") == b""


def test_a_folder_or_label_of_that_name_is_no_file(tmp_path: Path) -> None:
    path = volume(tmp_path, 32, 36 * MIB, "-s", "1", "-n", "BOOT")
    run("mmd", "-i", path, "::/overlays")
    assert opened(path).read_file("overlays") is None
    assert opened(path).read_file("BOOT") is None


@pytest.mark.parametrize("content", [b"", bytes(512), b"\xff" * 510 + b"\x55\xaa", bytes(510) + b"\x55\xaa"])
def test_what_is_no_fat_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidImage, match="neither FAT16 nor FAT32"):
        FatVolume(lambda at, length: content[at : at + length], 0)


@settings(max_examples=60, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 255)), max_size=40))
def test_a_damaged_volume_ends_in_an_error_or_an_answer(tmp_path_factory, flips) -> None:
    global _GOOD
    if not _GOOD:
        path = volume(tmp_path_factory.mktemp("fat"), 32, 36 * MIB, "-s", "1")
        ours = opened(path)
        ours.write_file("config.txt", b"x" * 2000, AT_S)
        keep(path, ours)
        _GOOD = path.read_bytes()
    damaged = bytearray(_GOOD)
    for at, value in flips:
        damaged[at] = value
    try:
        fat = FatVolume(lambda at, length: bytes(damaged[at : at + length]), 0)
        fat.read_file("config.txt")
        fat.write_file("config.txt", b"y" * 3000, AT_S)
    except InvalidImage:
        return


_GOOD = b""


# -- tables ------------------------------------------------------------------------------------------------------------


def table(folder: Path, script: str) -> Path:
    path = folder / "disk.img"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    done = subprocess.run(
        ["/usr/sbin/sfdisk", "-q", path], input=script.encode(), capture_output=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stderr
    return path


def read_of(path: Path):
    content = path.read_bytes()
    return lambda at, length: content[at : at + length]


def test_both_kinds_of_table_are_read(tmp_path: Path) -> None:
    mbr = table(tmp_path, "label: dos\nstart=8192, size=16384, type=c\nstart=24576, size=32768, type=83\n")
    assert extents(read_of(mbr)) == (
        Extent(1, 8192 * 512, 16384 * 512, 0x0C),
        Extent(2, 24576 * 512, 32768 * 512, 0x83),
    )
    gpt = table(tmp_path, "label: gpt\nstart=2048, size=16384\nstart=24576, size=32768\n")
    assert extents(read_of(gpt)) == (Extent(1, MIB, 16384 * 512), Extent(2, 24576 * 512, 32768 * 512))


@pytest.mark.parametrize("content", [b"", bytes(1024), bytes(446) + b"\0\0\0\0\xee" + bytes(59) + b"\x55\xaa"])
def test_no_table_is_an_error(content: bytes) -> None:
    with pytest.raises(InvalidImage, match=r"no partition table|GPT cannot be read"):
        extents(lambda at, length: content[at : at + length].ljust(length, b"\0") if at else content[:length])
