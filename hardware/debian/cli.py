"""`edgetwin hardware deb`: the gateway as a package for a Debian that is there already."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from hardware.cli import told_errors
from hardware.debian.package import make
from hardware.image.build import Workshop
from hardware.image.cli import TREE, epoch_s, steps_shown


def deb(
    arch: Annotated[str, typer.Option("--arch", help="amd64 or arm64, as Debian says.")] = "amd64",
    out: Annotated[Path, typer.Option("--out", help="Folder for the package.")] = Path("images"),
    cache: Annotated[Path, typer.Option("--cache", help="Kept between builds; may be removed.")] = TREE
    / ".cache/images",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Make the Debian package of the gateway, for Debian 12. Equal inputs give equal bytes; no root is needed.

    Example: edgetwin hardware deb --arch arm64 --out images
    """
    with told_errors(), steps_shown(quiet=as_json) as told:
        shop = Workshop(TREE, cache.absolute(), out.absolute(), epoch_s())
        made = make(arch, version("edgetwin"), shop, told)
    typer.echo(
        json.dumps({"package": str(made)}) if as_json else f"package  {made} ({made.stat().st_size / 1e6:.1f} MB)"
    )
