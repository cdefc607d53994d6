"""`edgetwin explain`: who wrote a property, who won, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, hub_client, run_command
from twin.model import TwinKey
from twin.show.explanation import explanation_lines


def explain(
    twin: Annotated[str, typer.Argument(help="name, namespace/name or kind/namespace/name")],
    name: Annotated[str, typer.Argument(metavar="PROPERTY", help="the property")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Say why a property has the value it has: who wrote, who won, who was overruled, and whether the device followed.

    Example: edgetwin explain plant/tank valve
    """
    run_command(_explain(twin, name, as_json))


async def _explain(twin: str, name: str, as_json: bool) -> int:
    async with hub_client() as client:
        reply = await client.explain(str(TwinKey.parse(twin)), name)
    if as_json:
        typer.echo(reply.model_dump_json())
    else:
        typer.echo("\n".join(explanation_lines(reply)))
    return ExitCode.DONE
