"""`edgetwin hardware`: boards and disks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer

from hardware.boards import boards as all_boards
from hardware.flash.disk import Disk, disks_here
from hardware.flash.refusal import refusals, size_text
from twin.console import code_of, print_error
from twin.errors import EdgetwinError
from twin.show.table import console, plain_table

Json = Annotated[bool, typer.Option("--json", help="JSON, one value.")]
BARE_BYTES: Final = 64 * 2**20
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
    with told_errors():
        found = disks_here()
        if as_json:
            typer.echo(json.dumps([disk_json(one) for one in found]))
            return
        show_disks(found, BARE_BYTES)


@contextmanager
def told_errors(interrupted: str = "interrupted") -> Iterator[None]:
    """Say on stderr what failed and leave with its exit code; Ctrl-C too."""
    try:
        yield
    except EdgetwinError as error:
        print_error(error)
        raise typer.Exit(code_of(error)) from None
    except KeyboardInterrupt:
        typer.echo(interrupted, err=True)
        raise typer.Exit(130) from None


def show_disks(found: tuple[Disk, ...], image_bytes: int) -> None:
    """Print disks, and why each may not take an image of this size."""
    shown = plain_table("DISK", "SIZE", "MODEL", "SERIAL", "WRITE")
    for one in found:
        if one.size_bytes == 0:
            continue
        why = "; ".join(refusal.message for refusal in refusals(one, image_bytes))
        verdict = f"no: {why}" if why else "may be written"
        shown.add_row(one.path, size_text(one.size_bytes), one.model, one.serial, verdict)
    console().print(shown)


def disk_json(disk: Disk) -> dict[str, object]:
    """A disk for programs."""
    return {
        "path": disk.path,
        "type": disk.type,
        "size": disk.size_bytes,
        "model": disk.model,
        "serial": disk.serial,
        "refused": [{"why": one.why, "message": one.message} for one in refusals(disk, BARE_BYTES)],
    }
