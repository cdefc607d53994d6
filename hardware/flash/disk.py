"""The disks of this machine as lsblk tells them: a tree of devices, read once into types."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from hardware.errors import NoSuchDisk

COLUMNS: Final = "NAME,KNAME,PATH,TYPE,SIZE,RO,RM,HOTPLUG,TRAN,VENDOR,MODEL,SERIAL,FSTYPE,MOUNTPOINTS,MAJ:MIN"
_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Disk:
    """A block device with what is on it. ``removable``: it can be pulled out of a running machine."""

    path: str
    type: str
    """``disk``, ``part``, ``loop``, ``rom``, ``crypt``, ``lvm``, ``raid1``, ... as lsblk has it."""
    size_bytes: int
    numbers: str
    """``major:minor``"""
    model: str = ""
    serial: str = ""
    """Of a loop device: the file behind it."""
    transport: str = ""
    read_only: bool = False
    removable: bool = False
    filesystem: str = ""
    mounts: tuple[str, ...] = ()
    children: tuple[Disk, ...] = ()

    def tree(self) -> Iterator[Disk]:
        """Itself, and all that stands on it."""
        yield self
        for child in self.children:
            yield from child.tree()


class _Row(BaseModel):
    path: str
    type: str
    size: int
    numbers: str = Field(alias="maj:min")
    ro: bool
    rm: bool
    hotplug: bool
    tran: str | None = None
    vendor: str | None = None
    model: str | None = None
    serial: str | None = None
    fstype: str | None = None
    mountpoints: list[str | None] = []
    children: list[_Row] = []


class _Rows(BaseModel):
    blockdevices: list[_Row]


_ROWS: Final = TypeAdapter(_Rows)


def read_disks(text: str | bytes) -> tuple[Disk, ...]:
    """The disks in lsblk's JSON. Raises NoSuchDisk if it is not lsblk's."""
    try:
        rows = _ROWS.validate_json(text)
    except ValidationError as error:
        message = f"what lsblk says cannot be read: {error.errors()[0]['msg']}"
        raise NoSuchDisk(message, remedy="util-linux 2.37 or newer is needed.") from None
    return tuple(_disk(row) for row in rows.blockdevices)


def disks_here() -> tuple[Disk, ...]:
    """The disks of this machine. Blocks. Raises NoSuchDisk if lsblk does not tell."""
    command = ["lsblk", "--json", "--bytes", "--output", COLUMNS]
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        message = f"the disks of this machine are not known: lsblk failed ({error})"
        raise NoSuchDisk(message, remedy="Install util-linux; in a container, flash from the machine itself.") from None
    return read_disks(done.stdout)


def find_disk(disks: tuple[Disk, ...], path: str) -> Disk:
    """The disk or part of one at a path; names under /dev/disk are followed. Raises NoSuchDisk."""
    real = str(Path(path).resolve())
    for top in disks:
        for one in top.tree():
            if one.path == real:
                return one
    known = ", ".join(one.path for one in disks if one.size_bytes) or "none"
    message = f"{path} is no disk of this machine"
    raise NoSuchDisk(message, remedy=f"Disks here: {known}.")


def _disk(row: _Row) -> Disk:
    model = " ".join(word.strip() for word in (row.vendor, row.model) if word and word.strip())
    serial = (row.serial or "").strip()
    if row.type == "loop" and not serial:
        serial = _file_behind(row.path)
    return Disk(
        row.path,
        row.type,
        row.size,
        row.numbers.strip(),
        model,
        serial,
        row.tran or "",
        read_only=row.ro,
        removable=row.rm or row.hotplug,
        filesystem=row.fstype or "",
        mounts=tuple(one for one in row.mountpoints if one),
        children=tuple(_disk(child) for child in row.children),
    )


def _file_behind(path: str) -> str:
    try:
        return Path("/sys/class/block", Path(path).name, "loop/backing_file").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
