"""`edgetwin hardware`: boards, disks, and images onto disks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from hardware.boards import boards as all_boards
from hardware.errors import DiskRefused, HardwareError
from hardware.flash import blockmap
from hardware.flash.disk import Disk, disks_here
from hardware.flash.plan import FlashPlan, plan
from hardware.flash.refusal import refusals, size_text
from hardware.flash.target import OpenTarget
from hardware.flash.writer import Progress, Stage, Times, Told
from hardware.flash.writer import flash as write_image
from twin.console import ExitCode, code_of, print_error
from twin.show.table import console, plain_table

Json = Annotated[bool, typer.Option("--json", help="JSON, one value.")]
_BARE_BYTES: Final = 64 * 2**20
"""Without an image, a disk must have at least this much to be shown as one that may be written."""


def boards(as_json: Json = False) -> None:
    """List the boards that there are profiles for, and how far each is proven.

    Example: edgetwin hardware boards
    """
    known = all_boards()
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json", by_alias=True) for one in known]))
        return
    shown = plain_table("BOARD", "ARCH", "BOOT", "PROVEN", "WHAT")
    for one in known:
        shown.add_row(one.name, one.arch, one.boot, one.proven, one.title)
    console().print(shown)


def disks(as_json: Json = False) -> None:
    """List the disks of this machine, and why each may be written or not. Nothing is changed.

    Example: edgetwin hardware disks
    """
    with _told_errors():
        found = disks_here()
        if as_json:
            typer.echo(json.dumps([_disk_json(one) for one in found]))
            return
        _show_disks(found, _BARE_BYTES)


def flash(
    image: Annotated[Path, typer.Argument(help="A disk image, not compressed.")],
    to: Annotated[Path | None, typer.Option("--to", help="The disk, or a file to make.")] = None,
    serial: Annotated[str, typer.Option("--serial", help="Serial number of a built-in or large disk you mean.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Write an image to a disk, read all of it back, and only then make it bootable. Without --to: list the disks.

    Exit code 4: the image or the disk was refused, nothing was written; 5: the disk did not take it.

    Example: edgetwin hardware flash gateway.img --to /dev/sda
    """
    with _told_errors():
        block_map = blockmap.load(image) or _scanned(image, quiet=as_json)
        if to is None:
            _show_disks(disks_here(), block_map.image_bytes)
            typer.echo("Add --to with one of them.", err=True)
            raise typer.Exit(ExitCode.USAGE)
        work = plan(image, block_map, to, serial, disks_here, overwrite=overwrite)
        if not as_json or dry_run:
            _show_plan(work, as_json)
        if dry_run:
            return
        if not yes:
            _confirm(work)
        times = _written(work, quiet=as_json)
        _show_done(work, times, as_json)


@contextmanager
def _told_errors() -> Iterator[None]:
    try:
        yield
    except HardwareError as error:
        print_error(error)
        raise typer.Exit(code_of(error)) from None
    except KeyboardInterrupt:
        typer.echo("interrupted; a disk that was being written has no partition table now and boots nothing", err=True)
        raise typer.Exit(130) from None


def _written(work: FlashPlan, *, quiet: bool) -> Times:
    def known(numbers: str) -> Disk | None:
        return next((one for one in disks_here() if one.numbers == numbers), None)

    size = work.disk.size_bytes if work.disk else work.block_map.image_bytes
    with (
        work.image.open("rb") as image,
        OpenTarget(work.target, work.disk, size, known) as target,
        _bar(quiet=quiet) as told,
    ):
        return write_image(image, work.block_map, target, told, time.monotonic)


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Told]:
    """Shows progress: bytes, speed, time left."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description:7}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    tasks: dict[str, TaskID] = {}
    with Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:

        def told(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bar.add_task(progress.stage, total=progress.of_bytes)
            bar.update(tasks[progress.stage], completed=progress.done_bytes, total=progress.of_bytes)

        yield told


def _scanned(image: Path, *, quiet: bool) -> blockmap.BlockMap:
    with _bar(quiet=quiet) as told:
        return blockmap.scan(image, lambda done, of: told(Progress(Stage.SCAN, done, of)))


def _confirm(work: FlashPlan) -> None:
    if work.disk is None:
        return
    if not sys.stdin.isatty():
        message = f"nobody is there to say yes to the end of all that {work.target} holds"
        raise DiskRefused(message, remedy="Add --yes.")
    if not typer.confirm(f"All that {work.target} holds is lost. Go on?", err=True):
        raise typer.Exit(ExitCode.NO)


def _show_plan(work: FlashPlan, as_json: bool) -> None:
    block_map = work.block_map
    if as_json:
        about = {
            "image": str(work.image),
            "target": str(work.target),
            "image_bytes": block_map.image_bytes,
            "mapped_bytes": block_map.mapped_bytes,
            "ranges": len(block_map.ranges),
            "disk": _disk_json(work.disk) if work.disk else None,
        }
        typer.echo(json.dumps(about))
        return
    share = 100 * block_map.mapped_bytes / block_map.image_bytes
    typer.echo(f"image   {work.image}: {size_text(block_map.image_bytes)}, {share:.0f} % of it holds something")
    if work.disk is None:
        typer.echo(f"target  {work.target}: a file")
    else:
        disk = work.disk
        serial = f"serial {disk.serial}" if disk.serial else ""
        what = filter(None, (disk.model, size_text(disk.size_bytes), serial))
        typer.echo(f"target  {work.target}: {', '.join(what)}")
        for one in disk.children:
            typer.echo(f"        {one.path}: {one.filesystem or one.type}, {size_text(one.size_bytes)}; is lost")
    written = f"{size_text(block_map.mapped_bytes)} in {len(block_map.ranges)} ranges"
    typer.echo(f"steps   clear the partition table; write {written}; read all back; write the new table; read it back")


def _show_done(work: FlashPlan, times: Times, as_json: bool) -> None:
    mapped = work.block_map.mapped_bytes
    if as_json:
        told = {"target": str(work.target), "bytes": mapped, "write_s": times.write_s, "verify_s": times.verify_s}
        typer.echo(json.dumps(told))
        return
    speed = size_text(int(mapped / max(times.write_s, 1e-9)))
    written = f"{size_text(mapped)} in {times.write_s:.1f} s ({speed}/s)"
    typer.echo(f"done    {written}, read back in {times.verify_s:.1f} s: all equal")


def _show_disks(found: tuple[Disk, ...], image_bytes: int) -> None:
    shown = plain_table("DISK", "SIZE", "MODEL", "SERIAL", "WRITE")
    for one in found:
        if one.size_bytes == 0:
            continue
        why = "; ".join(refusal.message for refusal in refusals(one, image_bytes))
        verdict = f"no: {why}" if why else "may be written"
        shown.add_row(one.path, size_text(one.size_bytes), one.model, one.serial, verdict)
    console().print(shown)


def _disk_json(disk: Disk) -> dict[str, object]:
    return {
        "path": disk.path,
        "type": disk.type,
        "size": disk.size_bytes,
        "model": disk.model,
        "serial": disk.serial,
        "refused": [{"why": one.why, "message": one.message} for one in refusals(disk, _BARE_BYTES)],
    }
