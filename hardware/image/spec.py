"""What an image is made from; two images from equal specs are equal."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Final

from hardware.board import BoardProfile, Boot

SUITE: Final = "bookworm"
VARIANT: Final = "essential"
"""No apt: the root is read-only, and a new system comes as a whole."""
BASE: Final = (
    *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "procps", "util-linux", "fdisk", "e2fsprogs", "dosfstools"),
    *(
        "initramfs-tools",
        "zstd",
        "mosquitto",
        "python3",
        "nftables",
        "systemd-timesyncd",
        "systemd-resolved",
        "iproute2",
        "wpasupplicant",
    ),
    *("ca-certificates", "tzdata", "mount", "login", "passwd", "adduser"),
    "usr-is-merged",  # instead of usrmerge, which brings all of Perl
)
_BOOT: Final = {Boot.UEFI_GRUB: ("rauc", "rauc-service")}
_NAMESPACE: Final = uuid.UUID("8a0d4a5e-5f0b-4d3c-9d0c-6d6a1f6f2f10")


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One image to be built. ``epoch_s``: the one time that all files bear, seconds since 1970."""

    board: BoardProfile
    release: str
    epoch_s: int
    wheels: str
    """Hash of the lock file of the wheels, and of our own wheel."""
    keyring: str = ""
    """Certificates, PEM, of those whose updates are taken; empty: of nobody."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian's packages, each once."""
        own = _BOOT.get(self.board.boot, ())
        bluetooth = () if self.board.bluetooth == "none" else ("bluez",)
        return tuple(sorted({*BASE, *own, *bluetooth, *self.board.packages} - set(self.loader_packages)))

    @property
    def loader_packages(self) -> tuple[str, ...]:
        """Those of which the boot partition is made; the system itself has no use for them."""
        return tuple(name for name in self.board.packages if name.startswith("grub-efi"))

    @property
    def root_key(self) -> str:
        """Names the root file system before our own files: what of it is kept need not be made again."""
        said = [SUITE, VARIANT, self.board.arch, self.packages, self.epoch_s]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    def inputs(self, base_sha256: str = "") -> str:
        """Names all that an image is made of: one of the same name need not be made again."""
        board = self.board.model_dump_json()
        said = [board, self.release, self.wheels, self.keyring, self.root_key, base_sha256]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def uuid(self, what: str) -> uuid.UUID:
        """An id of a disk, partition or file system that is the same in each build."""
        return uuid.uuid5(_NAMESPACE, f"{self.board.name} {what}")
