"""`edgetwin query`: rows of the twins that fit, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
import sys
from itertools import zip_longest
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from edgehub.commands.session import ExitCode, folder, hub_client, run_command
from edgehub.commands.table import console, value_text
from edgehub.offline import query_stored
from edgehub.state import NotRunning
from twin.wire.api import QueryReply, QueryRequest


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
    if as_json:
        typer.echo(reply.model_dump_json(exclude_defaults=True))
        return ExitCode.DONE
    if as_csv:
        _print_csv(reply)
    else:
        _print_table(reply)
    if reply.more:
        typer.echo(f"there is more{f': --after {reply.after}' if reply.after else ', raise --limit'}", err=True)
    return ExitCode.DONE


def _print_csv(reply: QueryReply) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(reply.columns)
    writer.writerows([_csv_cell(value) for value in row] for row in reply.rows)


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_table(reply: QueryReply) -> None:
    if not reply.rows:
        typer.echo("No twins fit.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, (title, unit) in enumerate(zip_longest(reply.columns, reply.units, fillvalue="")):
        right = all(isinstance(row[number], int | float | None) for row in reply.rows)
        table.add_column(_text(f"{title} ({unit})" if unit else title), justify="right" if right else "left")
    for row in reply.rows:
        table.add_row(*(_text("-" if value is None else value_text(value)) for value in row))
    console().print(table)


def _text(shown: str) -> Text:
    """Text as it is: neither markup nor what a terminal would obey."""
    return Text("".join(one if one.isprintable() else repr(one)[1:-1] for one in shown))
