"""`edgetwin query`: rows of the twins that fit, as a table, JSON or CSV."""

from __future__ import annotations

from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, folder, hub_client, run_command
from edgehub.offline import query_stored
from edgehub.state import NotRunning
from twin.show.rows import print_rows
from twin.wire.api import QueryRequest


def query(
    text: Annotated[str, typer.Argument(metavar="QUERY", help="SELECT ... FROM twins WHERE ...")],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows of one answer.")] = 1000,
    after: Annotated[str, typer.Option(help="Continue after this twin; without ORDER BY, GROUP BY and LIMIT.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values with a head line.")] = False,
) -> None:
    """Ask for twins with a query in a subset of SQL.

    Without a running hub the store is read directly.

    Example: edgetwin query "SELECT name, reported.level FROM twins WHERE tags.area = 'hall-2'"
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")  # noqa: EM101 shown as it is
    run_command(_query(QueryRequest(query=text, limit=limit, after=after), as_json=as_json, as_csv=as_csv))


async def _query(request: QueryRequest, *, as_json: bool, as_csv: bool) -> int:
    try:
        async with hub_client() as client:
            reply = await client.query(request.query, limit=request.limit, after=request.after)
    except NotRunning as reason:
        if not folder().registry.exists():
            raise
        reply = query_stored(folder(), request)
        typer.echo(f"{reason.message}; these are the values as it left them", err=True)
    print_rows(reply, as_json=as_json, as_csv=as_csv)
    return ExitCode.DONE
