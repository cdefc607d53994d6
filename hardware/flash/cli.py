"""`edgetwin hardware flash`: an image onto a disk, with the file that says which gateway it becomes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from hardware.cli import Json, disk_json, show_disks, told_errors
from hardware.errors import DiskRefused
from hardware.flash.disk import disks_here
from hardware.flash.plan import FlashPlan
from hardware.flash.refusal import size_text
from hardware.flash.work import Order, Work, mapped, opened
from hardware.flash.writer import Progress, Times, Told
from hardware.provision.file import read_file
from twin.console import ExitCode


def flash(
    image: Annotated[Path, typer.Argument(help="A disk image, not compressed.")],
    to: Annotated[Path | None, typer.Option("--to", help="The disk, or a file to make.")] = None,
    provision: Annotated[
        Path | None, typer.Option("--provision", help="The provisioning file for its boot partition.")
    ] = None,
    keyring: Annotated[
        Path | None, typer.Option("--keyring", help="Take only images signed by one whom these certificates allow to.")
    ] = None,
    serial: Annotated[str, typer.Option("--serial", help="Serial number of a built-in or large disk you mean.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan; write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Write an image to a disk, read all of it back, and only then make it bootable. Without --to: list the disks.

    Exit code 4: the image, the file or the disk was refused, nothing was written; 5: the disk did not take it.

    Example: edgetwin hardware flash gateway.img --to /dev/sda --provision hall-7.yaml
    """
    with told_errors():
        file = read_file(provision) if provision is not None else None
        with progress_bar(quiet=as_json) as told:
            block_map = mapped(image, told)
        if to is None:
            show_disks(disks_here(), block_map.image_bytes)
            typer.echo("Add --to with one of them.", err=True)
            raise typer.Exit(ExitCode.USAGE)
        with opened(Order(image, to, file, serial, overwrite, keyring), block_map, disks_here) as work:
            if not as_json or dry_run:
                show_plan(work, as_json=as_json)
            if dry_run:
                return
            if not yes:
                confirm(work.plan)
            show_done(work, written(work, quiet=as_json), as_json=as_json)


def written(work: Work, *, quiet: bool) -> Times:
    """Write it, with a bar. Raises HardwareError."""
    try:
        with progress_bar(quiet=quiet) as told:
            return work.write(told)
    except KeyboardInterrupt:
        typer.echo(f"{work.plan.target} has no partition table now and boots nothing", err=True)
        raise


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Told]:
    """Show progress: bytes, speed, time left; nothing where nobody looks."""
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


def confirm(work: FlashPlan) -> None:
    """Ask before a disk is overwritten. Raises DiskRefused where nobody can be asked."""
    if work.disk is None:
        return
    if not sys.stdin.isatty():
        message = f"nobody is there to say yes to the end of all that {work.target} holds"
        raise DiskRefused(message, remedy="Add --yes.")
    if not typer.confirm(f"All that {work.target} holds is lost. Go on?", err=True):
        raise typer.Exit(ExitCode.NO)


def show_plan(order: Work, *, as_json: bool) -> None:
    """Say what would be done."""
    work, block_map = order.plan, order.plan.block_map
    gateway = order.provisioning.said.gateway.name if order.provisioning is not None else ""
    if as_json:
        about = {
            "image": str(work.image),
            "target": str(work.target),
            "image_bytes": block_map.image_bytes,
            "mapped_bytes": block_map.mapped_bytes,
            "ranges": len(block_map.ranges),
            "disk": disk_json(work.disk) if work.disk else None,
            "gateway": gateway or None,
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
    if order.provisioning is not None:
        typer.echo(f"becomes gateway {gateway}, as {order.provisioning.path} says")
    written = f"{size_text(block_map.mapped_bytes)} in {len(block_map.ranges)} ranges"
    typer.echo(f"steps   clear the partition table; write {written}; read all back; write the new table; read it back")


def show_done(order: Work, times: Times, *, as_json: bool) -> None:
    """Say what was done, and how long it took."""
    work, mapped_bytes = order.plan, order.plan.block_map.mapped_bytes
    if as_json:
        told = {"target": str(work.target), "bytes": mapped_bytes, "write_s": times.write_s, "verify_s": times.verify_s}
        typer.echo(json.dumps(told))
        return
    speed = size_text(int(mapped_bytes / max(times.write_s, 1e-9)))
    written = f"{size_text(mapped_bytes)} in {times.write_s:.1f} s ({speed}/s)"
    typer.echo(f"done    {written}, read back in {times.verify_s:.1f} s: all equal")
