"""`edgetwin watch`: twins as they change, one line a change."""

from __future__ import annotations

from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, hub_client, run_command
from twin.model import TwinKey
from twin.show.events import event_lines


def watch(
    twin: Annotated[
        str, typer.Argument(help="name, namespace/name or kind/namespace/name; all devices if left out")
    ] = "",
    kind: Annotated[str, typer.Option(help="Twins of this kind: device, gateway, mapper, ...")] = "device",
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only twins of this namespace.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Follow twins: first as they are, then each change once it is on disk. Ctrl-C ends it.

    Example: edgetwin watch plant/tank
    """
    run_command(_watch(twin, kind, namespace, as_json))


async def _watch(twin: str, kind: str, namespace: str, as_json: bool) -> int:
    key = str(TwinKey.parse(twin)) if twin else ""
    async with hub_client() as client, client.watch(key, kind="" if key else kind, namespace=namespace) as events:
        async for event in events:
            if as_json:
                typer.echo(event.model_dump_json(exclude_defaults=True))
            else:
                for line in event_lines(event):
                    typer.echo(line)
    return ExitCode.DONE
