"""`edgetwin mesh top`: what goes through the mesh right now, the busiest first."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edgehub.commands.session import ExitCode, hub_client, run_command
from twin.show.table import console, plain_table
from twin.wire.mesh import MeshReply, MeshRequest, TrafficBody

EVERY_S = 1.0
_BAD_PERCENT = 5.0


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object; implies --once.")] = False,
) -> None:
    """Show requests, errors and latencies of every service, live, until Ctrl-C.

    Example: edgetwin mesh top --once
    """
    run_command(_top(once, as_json))


async def _top(once: bool, as_json: bool) -> int:
    async with hub_client() as client:
        reply = await client.mesh(MeshRequest(parts=["traffic"]))
        if as_json:
            typer.echo(json.dumps({"traffic": [one.model_dump(mode="json") for one in busiest(reply)]}))
        elif once or not console().is_terminal:
            console().print(table(reply))
        else:
            with Live(table(reply), console=console(), auto_refresh=False) as live:
                while True:
                    await asyncio.sleep(EVERY_S)
                    reply = await client.mesh(MeshRequest(parts=["traffic"]))
                    live.update(table(reply), refresh=True)
    return ExitCode.DONE


def busiest(reply: MeshReply) -> list[TrafficBody]:
    """All services, by what goes through them now, then in all."""
    return sorted(reply.traffic, key=lambda one: (-one.requests_s, -one.requests, one.name))


def table(reply: MeshReply) -> Table:
    """One row a service."""
    made = plain_table("SERVICE", "REQUESTS/S", "ERRORS", "P50 MS", "P99 MS", "OPEN", "REQUESTS", "IN", "OUT")
    for column in made.columns[1:]:
        column.justify = "right"
    for one in busiest(reply):
        errors = Text(f"{one.error_percent:.1f} %", style="red" if one.error_percent >= _BAD_PERCENT else "")
        made.add_row(
            one.name,
            f"{one.requests_s:.1f}",
            errors,
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            str(one.active),
            str(one.requests),
            size_text(one.bytes_in),
            size_text(one.bytes_out),
        )
    return made


def size_text(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
