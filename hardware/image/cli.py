"""`edgetwin hardware build` and `bundle`: the image of a board, and its update for gateways with an earlier one."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from hardware.boards import board as board_of
from hardware.cli import told_errors
from hardware.image.build import Told, Workshop, build
from hardware.image.bundle import certificates
from hardware.vendor.adapt import adapt

TREE = Path(__file__).resolve().parents[2]


def build_image(
    board: Annotated[str, typer.Argument(help="A board of `edgetwin hardware boards`, or a profile: ./mine.yaml")],
    from_image: Annotated[
        Path | None, typer.Option("--from-image", help="The vendor's image, .img or .img.xz; needs no root.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the image and what belongs to it.")] = Path("images"),
    cache: Annotated[Path, typer.Option("--cache", help="Kept between builds; may be removed.")] = TREE
    / ".cache/images",
    keyring: Annotated[
        Path | None, typer.Option("--keyring", help="Certificates (PEM) of those whose updates it takes.")
    ] = None,
    release: Annotated[str, typer.Option("--release", help="Name of the release; the program's version.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Build the bootable image of a board: equal inputs give equal bytes. `flash` writes it to a disk.

    As root from Debian's packages; or without, from the vendor's image of a board that has one.

    $SOURCE_DATE_EPOCH is the time that all files bear; without it, the time of the newest file of the program.

    Example: sudo edgetwin hardware build qemu-x86-64 --out images
    """
    began = time.monotonic()
    with told_errors(), steps_shown(quiet=as_json) as told:
        shop = Workshop(TREE, cache.absolute(), out.absolute(), epoch_s())
        name = release or version("edgetwin")
        if from_image is not None:
            made = adapt(board_of(board), from_image, name, shop, told)
        else:
            made = build(board_of(board), name, shop, told, certificates(keyring))
    if as_json:
        typer.echo(json.dumps({name: str(path) for name, path in asdict(made).items()}))
        return
    typer.echo(f"image     {made.image} ({time.monotonic() - began:.0f} s)")
    typer.echo(f"map       {made.map}")
    typer.echo(f"manifest  {made.manifest}")
    typer.echo(f"SBOM      {made.sbom}")


@contextmanager
def steps_shown(*, quiet: bool) -> Iterator[Told]:
    """Show each step as it begins."""
    began = time.monotonic()

    def told(step: str, _took_s: float) -> None:
        if not quiet:
            sys.stderr.write(f"{time.monotonic() - began:6.1f} s  {step}\n")
            sys.stderr.flush()

    yield told


def epoch_s() -> int:
    """The one time that all files of a build bear: $SOURCE_DATE_EPOCH, or that of the program's newest file."""
    said = os.environ.get("SOURCE_DATE_EPOCH", "")
    if said.isdecimal():
        return int(said)
    return int(max(one.stat().st_mtime for one in TREE.glob("*/*.py")))
