"""Builds the image of a board, step by step; what is there and still right is not made again."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hardware.board import BoardProfile, Boot, PartitionRole
from hardware.errors import BuildFailed
from hardware.flash import blockmap
from hardware.image import partitions, rootfs, wheels
from hardware.image.files import system_files
from hardware.image.keep import Built, Made, keep, kept
from hardware.image.manifest import TakesProvisioning, components_of
from hardware.image.spec import ImageSpec
from hardware.image.tools import Tools, can_run
from hardware.image.trim import is_spared
from hardware.provision.file import FILE_NAME, VERSIONS

Told = Callable[[str, float], None]
"""What is being done now, and how long the step before took, in seconds."""
_RELEASE: Final = re.compile(r"[0-9]+(\.[0-9]+){1,3}((a|b|rc)[0-9]+)?(\.post[0-9]+)?(\.dev[0-9]+)?")
"""As Python's distributions are numbered, for the program in the image has this name too."""
SOURCES: Final = Path("/etc/apt/sources.list.d")


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where a build takes from and puts to. ``tree``: the checkout; ``cache`` may be removed at any time."""

    tree: Path
    cache: Path
    out: Path
    epoch_s: int

    @contextmanager
    def taken(self, name: str, told: Told) -> Iterator[Tools]:
        """Have it to oneself for what is built under this name; another build with this cache is waited for."""
        self.out.mkdir(parents=True, exist_ok=True)
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / "lock").open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                told("waiting for another build", 0.0)
                fcntl.flock(lock, fcntl.LOCK_EX)
            log = self.out / f"{name}.build.log"
            log.write_bytes(b"")
            yield Tools(log, self.epoch_s)


def build(
    board: BoardProfile, release: str, shop: Workshop, told: Told, keyring: str = "", *, reuse: bool = False
) -> Built:
    """Build an image. Raises BuildFailed; an image that was there before stands then.

    ``reuse``: an image that is there and was made of the same is taken, which needs no root.
    """
    _check(board)
    check_release(release)
    if not reuse:
        _check_root()
    with shop.taken(board.name, told) as tools:
        return _built(board, release, shop, tools, told, keyring, reuse=reuse)


def _built(
    board: BoardProfile, release: str, shop: Workshop, tools: Tools, told: Told, keyring: str, *, reuse: bool
) -> Built:
    if missing := tools.missing():
        message = f"programs are missing that a build needs, of {', '.join(missing)}"
        raise BuildFailed(message, remedy=f"As root: apt-get install {' '.join(missing)}")
    step = Steps(told)
    step("wheels")
    house = shop.cache / f"wheels-{board.arch}"
    spec = ImageSpec(board, release, shop.epoch_s, wheels.fetch(tools, shop.tree, board.arch, house), keyring)
    if reuse:
        if there := kept(spec, shop.out):
            return there
        _check_root()
    step("packages")
    sources = sorted([*SOURCES.glob("*.sources"), *SOURCES.glob("*.list")])
    tar = rootfs.debian(tools, spec, shop.cache, sources)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=shop.out) as folder:
        work = Path(folder)
        root = work / "root"
        step("root file system")
        rootfs.unpacked(tools, tar, system_files(spec), root)
        wheels.lay_out_sparingly(tools, house, board.arch, root / "opt/edgetwin/lib", shop.cache)
        wheels.name_release(root / "opt/edgetwin/lib", release)
        components = components_of(root, (one for one in wheels.wheels_of(house) if not is_spared(one)))
        rootfs.at_one_time(root, shop.epoch_s)
        step("partitions")
        grub = rootfs.loader(tools, spec, shop.cache, sources, work / "loader")
        parts = _partitions(tools, spec, root, grub, work)
        step("image")
        image = work / f"{board.name}.img"
        partitions.join(tools, spec, parts, image)
        step("block map")
        made = blockmap.scan(image)
        return keep(spec, Made(image, made, _takes(board), components), shop.out)


def check_release(release: str) -> None:
    """Raise BuildFailed if that is no name of a release: it names files and folders, and releases have an order."""
    if _RELEASE.fullmatch(release) is None:
        message = f"{release!r} is no name of a release"
        raise BuildFailed(message, remedy="Write one such as 1.4.2 or 1.5.0rc1.")


class Steps:
    """Tells each step as it begins, and how long the one before took."""

    def __init__(self, told: Told, clock: Callable[[], float] = time.monotonic) -> None:
        self._told = told
        self._clock = clock
        self._since = clock()

    def __call__(self, name: str) -> None:
        now = self._clock()
        self._told(name, now - self._since)
        self._since = now


def _check(board: BoardProfile) -> None:
    if board.cannot_build:
        message = f"no image can be built for {board.name}: {board.cannot_build}"
        raise BuildFailed(message, remedy="Its profile can be used with an image that you make yourself.")
    if board.image == "vendor":
        message = f"the image of {board.name} is made of its vendor's"
        remedy = f"Fetch that, then: edgetwin hardware build {board.name} --from-image VENDOR.img.xz"
        raise BuildFailed(message, remedy=remedy)
    if board.boot is not Boot.UEFI_GRUB:
        message = f"{board.name} is not built from packages yet, it boots by {board.boot}"
        raise BuildFailed(message, remedy="Boards that boot by uefi-grub are: see `edgetwin hardware boards`.")
    if not can_run(board.arch):
        message = f"programs of {board.arch} cannot be run here, and a build runs those of the board's packages"
        remedy = "As root: apt-get install qemu-user-static arch-test; in a container, do so on its host."
        raise BuildFailed(message, remedy=remedy)


def _check_root() -> None:
    if os.geteuid() != 0:
        message = "the files of an image belong to several users, which only root can make"
        raise BuildFailed(message, remedy="Run the command as root, or with sudo.")


def _partitions(tools: Tools, spec: ImageSpec, root: Path, grub: Path, work: Path) -> dict[str, Path]:
    """Only the first root slot is filled; the second waits for an update."""
    parts: dict[str, Path] = {}
    first = True
    for one in spec.board.partitions:
        out = work / f"{one.name}.part"
        match one.role:
            case PartitionRole.BOOT:
                partitions.make_boot(tools, spec, grub, one.size_bytes, work, out)
            case PartitionRole.ROOT if first:
                partitions.make_ext4(tools, spec, one.name, one.size_bytes, root, out)
                first = False
            case PartitionRole.DATA:
                partitions.make_ext4(tools, spec, one.name, one.size_bytes, None, out)
            case _:
                continue
        parts[one.name] = out
    return parts


def _takes(board: BoardProfile) -> TakesProvisioning:
    number = [one.role for one in board.partitions].index(PartitionRole.BOOT) + 1
    return TakesProvisioning(versions=VERSIONS, partition=number, file=FILE_NAME)
