"""Images onto disks: what is written is proven, what fails leaves nothing that looks bootable."""

from __future__ import annotations

import errno
import io
import os
import random
from pathlib import Path

import pytest

from hardware.errors import FlashFailed, InvalidImage, WrongReadBack
from hardware.flash.blockmap import RANGE_BYTES, TABLE_BYTES, BlockMap, Range, load, map_path, scan
from hardware.flash.target import OpenTarget
from hardware.flash.writer import Progress, Stage, flash

MIB = 2**20


class Memory:
    """A disk in memory that can be told to go wrong."""

    def __init__(self, size: int, fill: bytes = b"\xa5") -> None:
        self.size_bytes = size
        self.held = bytearray(fill * size)
        self.writes: list[tuple[int, int]] = []
        self.flip: int | None = None
        """A bit that the medium does not keep."""
        self.fails_at: int | None = None
        self.room: int | None = None
        """Offsets beyond this wrap around: a card that has less than it says."""
        self.synced = 0

    def write(self, offset: int, piece: bytes) -> None:
        if self.fails_at is not None and len(self.writes) >= self.fails_at:
            raise OSError(errno.EIO, "Input/output error")
        self.writes.append((offset, len(piece)))
        at = offset % self.room if self.room else offset
        self.held[at : at + len(piece)] = piece

    def sync(self) -> None:
        self.synced = len(self.writes)

    def read_back(self, offset: int, length: int) -> bytes:
        assert self.synced == len(self.writes), "read back before it was synced"
        if self.flip is not None and offset <= self.flip // 8 < offset + length:
            self.held[self.flip // 8] ^= 1 << self.flip % 8
            self.flip = None
        at = offset % self.room if self.room else offset
        return bytes(self.held[at : at + length])

    def reread_table(self) -> None: ...

    @property
    def looks_bootable(self) -> bool:
        ends = (self.held[:TABLE_BYTES], self.held[-TABLE_BYTES:])
        return any(any(end) for end in ends)


def image_of(rng: random.Random, size: int, holes: float = 0.3) -> bytes:
    made = bytearray(size)
    for at in range(0, size, 64 * 1024):
        if rng.random() > holes or at in (0, size - 64 * 1024):
            made[at : at + 64 * 1024] = rng.randbytes(min(64 * 1024, size - at))
    return bytes(made)


def mapped(folder: Path, content: bytes) -> tuple[io.BufferedReader, BlockMap]:
    path = folder / "image"
    path.write_bytes(content)
    return path.open("rb"), scan(path)


def run(image: io.BufferedReader, block_map: BlockMap, target, told=lambda _: None):
    return flash(image, block_map, target, told, iter(range(10)).__next__)


@pytest.mark.parametrize("extra", [0, 512, 5 * MIB])
def test_the_disk_holds_the_image_afterwards(tmp_path, extra: int) -> None:
    content = image_of(random.Random(1), 24 * MIB)
    image, block_map = mapped(tmp_path, content)
    disk = Memory(len(content) + extra)
    with image:
        run(image, block_map, disk)
    for one in block_map.ranges:
        assert disk.held[one.offset : one.end] == content[one.offset : one.end]


def test_the_old_table_goes_first_and_the_new_one_comes_last(tmp_path) -> None:
    content = image_of(random.Random(2), 24 * MIB, holes=0)
    image, block_map = mapped(tmp_path, content)
    disk = Memory(32 * MIB)
    with image:
        run(image, block_map, disk)
    assert disk.writes[:2] == [(0, MIB), (31 * MIB, MIB)]
    at_ends = [offset < MIB or offset + length > 23 * MIB for offset, length in disk.writes[2:]]
    assert at_ends == sorted(at_ends)
    assert any(at_ends)


@pytest.mark.parametrize("fails_at", range(10))
def test_a_disk_that_fails_on_the_way_never_looks_bootable(tmp_path, fails_at: int) -> None:
    image, block_map = mapped(tmp_path, image_of(random.Random(3), 24 * MIB, holes=0))
    disk = Memory(24 * MIB)
    disk.fails_at = fails_at
    with image, pytest.raises(FlashFailed, match="the disk failed at byte"):
        run(image, block_map, disk)
    if len(disk.writes) >= 2:  # before that, the disk has taken nothing
        of_image = sum(length for _, length in disk.writes[2:])
        whole = block_map.mapped_bytes
        assert of_image < whole
        assert not disk.looks_bootable or of_image > whole - 2 * TABLE_BYTES


def test_an_interrupt_while_the_body_is_written_leaves_no_table(tmp_path) -> None:
    image, block_map = mapped(tmp_path, image_of(random.Random(4), 24 * MIB, holes=0))
    disk = Memory(24 * MIB)

    def told(progress: Progress) -> None:
        if progress.stage is Stage.VERIFY:
            raise KeyboardInterrupt

    with image, pytest.raises(KeyboardInterrupt):
        run(image, block_map, disk, told)
    assert not disk.looks_bootable


@pytest.mark.fast
def test_each_of_a_thousand_flipped_bits_is_found_and_leaves_no_table(tmp_path) -> None:
    rng = random.Random(5)
    content = image_of(rng, 3 * MIB)
    image, block_map = mapped(tmp_path, content)
    found = 0
    with image:
        for _ in range(1000):
            one = rng.choice(block_map.ranges)
            disk = Memory(len(content), b"\0")
            disk.flip = rng.randrange(one.offset * 8, one.end * 8)
            with pytest.raises(WrongReadBack, match="is not what was written"):
                run(image, block_map, disk)
            assert not disk.looks_bootable
            found += 1
    assert found == 1000


def test_a_card_that_has_less_room_than_it_says_is_found(tmp_path) -> None:
    image, block_map = mapped(tmp_path, image_of(random.Random(6), 24 * MIB, holes=0))
    disk = Memory(24 * MIB)
    disk.room = 16 * MIB
    with image, pytest.raises(WrongReadBack):
        run(image, block_map, disk)


def test_an_image_that_is_not_what_its_map_says_is_not_made_bootable(tmp_path) -> None:
    content = bytearray(image_of(random.Random(7), 24 * MIB, holes=0))
    image, block_map = mapped(tmp_path, bytes(content))
    image.close()
    content[12 * MIB] ^= 1
    (tmp_path / "image").write_bytes(content)
    disk = Memory(24 * MIB)
    with (
        (tmp_path / "image").open("rb") as changed,
        pytest.raises(InvalidImage, match="at byte 9437184"),
    ):
        run(changed, block_map, disk)
    assert not disk.looks_bootable


def test_progress_rises_to_the_whole_in_every_stage(tmp_path) -> None:
    image, block_map = mapped(tmp_path, image_of(random.Random(8), 24 * MIB))
    heard: dict[Stage, list[Progress]] = {}
    with image:
        run(image, block_map, Memory(24 * MIB), lambda one: heard.setdefault(one.stage, []).append(one))
    for stage in (Stage.WRITE, Stage.VERIFY, Stage.TABLE):
        done = [one.done_bytes for one in heard[stage]]
        assert done[-1] == heard[stage][-1].of_bytes
        assert stage is Stage.TABLE or done == sorted(done)


# -- block maps --------------------------------------------------------------------------------------------------------


def test_zeros_and_holes_are_not_mapped(tmp_path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
        file.seek(8 * MIB)
        file.write(b"x" * 5000)
        file.seek(40 * MIB)
        file.write(bytes(4 * MIB))
    found = scan(path)
    assert found.image_bytes == 64 * MIB
    assert found.mapped_bytes <= RANGE_BYTES
    assert any(one.offset <= 8 * MIB < one.end for one in found.ranges)


def test_a_map_beside_its_image_is_used_and_one_of_another_refused(tmp_path) -> None:
    path = tmp_path / "image"
    path.write_bytes(image_of(random.Random(9), 2 * MIB))
    assert load(path) is None
    made = scan(path)
    map_path(path).write_text(made.model_dump_json())
    assert load(path) == made
    path.write_bytes(image_of(random.Random(9), 3 * MIB))
    with pytest.raises(InvalidImage, match="is of an image of"):
        load(path)
    map_path(path).write_text("{")
    with pytest.raises(InvalidImage, match="cannot be used"):
        load(path)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\x1f\x8b\x08\0", "gunzip"),
        (b"\xfd7zXZ\x00", "unxz"),
        (b"\x28\xb5\x2f\xfd", "unzstd"),
        (b"PK\x03\x04", "unzip"),
    ],
)
def test_a_compressed_image_is_refused_with_the_way_to_unpack_it(tmp_path, head: bytes, said: str) -> None:
    path = tmp_path / "image"
    path.write_bytes(head + bytes(4096 - len(head)))
    with pytest.raises(InvalidImage, match=said):
        scan(path)


def test_images_that_are_none_are_refused(tmp_path) -> None:
    for name, content in (("empty", b""), ("cut", b"x" * 1000), ("zeros", bytes(4096))):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InvalidImage):
            scan(path)
    with pytest.raises(InvalidImage, match="cannot be read"):
        scan(tmp_path / "none")


@pytest.mark.fast
def test_ranges_that_overlap_or_lie_outside_are_no_map() -> None:
    whole = {"length": 4096, "sha256": "0" * 64}
    for offsets in ((0, 0), (4096, 0), (8192,)):
        with pytest.raises(ValueError, match="overlaps another, or lies outside"):
            BlockMap(image_bytes=8192, ranges=tuple(Range(offset=one, **whole) for one in offsets))


# -- a file as the target ----------------------------------------------------------------------------------------------


def test_a_file_is_written_and_read_back_past_the_cache(tmp_path) -> None:
    content = image_of(random.Random(10), 24 * MIB)
    image, block_map = mapped(tmp_path, content)
    out = tmp_path / "disk"
    with image, OpenTarget(out, None, len(content)) as target:
        run(image, block_map, target)
        direct = target.past_cache
    assert out.read_bytes() == content
    try:
        os.close(os.open(out, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        assert not direct
    else:
        assert direct
