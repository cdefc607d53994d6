"""`edgetwin pods`: the pods of the gateway as a table."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from edgehub.commands.session import ExitCode, folder, hub_client, run_command
from edgehub.offline import stored_twins
from edgehub.state import NotRunning
from twin.model import Kind
from twin.show.table import console, plain_table
from twin.wire.api import TwinBody

_STYLES = {"Running": "green", "Succeeded": "green", "Pending": "yellow", "Failed": "red"}


def pods(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only pods of this namespace.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all that is known.")] = False,
) -> None:
    """List the pods of the gateway. Exit code 1 if one is neither ready nor done.

    Without a running hub, how they were when it ended.

    Example: edgetwin pods --namespace shop
    """
    run_command(_pods(namespace, as_json))


def value_of(body: TwinBody, name: str, default: Any = "") -> Any:
    """What a pod's twin reports of one thing."""
    return body.reported[name].value if name in body.reported else default


async def _pods(namespace: str, as_json: bool) -> int:
    try:
        async with hub_client() as client:
            found = [one async for one in client.list(kind=Kind.POD, namespace=namespace)]
    except NotRunning as reason:
        if not folder().registry.exists():
            raise
        typer.echo(f"{reason.message}; this is how it left them", err=True)
        twins = stored_twins(folder()).items()
        found = [body for key, body in twins if key.kind is Kind.POD and namespace in ("", key.namespace)]
    if as_json:
        typer.echo(json.dumps({"pods": [one.model_dump(mode="json", exclude_defaults=True) for one in found]}))
    elif not found:
        typer.echo("No pods. `edgetwin apply -f FILE` adds some.")
    else:
        table = plain_table("POD", "READY", "STATUS", "RESTARTS", "REASON")
        for one in found:
            table.add_row(*_row(one))
        console().print(table)
    well = all(value_of(one, "ready", False) or value_of(one, "phase") == "Succeeded" for one in found)
    return ExitCode.DONE if well else ExitCode.NO


def _row(body: TwinBody) -> list[Text | str]:
    containers = {name: one for name, one in value_of(body, "containers", {}).items() if not one.get("init")}
    phase = value_of(body, "phase", "Pending")
    ready = sum(bool(one.get("ready")) for one in containers.values())
    reason, message = value_of(body, "reason"), value_of(body, "message")
    why = f"{reason}: {message}" if message else reason
    return [
        body.twin.removeprefix(f"{Kind.POD}/"),
        f"{ready}/{len(containers)}",
        Text(phase, style=_STYLES.get(phase, "")),
        str(value_of(body, "restarts", 0)),
        why,
    ]
