"""What RAUC needs in an image: which slots there are, whose updates are taken, how the boot loader is told. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hardware import grubenv
from hardware.board import PartitionRole
from hardware.image.deadman import dead_man_files
from hardware.image.grub import SLOTS
from hardware.image.spec import ImageSpec

KEYRING: Final = "etc/rauc/keyring.pem"
GRUBENV: Final = "/boot/esp/EFI/edgetwin/grubenv"
TOOL: Final = "usr/local/sbin/grub-editenv"
"""Where RAUC finds it before GRUB's own, if that should ever be there."""


def rauc_files(spec: ImageSpec) -> Iterator[tuple[str, str, int]]:
    """Path, text and mode of each file. Without a keyring there are no updates: no key is trusted by default."""
    yield TOOL, grubenv.TOOL, 0o755
    yield from dead_man_files(GRUBENV, f"/{TOOL}")
    if spec.keyring:
        yield "etc/rauc/system.conf", system_conf(spec), 0o644
        yield KEYRING, spec.keyring, 0o644


def system_conf(spec: ImageSpec) -> str:
    """RAUC's configuration. Its own state lies on data: the roots are read-only.

    What is installed does not boot next until somebody says so: the updater first remembers what it is about to try.
    """
    lines = [
        "[system]",
        f"compatible={spec.board.update_string}",
        "bootloader=grub",
        f"grubenv={GRUBENV}",
        "mountprefix=/run/rauc",
        "statusfile=/data/rauc.status",
        "bundle-formats=verity",
        "activate-installed=false",
        "",
        "[keyring]",
        f"path=/{KEYRING}",
    ]
    roots = [one.name for one in spec.board.partitions if one.role is PartitionRole.ROOT]
    for number, (bootname, part) in enumerate(zip(SLOTS, roots, strict=True)):
        device = f"/dev/disk/by-partuuid/{spec.uuid(part)}"
        lines += ["", f"[slot.rootfs.{number}]", f"device={device}", "type=ext4", f"bootname={bootname}"]
    return "\n".join([*lines, ""])
