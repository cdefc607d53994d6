"""What a flash would do, worked out before anything is written; the same whether it is a dry run or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hardware.errors import DiskRefused, NoSuchDisk
from hardware.flash.blockmap import BlockMap
from hardware.flash.disk import Disk, find_disk
from hardware.flash.refusal import refusals


@dataclass(frozen=True, slots=True)
class FlashPlan:
    """An image, and where it goes; ``disk`` None: a file, made for a virtual machine."""

    image: Path
    target: Path
    block_map: BlockMap
    disk: Disk | None


def plan(
    image: Path,
    block_map: BlockMap,
    to: Path,
    serial: str,
    disks: Callable[[], tuple[Disk, ...]],
    *,
    overwrite: bool = False,
) -> FlashPlan:
    """Work out a flash; ``overwrite`` is of a file only. Raises NoSuchDisk, or DiskRefused with every reason."""
    if not to.exists():
        if str(to).startswith("/dev/"):
            find_disk(disks(), str(to))  # which says what disks there are
        if not to.parent.is_dir():
            message = f"the folder {to.parent} is not there"
            raise NoSuchDisk(message, remedy="Name a disk, or a file to make.")
        return FlashPlan(image, to, block_map, None)
    if to.is_file():
        if to.samefile(image):
            message = f"{to} is the image itself"
            raise DiskRefused(message, remedy="Name another file, or a disk.")
        if not overwrite:
            message = f"{to} is there already"
            raise DiskRefused(message, remedy="Name another file, or add --overwrite.")
        return FlashPlan(image, to, block_map, None)
    disk = find_disk(disks(), str(to))
    if found := refusals(disk, block_map.image_bytes, serial):
        why = "; ".join(one.message for one in found)
        message = f"{disk.path} is not written: {why}"
        raise DiskRefused(message, remedy=" ".join(dict.fromkeys(one.remedy for one in found)))
    if serial and serial != disk.serial:
        message = f"{disk.path} has the serial number {disk.serial or '(none)'}, not {serial}"
        raise DiskRefused(message, remedy="Look which disk you mean: edgetwin hardware disks")
    return FlashPlan(image, Path(disk.path), block_map, disk)
