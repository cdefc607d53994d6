"""`edgetwin history`: the readings of a property as a line of bars with figures, as CSV, or as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, hub_client, run_command
from twin.model import TwinKey
from twin.show.readings import asked_span, print_readings, read_all
from twin.wire.api import HistoryRequest


def history(
    twin: Annotated[str, typer.Argument(help="name, namespace/name or kind/namespace/name")],
    name: Annotated[str, typer.Argument(metavar="PROPERTY", help="the property")],
    since: Annotated[str, typer.Option(help="How long ago, such as 1h or 7d, or a time in RFC 3339.")] = "1h",
    until: Annotated[str, typer.Option(help="The same; now if left out.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many readings, the oldest first.")] = 100_000,
    as_csv: Annotated[bool, typer.Option("--csv", help="One row a reading, and one a gap.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the readings that were kept of a property, and what was dropped.

    A property keeps readings when its document says so: `history: {keep: changes}`.

    Example: edgetwin history plant/tank level --since 1h
    """
    run_command(_history(twin, name, since, until, limit, as_csv=as_csv, as_json=as_json))


async def _history(twin: str, name: str, since: str, until: str, limit: int, *, as_csv: bool, as_json: bool) -> int:
    asked = asked_span(since, until)
    request = HistoryRequest(twin=str(TwinKey.parse(twin)), property=name, since=asked.since, until=asked.until)
    async with hub_client() as client:
        reply = await read_all(client, request, limit)
    print_readings(reply, asked, as_csv=as_csv, as_json=as_json)
    return ExitCode.DONE
