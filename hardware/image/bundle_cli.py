"""`edgetwin hardware bundle image`: the signed update of an image."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hardware.cli import told_errors
from hardware.image.bundle import Signer, make_bundle
from twin.show.waiting import waiting


def image_bundle(
    image: Annotated[Path, typer.Argument(help="An image that `build` made; its manifest lies beside it.")],
    certificate: Annotated[Path, typer.Option("--cert", help="Certificate of who signs, PEM.")],
    key: Annotated[Path, typer.Option("--key", help="Its key, PEM.")],
    between: Annotated[
        list[Path] | None, typer.Option("--intermediate", help="A certificate between it and the keyring's.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The bundle; beside the image if not said.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Make the signed update of an image, for gateways whose image was built with --keyring.

    Example: edgetwin hardware bundle image images/edgetwin-x86-64.img --cert release.pem --key release.key
    """
    began = time.monotonic()
    with told_errors(), waiting("packing and signing the update", quiet=as_json):
        signer = Signer(certificate, key, tuple(between or ()))
        made = make_bundle(image, signer, (out or image.with_suffix(".raucb")).absolute())
    if as_json:
        typer.echo(json.dumps({**asdict(made), "path": str(made.path)}))
        return
    size_mb = made.size_bytes / 1e6
    typer.echo(f"bundle    {made.path} ({size_mb:.0f} MB, {time.monotonic() - began:.0f} s)")
    typer.echo(f"release   {made.release} for {made.board}")
    typer.echo(f"sha256    {made.sha256}")
