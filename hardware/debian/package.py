"""Makes the Debian package: without root, without running anything of its architecture, the same bytes each time."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from hardware.debian import release as releases
from hardware.debian.files import NAME, control_files, debian_version, package_files
from hardware.errors import BuildFailed
from hardware.image import rootfs, wheels
from hardware.image.build import Steps, Told, Workshop, check_release
from hardware.image.files import SystemFile
from hardware.image.tools import Tools

EXAMPLE: Final = "docs/examples/edgetwin.yaml"
_LEVEL: Final = "12"
"""Of zstd: a tenth larger than xz makes it, in a twentieth of its time; Debian 12 reads it."""


def make(arch: str, release: str, shop: Workshop, told: Told, clock: Callable[[], float] = time.monotonic) -> Path:
    """Make a package. Raises BuildFailed; a package that was there before stands then."""
    check_release(release)
    step = Steps(told, clock)
    house = shop.cache / f"wheels-{arch}"
    with (
        shop.taken(f"{NAME}-{arch}", told) as tools,
        tempfile.TemporaryDirectory(prefix=".deb-", dir=shop.out) as folder,
    ):
        step("wheels")
        wheels.fetch(tools, shop.tree, arch, house)
        root = Path(folder, "root")
        step("release")
        stage(tools, house, arch, release, shop.tree, root)
        step("package")
        made = Path(folder, "made.deb")
        pack(tools, root, arch, release, shop.epoch_s, made)
        out = shop.out / f"{NAME}_{debian_version(release)}_{arch}.deb"
        made.replace(out)
        return out


def stage(tools: Tools, house: Path, arch: str, release: str, tree: Path, root: Path) -> None:
    """Lay out all that the package installs, in a folder that stands for /. Raises BuildFailed."""
    example = tree / EXAMPLE
    try:
        settings = example.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{example} cannot be read: {error.strerror}"
        raise BuildFailed(message, remedy="Build from a checkout of edgetwin, not from an installed package.") from None
    put(root, package_files(settings))
    releases.lay_out(tools, house, arch, release, root / releases.folder_of(release)[1:])


def pack(tools: Tools, root: Path, arch: str, release: str, epoch_s: int, out: Path) -> None:
    """Make the package of a folder that stands for /. Raises BuildFailed."""
    sizes = [one.lstat().st_size for one in root.rglob("*") if one.is_file() and not one.is_symlink()]
    control = [*control_files(release, arch, sum(-(-size // 1024) for size in sizes)), _sums(root)]
    put(root / "DEBIAN", control)
    _plain_modes(root)
    rootfs.at_one_time(root, epoch_s)
    tools.run("dpkg-deb", "--root-owner-group", "-Zzstd", f"-z{_LEVEL}", "--threads-max=1", "--build", root, out)


def put(root: Path, files: Iterable[SystemFile]) -> None:
    """Write files into a folder that stands for /."""
    for file in files:
        path = root / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text, encoding="utf-8")
        path.chmod(file.mode)


def _sums(root: Path) -> SystemFile:
    """As `dpkg --verify` reads it; not of settings, which are the user's."""
    found = sorted(one for one in root.rglob("*") if one.is_file() and not one.is_symlink())
    names = [(one, str(one.relative_to(root))) for one in found]
    lines = [
        f"{hashlib.md5(one.read_bytes(), usedforsecurity=False).hexdigest()}  {name}\n"
        for one, name in names
        if not name.startswith("etc/")
    ]
    return SystemFile("md5sums", "".join(lines))


def _plain_modes(root: Path) -> None:
    """Whoever builds has a umask of their own."""
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    root.chmod(0o755)
