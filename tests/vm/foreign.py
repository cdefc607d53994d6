"""Programs of another architecture run here as long as an image is built of them; what was changed for it is undone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardware.image.tools import can_run

BINFMT = Path("/proc/sys/fs/binfmt_misc")
RULE = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")


def missing() -> str:
    """Why programs of arm64 cannot be run here; empty: they can."""
    return "" if can_run("arm64") or RULE.exists() else "needs qemu-user-static"


@contextmanager
def arm64() -> Iterator[None]:
    """Have the kernel start qemu for programs of arm64."""
    if can_run("arm64"):
        yield
        return
    mounted = not (BINFMT / "register").exists()
    if mounted:
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT], check=True, timeout=10)
    (BINFMT / "register").write_text(RULE.read_text())
    try:
        yield
    finally:
        (BINFMT / "qemu-aarch64").write_text("-1")
        if mounted:
            subprocess.run(["umount", BINFMT], check=True, timeout=10)
