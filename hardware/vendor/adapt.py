"""Adapts a vendor's image, step by step; the vendor's own file stays as it is."""

from __future__ import annotations

import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from hardware.board import BoardProfile
from hardware.debian.files import UNITS
from hardware.debian.package import put, stage
from hardware.debian.release import CURRENT, PROVEN
from hardware.errors import BuildFailed, InvalidImage
from hardware.flash import blockmap
from hardware.flash.blockmap import BLOCK_BYTES
from hardware.image import wheels
from hardware.image.build import SOURCES, Steps, Told, Workshop, check_release
from hardware.image.keep import Built, Made, keep, kept, sha256_of
from hardware.image.manifest import TakesProvisioning, components
from hardware.image.spec import ImageSpec
from hardware.image.tools import Tools
from hardware.image.units import STATE, UPDATE
from hardware.media.fat import FatVolume
from hardware.media.table import FAT_TYPES, LINUX_TYPE, SECTOR_BYTES, Extent, extents
from hardware.provision.file import FILE_NAME, VERSIONS
from hardware.vendor import files as vendor
from hardware.vendor.ext4 import Placed, RootFs
from hardware.vendor.packages import check_python, fetch_missing, installed
from hardware.vendor.unpack import unpack

Fetch = Callable[[Tools, Path, str, Path], str]
"""Fills a wheelhouse for an architecture from a tree, and names what is in it."""
_MIB: Final = 2**20
PROGRAMS: Final = ("e2fsck", "resize2fs", "debugfs", "dumpe2fs")
_STEP_BYTES: Final = 4 * _MIB
_SPARE_BYTES: Final = 128 * _MIB
"""What the root has left at least: until its own first start it may be as small as the vendor could make it."""
_SPARE_FILES: Final = 1000


def adapt(
    board: BoardProfile,
    source: Path,
    release: str,
    shop: Workshop,
    told: Told,
    fetch: Fetch = wheels.fetch,
    *,
    reuse: bool = False,
) -> Built:
    """Make the image of a gateway of a vendor's image. Raises BuildFailed or InvalidImage; an older result stands.

    ``reuse``: an image that is there and was made of the same is taken.
    """
    if board.image != "vendor":
        message = f"{board.name} is built from packages, not from a vendor's image"
        raise BuildFailed(message, remedy=f"Leave --from-image out: edgetwin hardware build {board.name}")
    check_release(release)
    with shop.taken(board.name, told) as tools:
        return _adapted(board, source, release, shop, tools, told, fetch, reuse=reuse)


def _adapted(
    board: BoardProfile,
    source: Path,
    release: str,
    shop: Workshop,
    tools: Tools,
    told: Told,
    fetch: Fetch,
    *,
    reuse: bool,
) -> Built:
    if missing := tools.missing(PROGRAMS):
        message = f"programs are missing that work on file systems, of {', '.join(missing)}"
        raise BuildFailed(message, remedy=f"As root: apt-get install {' '.join(missing)}")
    step = Steps(told, time.monotonic)
    step("wheels")
    house = shop.cache / f"wheels-{board.arch}"
    spec = ImageSpec(board, release, shop.epoch_s, fetch(tools, shop.tree, board.arch, house))
    base = _sha256_of(source)
    if reuse and (there := kept(spec, shop.out, base)):
        return there
    with tempfile.TemporaryDirectory(prefix=".build-", dir=shop.out) as folder:
        work = Path(folder)
        step("unpack")
        image = work / f"{board.name}.img"
        unpack(source, image)
        boot, root = _layout(image)
        part = work / "root.part"
        _copy(image, root.offset, root.length, part)
        fs = RootFs(tools, part)
        fs.check()
        step("packages")
        status = _needed(fs, "/var/lib/dpkg/status")
        debs = _packages(tools, status, board, shop)
        step("release")
        mount = vendor.boot_folder(_needed(fs, "/etc/fstab"))
        tree = work / "tree"
        stage(tools, house, board.arch, release, shop.tree, tree)
        put(tree, vendor.vendor_files(board, release, mount))
        step("root file system")
        placed = [*_placed(tree), *_links(release), *_deb_files(debs), *_user(fs, work)]
        _make_room(fs, placed)
        fs.place(placed)
        fs.check()
        step("image")
        _join(image, root, part)
        _boot_files(image, boot, board, shop.epoch_s)
        step("block map")
        takes = TakesProvisioning(versions=VERSIONS, partition=boot.number, file=FILE_NAME)
        parts = components(status, wheels.wheels_of(house), debs)
        made = Made(image, blockmap.scan(image), takes, parts, base)
        return keep(spec, made, shop.out)


def _sha256_of(source: Path) -> str:
    try:
        return sha256_of(source)
    except OSError as error:
        message = f"the image {source} cannot be read: {error.strerror or error}"
        raise InvalidImage(message, remedy="Name the vendor's image, as it was fetched.") from None


def _layout(image: Path) -> tuple[Extent, Extent]:
    """Boot and root. Raises InvalidImage."""
    with image.open("rb") as file:
        found = extents(lambda at, length: _read(file, at, length))
        kinds = [one.mbr_type for one in found]
        if len(found) != 2 or kinds[0] not in FAT_TYPES or kinds[1] != LINUX_TYPE or found[0].offset > found[1].offset:
            message = "the image has another layout than Raspberry Pi OS: an MBR, a FAT partition, Linux behind it"
            raise InvalidImage(message, remedy="Take an image of a whole card, as the vendor has it.")
    if found[1].offset + found[1].length > image.stat().st_size:
        message = "the image ends before its root partition does"
        raise InvalidImage(message, remedy="It was cut short: fetch it again.")
    return found[0], found[1]


def _needed(fs: RootFs, path: str) -> str:
    text = fs.read(path)
    if text is None:
        message = f"the root file system of the image has no {path}"
        raise InvalidImage(message, remedy="Is it an image of Debian, of the layout of Raspberry Pi OS?")
    return text


def _packages(tools: Tools, status: str, board: BoardProfile, shop: Workshop) -> list[Path]:
    check_python(installed(status))
    sources = sorted([*SOURCES.glob("*.sources"), *SOURCES.glob("*.list")])
    return fetch_missing(tools, status, board.arch, vendor.PACKAGES, sources, shop.cache)


def _placed(tree: Path) -> Iterator[Placed]:
    """All of a folder that stands for /: folders before what is in them. It belongs to root."""
    for folder, names, found in os.walk(tree):
        names.sort()
        for name in sorted((*names, *found)):
            path = Path(folder, name)
            inside = f"/{path.relative_to(tree)}"
            if path.is_symlink():
                yield Placed(inside, target=str(path.readlink()))
            elif path.is_dir():
                yield Placed(inside)
            else:
                yield Placed(inside, 0o755 if path.stat().st_mode & 0o100 else 0o644, path)


def _links(release: str) -> Iterator[Placed]:
    """What the package's own script does at its installation: the release that runs, services that start."""
    for link in (CURRENT, PROVEN):
        yield Placed(link, target=f"releases/{release}")
    yield Placed("/etc/systemd/system/multi-user.target.wants")
    for unit in vendor.ENABLED:
        yield Placed(f"/etc/systemd/system/multi-user.target.wants/{unit}", target=f"/{UNITS}/{unit}")
    yield Placed("/etc/systemd/system/mosquitto.service", target="/dev/null")  # the hub runs its own
    yield Placed("/etc/nftables.d")


def _deb_files(debs: Iterable[Path]) -> Iterator[Placed]:
    for number, deb in enumerate(debs):
        if number == 0:
            yield Placed(vendor.FIRST_BOOT)
        yield Placed(f"{vendor.FIRST_BOOT}/{deb.name}", 0o644, deb)


def _user(fs: RootFs, work: Path) -> Iterator[Placed]:
    """Our user in the files of all users, whose owners and modes stay; and the folders that are its own."""
    number = vendor.user_id(_needed(fs, "/etc/passwd"), _needed(fs, "/etc/group"))
    for path, line in vendor.user_lines(number).items():
        there = fs.stat(path)
        if there is None:
            continue  # an image without shadow passwords of groups
        made = work / path.rpartition("/")[2]
        made.write_text(vendor.with_line(_needed(fs, path), line), encoding="utf-8", errors="surrogateescape")
        yield Placed(path, there.mode, made, uid=there.uid, gid=there.gid)
    yield Placed(STATE, 0o700, uid=number, gid=number)
    yield Placed(UPDATE, 0o755)


def _make_room(fs: RootFs, placed: Iterable[Placed]) -> None:
    """Enlarge the root if all of it does not fit, or only just."""
    placed = list(placed)
    sizes = (one.source.stat().st_size if one.source is not None else 0 for one in placed)
    needed = sum(size + -size % BLOCK_BYTES for size in sizes) + len(placed) * 256 + _SPARE_BYTES
    room = fs.room()
    lacking = needed - room.free_bytes
    if lacking > 0 or room.free_files < len(placed) + _SPARE_FILES:
        # New files take room in new tables too: a sixteenth more.
        more = max(lacking, 16 * _MIB) * 17 // 16
        fs.enlarge(room.bytes + more + -more % _STEP_BYTES)


def _join(image: Path, root: Extent, part: Path) -> None:
    """Put the root back, and in the table how long it is now."""
    length = part.stat().st_size
    with image.open("r+b") as whole, part.open("rb") as file:
        whole.truncate(root.offset + length)
        for at in range(0, length, _MIB):
            piece = file.read(_MIB)
            if piece != _read(whole, root.offset + at, len(piece)):  # so that holes stay holes
                whole.seek(root.offset + at)
                whole.write(piece)
        whole.seek(446 + 16 * (root.number - 1) + 12)
        whole.write(struct.pack("<I", length // SECTOR_BYTES))


def _boot_files(image: Path, boot: Extent, board: BoardProfile, epoch_s: int) -> None:
    with image.open("r+b") as file:
        volume = FatVolume(lambda at, length: _read(file, at, length), boot.offset)
        changes: tuple[tuple[str, Callable[[str, BoardProfile], str]], ...] = (
            ("cmdline.txt", vendor.kernel_line),
            ("config.txt", vendor.firmware_config),
        )
        for name, changed in changes:
            there = volume.read_file(name)
            if there is None:
                message = f"the boot partition of the image has no {name}"
                raise InvalidImage(message, remedy="Is it an image of the layout of Raspberry Pi OS?")
            text = there.decode("utf-8", "surrogateescape")
            volume.write_file(name, changed(text, board).encode("utf-8", "surrogateescape"), epoch_s)
        for one in list(volume.changes()):
            file.seek(one.offset)
            file.write(one.content)


def _copy(image: Path, offset: int, length: int, out: Path) -> None:
    """Take a partition out, with its holes."""
    with image.open("rb") as whole, out.open("wb") as file:
        whole.seek(offset)
        for at in range(0, length, _MIB):
            piece = whole.read(min(_MIB, length - at))
            if piece.count(0) != len(piece):
                file.seek(at)
                file.write(piece)
        file.truncate(length)


def _read(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)
