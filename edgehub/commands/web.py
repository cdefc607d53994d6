"""`edgetwin web`: where the dashboard is, and the login of it."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, folder, hub_client, print_error, run_command
from edgehub.web.folder import USER, WebFolder, fingerprint
from twin.errors import EdgetwinError, StoreError


def show(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show where the dashboard is, its user, and the password that was drawn, until somebody has logged in with it.

    Example: edgetwin web show
    """
    run_command(_show(as_json))


async def _show(as_json: bool) -> int:
    async with hub_client() as client:
        url = (await client.status()).web
    kept = WebFolder(folder().web)
    told = {"url": url, "user": USER, "password": kept.unused_password(), "fingerprint": ""}
    if url.startswith("https") and kept.certificate.exists():
        told["fingerprint"] = fingerprint(kept.certificate)
    if as_json:
        typer.echo(json.dumps(told))
    elif not url:
        typer.echo("There is no dashboard: web.listen is empty, or `edgetwin status` shows what keeps it.")
    else:
        unknown = "in use since; `edgetwin web password` draws another"
        rows = {"address": url, "user": USER, "password": told["password"] or unknown}
        if told["fingerprint"]:
            rows["SHA-256"] = told["fingerprint"]
        typer.echo("\n".join(f"{name:<9} {text}" for name, text in rows.items()))
    return ExitCode.DONE if url else ExitCode.NO


def password(
    stdin: Annotated[bool, typer.Option("--stdin", help="Take the one line of standard input.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Draw another password of the dashboard and show it, once; with --stdin set one of your own.

    It is good at once, and whoever is logged in has to log in again. Needs no hub.

    Example: edgetwin web password
    """
    try:
        drawn = _change(sys.stdin.readline().rstrip("\r\n") if stdin else None)
    except EdgetwinError as error:
        print_error(error)
        raise typer.Exit(ExitCode.FAILED if isinstance(error, StoreError) else ExitCode.REFUSED) from None
    if as_json:
        typer.echo(json.dumps({"user": USER, "password": drawn}))
    else:
        typer.echo(f"user      {USER}\npassword  {drawn}" if drawn else "the password is changed")


def _change(own: str | None) -> str:
    place = folder()
    place.make()
    kept = WebFolder(place.web)
    try:
        if own is None:
            return kept.draw()
        kept.set(own)
    except OSError as error:
        message = f"the password cannot be kept in {kept.path}: {error.strerror}"
        raise StoreError(message, remedy="Check free space and permissions of the state folder.") from None
    return ""
