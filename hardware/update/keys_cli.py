"""`edgetwin hardware keys`: who may make updates for your gateways."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from hardware.cli import told_errors
from hardware.update.signing import create_keys


def create(
    folder: Annotated[Path, typer.Argument(help="A folder; no key that is there is replaced.")],
    name: Annotated[
        str, typer.Option("--name", help="Whose updates these are, as their certificates say.")
    ] = "edgetwin",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Make the CA that your gateways trust with updates, and a certificate to sign bundles with.

    ca.pem goes to the gateways. ca.key belongs on no machine that is on a network; signing.key where bundles are made.

    Example: edgetwin hardware keys create update-keys --name "Example Ltd"
    """
    with told_errors():
        ca_key, ca, key, certificate = create_keys(folder, name, datetime.now(UTC))
    if as_json:
        about = {"ca": ca, "ca_key": ca_key, "certificate": certificate, "key": key}
        typer.echo(json.dumps({what: str(path) for what, path in about.items()}))
        return
    typer.echo(f"CA           {ca}   (to the gateways)")
    typer.echo(f"its key      {ca_key}   (locked away)")
    typer.echo(f"certificate  {certificate}")
    typer.echo(f"its key      {key}   (where bundles are made)")
