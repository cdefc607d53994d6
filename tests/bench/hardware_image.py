"""What an image costs to build, and how large its update is. As root, with mmdebstrap, rauc and squashfs-tools."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from hardware.boards import board
from hardware.image.build import Workshop, build
from hardware.image.bundle import make_bundle
from hardware.image.cli import TREE
from tests.bench.figure import Figure, Scale
from tests.vm.releases import signer

BOARD = "qemu-x86-64"
EPOCH_S = 1_700_000_000


async def figures(scale: Scale) -> list[Figure]:
    """Seconds of a build from nothing and of one after it, and megabytes of the bundle."""
    if not scale.long:
        return []
    if os.geteuid() != 0:
        message = "images are built by root"
        raise RuntimeError(message)
    return await asyncio.to_thread(_measured, scale.folder)


def _measured(folder: Path) -> list[Figure]:
    shop = Workshop(TREE, folder / "cache", folder / "out", EPOCH_S)
    cold_s, _ = _built(shop)
    os.sync()  # a later build does not wait for the disk to take the first
    warm_s, image = _built(shop)
    made = make_bundle(image, signer(folder), folder / "out.raucb")
    return [
        Figure("hardware.build.warm", warm_s, "s", "packages and wheels from the cache", reach=20, at_most=True),
        Figure("hardware.build", cold_s, "s", "an image, packages fetched through apt", reach=120, at_most=True),
        Figure("hardware.bundle", made.size_bytes / 1e6, "MB", "signed bundle of an image", reach=100, at_most=True),
    ]


def _built(shop: Workshop) -> tuple[float, Path]:
    began_s = time.monotonic()
    image = build(board(BOARD), "1.0.0", shop, lambda *_: None).image
    return time.monotonic() - began_s, image
