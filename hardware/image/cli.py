"""`edgetwin hardware build`: the image of a board, from the packages and wheels that it needs."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from hardware.boards import board as board_of
from hardware.errors import HardwareError
from hardware.image.build import Workshop, build
from twin.console import code_of, print_error

TREE = Path(__file__).resolve().parents[2]


def build_image(
    board: Annotated[str, typer.Argument(help="A board of `edgetwin hardware boards`, or a profile: ./mine.yaml")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the image and what belongs to it.")] = Path("images"),
    cache: Annotated[Path, typer.Option("--cache", help="Kept between builds; may be removed.")] = TREE
    / ".cache/images",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Build the bootable image of a board, as root: equal inputs give equal bytes. `flash` writes it to a disk.

    $SOURCE_DATE_EPOCH is the time that all files bear; without it, the time of the newest file of the program.

    Example: sudo edgetwin hardware build qemu-x86-64 --out images
    """
    began = time.monotonic()

    def told(step: str, _took_s: float) -> None:
        if not as_json:
            sys.stderr.write(f"{time.monotonic() - began:6.1f} s  {step}\n")
            sys.stderr.flush()

    try:
        shop = Workshop(TREE, cache.absolute(), out.absolute(), _epoch_s())
        made = build(board_of(board), version("edgetwin"), shop, told)
    except HardwareError as error:
        print_error(error)
        raise typer.Exit(code_of(error)) from None
    if as_json:
        typer.echo(json.dumps({name: str(path) for name, path in asdict(made).items()}))
        return
    typer.echo(f"image     {made.image} ({time.monotonic() - began:.0f} s)")
    typer.echo(f"map       {made.map}")
    typer.echo(f"manifest  {made.manifest}")
    typer.echo(f"SBOM      {made.sbom}")


def _epoch_s() -> int:
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    if said.isdecimal():
        return int(said)
    return int(max(one.stat().st_mtime for one in TREE.glob("*/*.py")))
