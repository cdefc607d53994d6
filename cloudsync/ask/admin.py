"""`edgetwin cloud apply`, `delete`, `diff`, `audit`, `gateway status`: documents, who did what, how gateways are."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cloudsync.ask.session import CredentialsFile, cloud_client
from twin.console import ExitCode, run_command
from twin.errors import InvalidMessage
from twin.manifest.fields import parsed_duration_ms
from twin.show.documents import AsJson, DryRun, Files, print_changes, read_sources
from twin.show.table import age_text, console, plain_table
from twin.wire.api import ApplyMode
from twin.wire.cloud_api import AuditRequest, GatewayBody

APPLY_S = 60.0


def apply(file: Files, dry_run: DryRun = False, credentials: CredentialsFile = None, as_json: AsJson = False) -> None:
    """Apply documents in the cloud: each device, with its model and connection, goes to the gateway that it names.

    Example: edgetwin cloud apply -f plant.yaml --dry-run
    """
    run_command(_send(file, ApplyMode.APPLY, dry_run, credentials, as_json))


def delete(file: Files, dry_run: DryRun = False, credentials: CredentialsFile = None, as_json: AsJson = False) -> None:
    """Delete what a file of documents names, at the gateways that have it.

    Example: edgetwin cloud delete -f plant.yaml --dry-run
    """
    run_command(_send(file, ApplyMode.DELETE, dry_run, credentials, as_json))


def diff(file: Files, credentials: CredentialsFile = None, as_json: AsJson = False) -> None:
    """Show what apply would change, as a unified diff. Exit code 1 if there is a difference.

    Example: edgetwin cloud diff -f plant.yaml
    """
    run_command(_send(file, ApplyMode.DIFF, True, credentials, as_json))


async def _send(files: list[Path], mode: ApplyMode, dry_run: bool, credentials: Path | None, as_json: bool) -> int:
    sources = read_sources(files)
    async with cloud_client(credentials, timeout_s=APPLY_S) as client:
        reply = await client.apply(sources, mode=mode, dry_run=dry_run)
    if as_json:
        typer.echo(reply.model_dump_json())
    else:
        print_changes(reply, mode, dry_run=dry_run)
    changed = any(change.action != "unchanged" for change in reply.changes)
    return ExitCode.NO if mode is ApplyMode.DIFF and changed else ExitCode.DONE


def audit(
    since: Annotated[str, typer.Option(help="How long ago, such as 1h or 7d.")] = "7d",
    account: Annotated[str, typer.Option(help="Only what this account did, or was not allowed to.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The newest so many.")] = 100,
    credentials: CredentialsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show who changed what, and who was not allowed to. For admins.

    Example: edgetwin cloud audit --account ann --since 1d
    """
    run_command(_audit(since, account, limit, credentials, as_json))


async def _audit(since: str, account: str, limit: int, credentials: Path | None, as_json: bool) -> int:
    ago_ms = parsed_duration_ms(since)
    if ago_ms is None:
        message = f"--since {since!r} is not a duration"
        raise InvalidMessage(message, remedy="Write 10m, 1h or 7d.")
    since_ms = max(0, int(time.time() * 1000) - ago_ms)
    async with cloud_client(credentials) as client:
        reply = await client.audit(AuditRequest(since=since_ms, account=account, limit=limit))
    if as_json:
        typer.echo(reply.model_dump_json())
        return ExitCode.DONE
    if not reply.entries:
        typer.echo("Nothing.")
        return ExitCode.DONE
    table = plain_table("TIME", "ACCOUNT", "ACTION", "SUBJECT", "WHAT", "OUTCOME")
    for one in reply.entries:
        table.add_row(_time(one.at), one.account, one.action, one.subject, one.what, one.outcome)
    console().print(table)
    return ExitCode.DONE


def gateway_status(
    gateway: Annotated[str, typer.Argument(help="all if left out")] = "",
    credentials: CredentialsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how gateways are: whether they are there, and whether they have what was written here.

    Exit code 1 if a gateway that was asked for is not there.

    Example: edgetwin cloud gateway status
    """
    run_command(_gateway_status(gateway, credentials, as_json))


async def _gateway_status(gateway: str, credentials: Path | None, as_json: bool) -> int:
    found: list[GatewayBody] = []
    async with cloud_client(credentials) as client:
        after = ""
        while True:
            page = await client.cloud_status(gateway=gateway, after=after, limit=1000)
            found += page.gateways
            if not (after := page.after):
                break
    if as_json:
        typer.echo(json.dumps({"gateways": [one.model_dump(mode="json") for one in found]}))
    elif not found:
        typer.echo("No gateways." if not gateway else f"There is no gateway {gateway}.")
    else:
        table = plain_table("GATEWAY", "STATE", "HEARD", "IT HAS ALL", "COMMANDS")
        now_ms = int(time.time() * 1000)
        for one in found:
            state = ("mending" if one.mending else "online") if one.online else "offline"
            heard = age_text(now_ms - one.heard_at) if one.heard_at else "never"
            table.add_row(one.gateway, state, heard, "not yet" if one.unacked else "yes", str(one.commands))
        console().print(table)
    return ExitCode.NO if gateway and not any(one.online for one in found) else ExitCode.DONE


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
