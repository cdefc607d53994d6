"""What proving a flash costs, and what it finds."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from pathlib import Path

from hardware.errors import WrongReadBack
from hardware.flash.blockmap import scan
from hardware.flash.disk import find_disk, read_disks
from hardware.flash.refusal import refusals
from hardware.flash.target import OpenTarget
from hardware.flash.writer import Times, flash
from tests.bench.figure import Figure, Scale
from tests.hardware.test_writer import MIB, Memory, image_of
from tests.hardware.trees import machine

IMAGE_BYTES = 512 * MIB
FAULTS = 1000
TREES = 1000


async def verify(scale: Scale) -> list[Figure]:
    """The time of the read-back against that of the writing, and flipped bits."""
    ratios = await asyncio.to_thread(lambda: sorted(one.verify_s / one.write_s for one in _flashes(scale.folder)))
    found = await asyncio.to_thread(_found, scale.folder)
    says = "read-back past the cache / write and sync, 512 MiB to a file on this disk, median of 3"
    faults = f"single flipped bits found, of {FAULTS}"
    return [
        Figure("hardware.verify.faults", found, "", faults, reach=FAULTS),
        Figure("hardware.verify", ratios[1], "x", says, reach=1.5, at_most=True),
    ]


async def wrong_disk(_scale: Scale) -> list[Figure]:
    """Disks of generated machines that were judged wrongly."""
    wrong = 0
    for seed in range(TREES):
        made = machine(random.Random(seed), 2 * 10**9)
        disks = read_disks(made.text)
        for truth in made.truths:
            disk = find_disk(disks, truth.path)
            wrong += (not refusals(disk, 2 * 10**9)) is not truth.free
            wrong += (not refusals(disk, 2 * 10**9, truth.serial)) is not truth.by_serial
    says = f"disks judged wrongly, of {TREES} generated machines"
    return [Figure("hardware.wrong_disk", wrong, "", says, reach=0, at_most=True)]


def _flashes(folder: Path) -> Iterator[Times]:
    image = folder / "image"
    rng = random.Random(1)
    with image.open("wb") as made:
        for _ in range(IMAGE_BYTES // MIB):
            made.write(rng.randbytes(MIB))
    block_map = scan(image)
    for number in range(3):
        out = folder / f"disk{number}"
        with image.open("rb") as file, OpenTarget(out, None, IMAGE_BYTES) as target:
            yield flash(file, block_map, target, lambda _: None, time.perf_counter)
        out.unlink()


def _found(folder: Path) -> int:
    rng = random.Random(5)
    content = image_of(rng, 3 * MIB)
    path = folder / "small"
    path.write_bytes(content)
    block_map = scan(path)
    found = 0
    with path.open("rb") as image:
        for _ in range(FAULTS):
            one = rng.choice(block_map.ranges)
            disk = Memory(len(content), b"\0")
            disk.flip = rng.randrange(one.offset * 8, one.end * 8)
            try:
                flash(image, block_map, disk, lambda _: None, time.perf_counter)
            except WrongReadBack:
                found += not disk.looks_bootable
    return found
