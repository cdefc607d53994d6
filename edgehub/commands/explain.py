"""`edgetwin explain`: who wrote a property, who won, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, hub_client, run_command
from edgehub.commands.table import short_key, value_text
from twin.model import TwinKey
from twin.wire.api import ExplainReply


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
        typer.echo("\n".join(_lines(reply)))
    return ExitCode.DONE


def _lines(reply: ExplainReply) -> list[str]:
    lines = [f"{short_key(reply.twin)} {reply.property}"]
    if reply.rules:
        lines.append("  rules     " + ", ".join(reply.rules))
    if reply.reported is None:
        lines.append("  reported  nothing yet")
    else:
        leaf = reply.reported
        quality = f"{leaf.quality} ({leaf.reason})" if leaf.reason else str(leaf.quality)
        lines.append(
            f"  reported  {value_text(leaf.value)} {leaf.unit}".rstrip() + f", {quality}, {_when(leaf.at)} by {leaf.by}"
        )
    for slot in reply.slots:
        value = "deleted" if slot.deleted else value_text(slot.value)
        fate = "stands" if slot.site == reply.winner else "overruled"
        lines.append(f"  desired   {value}, written at the {slot.site} {_when(slot.at)} by {slot.by}: {fate}")
    lines.append(f"  why       {reply.why}")
    if reply.slots:
        lines.append(
            "  delta     "
            + ("the device has not reported it yet" if reply.pending else "none, the device has followed")
        )
    return lines


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
