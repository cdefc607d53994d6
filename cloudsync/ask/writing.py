"""`edgetwin cloud set` and `set-where`: what an operator may ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cloudsync.ask.session import CredentialsFile, cloud_client
from twin.console import ExitCode, run_command
from twin.errors import InvalidMessage
from twin.manifest.fields import parsed_duration_ms
from twin.model import TwinKey
from twin.show.assignments import desired_values
from twin.show.table import short_key
from twin.wire.cloud_api import SetWhereReply

Values = Annotated[list[str] | None, typer.Argument(help="property=value; the value as JSON, or plain text")]
Unset = Annotated[list[str] | None, typer.Option(help="Property whose desired value is to be deleted.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def set_(
    twin: Annotated[str, typer.Argument(help="name or namespace/name of the device")],
    values: Values = None,
    unset: Unset = None,
    version: Annotated[int | None, typer.Option(help="Only if the twin is at this version.")] = None,
    expires: Annotated[str, typer.Option(help="As a command: done once, and only within this time, such as 30s.")] = "",
    credentials: CredentialsFile = None,
    as_json: Json = False,
) -> None:
    """Write desired values, all or none; on the cloud's disk when this returns, and on their way to the gateway.

    With --expires the gateway itself has written them when this returns; exit code 4 if it has not.

    Example: edgetwin cloud set plant/tank valve=40
    """
    run_command(_set(twin, values or [], unset or [], version, expires, credentials, as_json))


async def _set(
    twin: str,
    values: list[str],
    unset: list[str],
    version: int | None,
    expires: str,
    credentials: Path | None,
    as_json: bool,
) -> int:
    key = TwinKey.parse(twin)
    desired = _desired(values, unset, f"edgetwin cloud set {twin} valve=40")
    expires_ms = _duration_ms(expires)
    async with cloud_client(credentials) as client:
        if expires_ms:
            command = await client.command(str(key), desired, expires_s=expires_ms / 1000, version=version)
            told: dict[str, Any] = {"twin": str(key), "command": command, "outcome": "done"}
            text = f"{short_key(str(key))}: its gateway has written it (command {command})"
        else:
            new = await client.set(str(key), desired, unset=unset, version=version)
            told = {"twin": str(key), "version": new}
            text = f"{short_key(str(key))} version {new}: on the cloud's disk"
    typer.echo(json.dumps(told) if as_json else text)
    return ExitCode.DONE


def set_where(
    where: Annotated[str, typer.Argument(metavar="CONDITION", help="what stands behind WHERE in a query")],
    values: Values = None,
    unset: Unset = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and check, change nothing.")] = False,
    credentials: CredentialsFile = None,
    as_json: Json = False,
) -> None:
    """Write desired values of every twin that fits, each for itself. Exit code 1 if any of them refused.

    Example: edgetwin cloud set-where "tags.area = 'hall-2'" valve=0 --dry-run
    """
    run_command(_set_where(where, values or [], unset or [], dry_run, credentials, as_json))


async def _set_where(
    where: str, values: list[str], unset: list[str], dry_run: bool, credentials: Path | None, as_json: bool
) -> int:
    desired = _desired(values, unset, "edgetwin cloud set-where \"tags.area = 'hall-2'\" valve=40")
    last = SetWhereReply(matched=0)
    errors = []
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    async with cloud_client(credentials) as client:
        with bar:
            task = bar.add_task("twins", total=None)
            async for last in client.set_where(where, desired, unset=unset, dry_run=dry_run):
                errors += last.errors
                bar.update(task, total=last.matched, completed=last.done + last.refused)
    if as_json:
        told = last.model_copy(update={"errors": errors}).model_dump(mode="json")
        typer.echo(json.dumps({**told, "dry_run": dry_run}))
    else:
        would = "would be " if dry_run else ""
        typer.echo(f"{last.done} {would}set, {last.refused} refused, of {last.matched} that fit")
        for one in errors:
            typer.echo(f"  {short_key(one.twin)}: {one.error.message}")
        if last.refused > len(errors):
            typer.echo(f"  and {last.refused - len(errors)} more")
    return ExitCode.NO if last.refused else ExitCode.DONE


def _desired(values: list[str], unset: list[str], example: str) -> dict[str, Any]:
    desired = desired_values(values, unset)
    if not desired and not unset:
        message = "nothing to set"
        raise InvalidMessage(message, remedy=f"Name a property and its value: {example}")
    return desired


def _duration_ms(text: str) -> int:
    if not text:
        return 0
    found = parsed_duration_ms(text)
    if not found:
        message = f"--expires {text!r} is not a duration"
        raise InvalidMessage(message, remedy="Write 500ms, 30s or 5m.")
    return found
