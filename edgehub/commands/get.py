"""`edgetwin get`: twins as a table, or as JSON."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, folder, hub_client, run_command
from edgehub.offline import stored_twins
from edgehub.state import NotRunning
from twin.errors import UnknownTwin
from twin.model import TwinKey
from twin.show.table import console, twin_table
from twin.show.tree import twin_tree
from twin.wire.api import TwinBody


def get(
    twin: Annotated[
        str, typer.Argument(help="name, namespace/name or kind/namespace/name; all devices if left out")
    ] = "",
    kind: Annotated[str, typer.Option(help="Twins of this kind: device, gateway, mapper, ...")] = "device",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only twins of this namespace.")] = "",
    as_tree: Annotated[bool, typer.Option("--tree", help="Gateway, device, property as a tree.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all that is known.")] = False,
) -> None:
    """Show twins: what is reported, what is desired, and how good it is.

    Without a running hub the store is read directly.

    Example: edgetwin get plant/tank
    """
    if as_tree and as_json:
        raise typer.BadParameter("--tree and --json exclude each other")  # noqa: EM101 shown as it is
    run_command(_get(twin, kind, namespace, as_tree, as_json))


async def _get(twin: str, kind: str, namespace: str, as_tree: bool, as_json: bool) -> int:
    if twin:
        TwinKey.parse(twin)  # a wrong name is told before anything is connected
    try:
        async with hub_client() as client:
            found = (
                [await client.get(twin)] if twin else [one async for one in client.list(kind=kind, namespace=namespace)]
            )
    except NotRunning as reason:
        found = _stored(reason, twin, kind, namespace)
    if as_json:
        typer.echo(json.dumps({"twins": [one.model_dump(mode="json", exclude_defaults=True) for one in found]}))
    else:
        _print(found, as_tree)
    return ExitCode.DONE


def _stored(reason: NotRunning, twin: str, kind: str, namespace: str) -> list[TwinBody]:
    """The twins as the last hub left them, if there ever was one."""
    if not folder().registry.exists():
        raise reason
    twins = stored_twins(folder())
    typer.echo(f"{reason.message}; these are the values as it left them", err=True)
    if not twin:
        return [body for key, body in twins.items() if key.kind == kind and namespace in ("", key.namespace)]
    key = TwinKey.parse(twin)
    if key not in twins:
        message = f"{key} is not known here"
        raise UnknownTwin(message, remedy="`edgetwin get` lists the twins.")
    return [twins[key]]


def _print(twins: list[TwinBody], as_tree: bool) -> None:
    if not twins:
        typer.echo("No twins. `edgetwin apply -f FILE` adds devices.")
        return
    now_ms = int(time.time() * 1000)
    console().print(twin_tree(twins, now_ms, nowhere="this gateway") if as_tree else twin_table(twins, now_ms))
