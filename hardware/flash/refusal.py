"""Which disks must not be written, and why. Pure.

The first six can be lifted by nothing. The last two are for the disks of other people's machines: whoever means such a
disk types its serial number, each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hardware.flash.disk import Disk

CEILING_BYTES: Final = 256 * 10**9
"""A disk beyond this is more likely somebody's store than a gateway's card."""
SYSTEM_MOUNTS: Final = ("/", "/boot", "/boot/efi", "/boot/firmware", "/efi", "/usr", "/var", "/home", "[SWAP]")
_MEMBERS: Final = ("LVM2_member", "linux_raid_member", "zfs_member", "crypto_LUKS", "bcache", "ddf_raid_member")
_WHOLE: Final = ("disk", "loop")


class Why(StrEnum):
    """The classes of disks that are refused."""

    SYSTEM = "system"
    IN_USE = "in_use"
    MEMBER = "member"
    READ_ONLY = "read_only"
    TOO_SMALL = "too_small"
    NOT_WHOLE = "not_whole"
    FIXED = "fixed"
    LARGE = "large"


BY_SERIAL: Final = (Why.FIXED, Why.LARGE)
"""What an exception by serial number lifts."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a disk is not written, and what to do about it."""

    why: Why
    message: str
    remedy: str


def refusals(disk: Disk, image_bytes: int, exception: str = "") -> tuple[Refusal, ...]:
    """Every reason not to write an image of this size to a disk; ``exception`` is the serial number that was typed."""
    excepted = bool(exception) and exception == disk.serial
    return tuple(one for one in _reasons(disk, image_bytes) if not (excepted and one.why in BY_SERIAL))


def _reasons(disk: Disk, image_bytes: int) -> Iterator[Refusal]:
    mounts = [(one, mount) for one in disk.tree() for mount in one.mounts]
    if system := [mount for _, mount in mounts if mount in SYSTEM_MOUNTS]:
        yield Refusal(Why.SYSTEM, f"it carries {system[0]} of this machine", "Choose another disk.")
    elif mounts:
        one, mount = mounts[0]
        yield Refusal(Why.IN_USE, f"{one.path} is mounted on {mount}", f"Look what is on it, then: umount {one.path}")
    if member := next((one for one in disk.tree() if one.filesystem in _MEMBERS), None):
        yield Refusal(
            Why.MEMBER,
            f"{member.path} is part of something larger ({member.filesystem})",
            "Take it out of that volume, array or encryption first.",
        )
    elif held := next(
        (one for child in disk.tree() for one in child.children if one.type not in ("part", "rom")), None
    ):
        yield Refusal(Why.MEMBER, f"{held.path} ({held.type}) stands on it", "Take that apart first.")
    if disk.read_only:
        yield Refusal(Why.READ_ONLY, "it is read-only", "Move the switch of the card or its adapter.")
    if disk.size_bytes < image_bytes:
        yield Refusal(
            Why.TOO_SMALL,
            f"it has {size_text(disk.size_bytes)}, the image {size_text(image_bytes)}",
            "Choose a larger disk.",
        )
    if disk.type not in _WHOLE:
        yield Refusal(Why.NOT_WHOLE, f"it is no whole disk ({disk.type})", "Name the disk, not a part of it.")
    how = (
        f"Mean it? Then add --serial {disk.serial}" if disk.serial else "It has no serial number, so it stays refused."
    )
    if not disk.removable:
        yield Refusal(Why.FIXED, "it is built in, not a card or stick", how)
    if disk.size_bytes > CEILING_BYTES:
        yield Refusal(Why.LARGE, f"it is larger than {size_text(CEILING_BYTES)}", how)


def size_text(count: int) -> str:
    """Bytes as disks are sold: powers of ten."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"
