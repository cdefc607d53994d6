"""Partitions of a disk image: where they lie (pure), and what is in them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hardware import grubenv
from hardware.board import Partition, PartitionRole
from hardware.flash.blockmap import BLOCK_BYTES
from hardware.image.grub import grub_cfg
from hardware.image.spec import ImageSpec
from hardware.image.tools import Tools

MIB: Final = 2**20
TABLE_BYTES: Final = MIB
"""What lies before the first partition and behind the last."""
_TYPES: Final = {
    PartitionRole.BOOT: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    PartitionRole.ROOT: "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    PartitionRole.DATA: "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
}
_EFI: Final = {"amd64": ("x86_64-efi", "BOOTX64.EFI"), "arm64": ("arm64-efi", "BOOTAA64.EFI")}
"""GRUB's name of a board's firmware, and the file that this starts by itself."""
_GRUB_MODULES: Final = (
    *(
        "part_gpt",
        "fat",
        "ext2",
        "normal",
        "linux",
        "loadenv",
        "test",
        "configfile",
        "boot",
        "echo",
        "serial",
        "terminal",
    ),
    *("all_video", "minicmd", "reboot", "regexp", "search", "search_fs_uuid", "search_fs_file", "gzio", "ls", "cat"),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A partition and where it begins, in bytes."""

    partition: Partition
    offset: int


def placed(partitions: tuple[Partition, ...]) -> tuple[Placed, ...]:
    """Where partitions lie: one behind the other, from the first MiB on. Pure."""
    offset, found = TABLE_BYTES, []
    for one in partitions:
        found.append(Placed(one, offset))
        offset += one.size_bytes
    return tuple(found)


def image_bytes(partitions: tuple[Partition, ...]) -> int:
    """The size of the whole disk image. Pure."""
    return 2 * TABLE_BYTES + sum(one.size_bytes for one in partitions)


def table_script(spec: ImageSpec) -> str:
    """What sfdisk is told. Pure."""
    lines = ["label: gpt", f"label-id: {spec.uuid('disk')}", "unit: sectors"]
    for one in placed(spec.board.partitions):
        name, kind = one.partition.name, _TYPES[one.partition.role]
        lines.append(
            f"start={one.offset // 512}, size={one.partition.size_bytes // 512}, type={kind}, "
            f'uuid={spec.uuid(name)}, name="{name}"'
        )
    return "\n".join(lines) + "\n"


def make_ext4(tools: Tools, spec: ImageSpec, name: str, size: int, source: Path | None, out: Path) -> None:
    """A file system with the files of a folder; two of the same files are the same bytes."""
    uuid = spec.uuid(f"{name} file system")
    with out.open("wb") as file:
        file.truncate(size)
    more = ("-d", source) if source else ()
    options = f"hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,nodiscard"
    tools.run(
        "mkfs.ext4",
        "-q",
        "-F",
        "-U",
        str(uuid),
        "-L",
        name,
        "-m",
        "0",
        "-b",
        str(BLOCK_BYTES),
        "-E",
        options,
        *more,
        out,
    )
    if source:
        _set_times(tools, spec, source, out)


def make_boot(tools: Tools, spec: ImageSpec, modules: Path, size: int, work: Path, out: Path) -> None:
    """The ESP: GRUB, its choice of a slot, and the state of the slots. ``modules``: GRUB's, by target."""
    target, name = _EFI[spec.board.arch]
    core, config, env = work / name, work / "grub.cfg", work / "grubenv"
    # Without a disk in the prefix it is the one that GRUB was started from, however many there are.
    words = ("-O", target, "-d", modules / target, "-p", "/EFI/edgetwin", "-o", core)
    tools.run("grub-mkimage", *words, *_GRUB_MODULES)
    config.write_text(grub_cfg(spec))
    env.write_bytes(grubenv.rendered(grubenv.NEW))
    with out.open("wb") as file:
        file.truncate(size)
    serial = f"{spec.uuid('boot').int & 0xFFFFFFFF:08x}"
    tools.run("mkfs.vfat", "--invariant", "-F", "32", "-i", serial, "-n", "EDGETWIN", out)
    tools.run("mmd", "-i", out, "::/EFI", "::/EFI/BOOT", "::/EFI/edgetwin")
    for made in (core, config, env):
        os.utime(made, (spec.epoch_s, spec.epoch_s))
    for source, place in ((core, f"BOOT/{name}"), (config, "edgetwin/grub.cfg"), (env, "edgetwin/grubenv")):
        tools.run("mcopy", "-m", "-i", out, source, f"::/EFI/{place}")


def join(tools: Tools, spec: ImageSpec, parts: dict[str, Path], out: Path) -> None:
    """One disk image of all partitions; a partition without a file stays empty."""
    with out.open("wb") as file:
        file.truncate(image_bytes(spec.board.partitions))
    tools.run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", out, stdin=table_script(spec).encode())
    with out.open("r+b") as whole:
        for one in placed(spec.board.partitions):
            if source := parts.get(one.partition.name):
                with source.open("rb") as part:
                    at = one.offset
                    while piece := part.read(MIB):
                        if piece.count(0) != len(piece):
                            whole.seek(at)
                            whole.write(piece)
                        at += len(piece)


def _set_times(tools: Tools, spec: ImageSpec, source: Path, out: Path) -> None:
    """A copied file bears the time of its own last change of owner or mode, which no program can set but this one."""
    script = "".join(_time_commands(spec, source))
    tools.run("debugfs", "-w", "-f", "-", out, stdin=script.encode())


def _time_commands(spec: ImageSpec, source: Path) -> Iterator[str]:
    stamp = f"@{spec.epoch_s}"
    names = subprocess.run(["find", ".", "-printf", "/%P\\0"], cwd=source, capture_output=True, check=True).stdout
    for name in sorted(names.split(b"\0")):
        path = name.decode("utf-8", "surrogateescape")
        if name and not any(c in path for c in '"\n'):
            for field in (
                "ctime",
                "crtime",
                "atime",
                "mtime",
                "ctime_extra",
                "crtime_extra",
                "atime_extra",
                "mtime_extra",
            ):
                value = "0" if field.endswith("_extra") else stamp
                yield f'set_inode_field "{path}" {field} {value}\n'
