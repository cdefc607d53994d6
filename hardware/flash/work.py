"""A flash from its words to its end: what is read, where it goes, and the provisioning file on the way in."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hardware.errors import InvalidImage, InvalidProvisioning
from hardware.flash import blockmap
from hardware.flash.disk import Disk, disks_here
from hardware.flash.place import ImageFile, boot_partition, with_files
from hardware.flash.plan import FlashPlan, plan
from hardware.flash.target import OpenTarget
from hardware.flash.writer import Progress, Stage, Times, Told
from hardware.flash.writer import flash as write_image
from hardware.image.manifest import ImageManifest, TakesProvisioning, read_manifest
from hardware.provision.file import ReadFile


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody wants flashed. ``serial`` names a built-in or large disk that is meant."""

    image: Path
    to: Path
    provisioning: ReadFile | None = None
    serial: str = ""
    overwrite: bool = False
    """Of a file only."""
    keyring: Path | None = None
    """Certificates of those whose images are taken; None: any image is."""


@dataclass(frozen=True, slots=True)
class Work:
    """A flash that was found good; nothing is written yet."""

    source: ImageFile
    plan: FlashPlan
    provisioning: ReadFile | None

    def write(self, told: Told) -> Times:
        """Do it. Blocks. Raises HardwareError as the writer does."""

        def known(numbers: str) -> Disk | None:
            return next((one for one in disks_here() if one.numbers == numbers), None)

        to = self.plan
        size = to.disk.size_bytes if to.disk else to.block_map.image_bytes
        with OpenTarget(to.target, to.disk, size, known) as target:
            return write_image(self.source, to.block_map, target, told, time.monotonic)


def mapped(image: Path, told: Told) -> blockmap.BlockMap:
    """The block map beside an image, or one made now. Raises InvalidImage."""
    return blockmap.load(image) or blockmap.scan(image, lambda done, of: told(Progress(Stage.SCAN, done, of)))


@contextmanager
def opened(order: Order, block_map: blockmap.BlockMap, disks: Callable[[], tuple[Disk, ...]]) -> Iterator[Work]:
    """Check an order whole. Raises InvalidImage, InvalidProvisioning, NoSuchDisk or DiskRefused; nothing is written."""
    if order.keyring is not None:
        check_signed(order.image, order.keyring, datetime.now(UTC))
    takes = _takes(order.image, order.provisioning) if order.provisioning is not None else None
    work = plan(order.image, block_map, order.to, order.serial, disks, overwrite=order.overwrite)
    with order.image.open("rb") as image:
        if order.provisioning is None or takes is None:
            yield Work(image, work, None)
            return
        boot = boot_partition(image, takes.partition)
        files = {takes.file: order.provisioning.content}
        source, changed = with_files(image, block_map, boot, files, int(time.time()))
        yield Work(source, replace(work, block_map=changed), order.provisioning)


def _takes(image: Path, file: ReadFile) -> TakesProvisioning:
    """What the image's manifest says of provisioning, if this file is of a version that it takes."""
    manifest = read_manifest(image)
    if manifest is None or manifest.provisioning is None:
        message = f"the image {image} does not say that it takes a provisioning file"
        raise InvalidImage(message, remedy="Its manifest must lie beside it; `edgetwin hardware build` makes both.")
    _check_of(manifest, image)
    versions = manifest.provisioning.versions
    if file.said.version not in versions:
        known = ", ".join(map(str, versions))
        message = f"{file.path} has version {file.said.version}, the image takes {known}"
        raise InvalidProvisioning(message, remedy="Build the image with this release, or write the file for that one.")
    if file.said.cloud is not None and file.said.cloud.used:
        message = f"{file.path}: cloud.token was used already, by the gateway that it was made for"
        raise InvalidProvisioning(message, remedy="Ask for another one: edgetwin cloud token create")
    return manifest.provisioning


def check_signed(image: Path, keyring: Path, now: datetime) -> str:
    """Who has signed the image. Raises InvalidImage, or InvalidKey if the keyring is none.

    The manifest is signed and names the block map; what is written is checked against that, piece by piece.
    """
    from hardware.image.signature import check  # heavy, and not every image is signed
    from hardware.update.signing import read_authorities

    who = check(image, read_authorities(keyring), now)
    manifest = read_manifest(image)
    if manifest is None:
        message = f"the image {image} has no manifest"
        raise InvalidImage(message, remedy="Fetch the image again, with all that lies beside it.")
    _check_of(manifest, image)
    return who


def _check_of(manifest: ImageManifest, image: Path) -> None:
    """A manifest of another build would name another place. Raises InvalidImage."""
    try:
        same = hashlib.sha256(blockmap.map_path(image).read_bytes()).hexdigest() == manifest.map_sha256
    except FileNotFoundError:
        with image.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == manifest.sha256
    if not same:
        message = f"the manifest beside {image} is of another image"
        raise InvalidImage(message, remedy="Fetch or build the image again, with all that lies beside it.")
