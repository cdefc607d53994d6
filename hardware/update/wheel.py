"""Lays wheels out as an environment of Python, without pip, which a gateway need not have (PEP 427)."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from hardware.errors import BundleRefused

_REMEDY: Final = "Make the bundle anew with `edgetwin hardware bundle create`."
_LIBRARIES: Final = ("purelib", "platlib")


def fits(name: str) -> bool:
    """Whether a wheel is for this Python and machine. Raises BundleRefused for a name that is none of a wheel."""
    try:
        _, _, _, tags = parse_wheel_filename(name)
    except InvalidWheelFilename as error:
        raise BundleRefused(str(error), remedy=_REMEDY) from None
    return not tags.isdisjoint(sys_tags())


def lay_out(wheel: BinaryIO, name: str, site: Path, room_bytes: int) -> int:
    """Unpack a wheel into a site-packages folder; how many bytes that was, at most ``room_bytes``.

    Programs, headers and other files beside the libraries are left out. Raises BundleRefused.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = archive.infolist()
            unpacked = sum(one.file_size for one in members)
            if unpacked > room_bytes:
                message = f"{name} has {unpacked} bytes unpacked, more than its bundle says"
                raise BundleRefused(message, remedy=_REMEDY)
            for one in members:
                if not one.is_dir() and (inside := _inside(one, name)) is not None:
                    path = site / inside
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(one) as source, path.open("wb") as target:
                        shutil.copyfileobj(source, target)
            return unpacked
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        message = f"{name} is no wheel: {error}"
        raise BundleRefused(message, remedy=_REMEDY) from None


def _inside(one: zipfile.ZipInfo, name: str) -> PurePosixPath | None:
    """Where a file of a wheel goes; None: nowhere."""
    path = PurePosixPath(one.filename)
    odd = path.is_absolute() or ".." in path.parts or "\\" in one.filename or not path.parts
    if odd or stat.S_ISLNK(one.external_attr >> 16):
        message = f"{name} has a file that leads out of it: {one.filename[:100]}"
        raise BundleRefused(message, remedy=_REMEDY)
    if not path.parts[0].endswith(".data"):
        return path
    if len(path.parts) > 2 and path.parts[1] in _LIBRARIES:
        return PurePosixPath(*path.parts[2:])
    return None
