"""Runs the programs that a build needs: what they say goes to the build's log, what is missing is told."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from hardware.errors import BuildFailed

PACKAGES: Final = {
    "mmdebstrap": "mmdebstrap",
    "mkfs.ext4": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "dumpe2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "mmd": "mtools",
    "sfdisk": "fdisk",
    "grub-mkimage": "grub-common",
    "tar": "tar",
    "rauc": "rauc",
    "mksquashfs": "squashfs-tools",
}
IMAGE: Final = tuple(PACKAGES)[:-2]
"""What the image itself needs; the rest is for bundles."""
_PATH: Final = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


def can_run(arch: str, proc: Path = Path("/proc")) -> bool:
    """Whether this machine runs programs of an architecture (Debian's name): its own, or those it emulates."""
    machine = _MACHINES.get(arch, arch)
    return machine == platform.machine() or (proc / "sys/fs/binfmt_misc" / f"qemu-{machine}").exists()


class Tools:
    """Runs programs for one build; all that they say is in ``log``."""

    def __init__(self, log: Path, epoch_s: int) -> None:
        self._log = log
        self._environment = {
            **{key: value for key, value in os.environ.items() if "proxy" in key.lower() or key.startswith("PIP_")},
            "PATH": _PATH,
            "HOME": os.environ.get("HOME", "/root"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "SOURCE_DATE_EPOCH": str(epoch_s),
            "E2FSPROGS_FAKE_TIME": str(epoch_s),
        }

    def missing(self, names: Iterable[str] = IMAGE) -> list[str]:
        """Debian's packages of those programs that are not here."""
        return sorted({PACKAGES[name] for name in names if shutil.which(name, path=_PATH) is None})

    def run(self, *command: str | Path, stdin: bytes | None = None, more: Mapping[str, str] | None = None) -> bytes:
        """Run a program and return what it prints. Raises BuildFailed with its last words."""
        words: Sequence[str] = [str(word) for word in command]
        with self._log.open("ab") as log:
            log.write(f"$ {' '.join(words)}\n".encode())
            log.flush()
            try:
                done = subprocess.run(
                    words,
                    input=stdin,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={**self._environment, **(more or {})},
                    check=False,
                )
            except OSError as error:
                message = f"{words[0]} cannot be run: {error.strerror}"
                raise BuildFailed(
                    message, remedy=f"Install it: apt-get install {PACKAGES.get(words[0], words[0])}"
                ) from None
        if done.returncode != 0:
            last = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
            message = f"{Path(words[0]).name} failed: {' / '.join(last)}"
            raise BuildFailed(message, remedy=f"All it said: {self._log}")
        return done.stdout
