"""`edgetwin hardware sign`: a signature over an image, for those who flash it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hardware.cli import told_errors
from hardware.image.signature import sign
from hardware.update.signing import Signer
from twin.show.waiting import waiting


def sign_image(
    image: Annotated[Path, typer.Argument(help="An image that was built here, with its manifest beside it.")],
    key: Annotated[Path, typer.Option("--key", help="Key of whoever makes releases: signing.key.")],
    cert: Annotated[Path, typer.Option("--cert", help="Its certificate: signing.pem.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Sign an image: `flash --keyring` takes only images that are signed. The signature lies beside it.

    Example: edgetwin hardware sign images/edgetwin-x86-64.img --key keys/signing.key --cert keys/signing.pem
    """
    with told_errors(), waiting(f"reading {image.name}", quiet=as_json):
        made = sign(image, Signer.read(key, cert))
    typer.echo(json.dumps({"signature": str(made)}) if as_json else f"signature  {made}")
