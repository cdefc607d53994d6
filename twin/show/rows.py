"""Rows of a query, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import json
import sys
from itertools import zip_longest

import typer
from rich.table import Table
from rich.text import Text

from twin.show.table import console, value_text
from twin.wire.api import QueryReply


def print_rows(reply: QueryReply, *, as_json: bool, as_csv: bool) -> None:
    """Print an answer, and on stderr whether there is more."""
    if as_json:
        typer.echo(reply.model_dump_json(exclude_defaults=True))
        return
    if as_csv:
        _print_csv(reply)
    else:
        _print_table(reply)
    if reply.more:
        typer.echo(f"there is more{f': --after {reply.after}' if reply.after else ', raise --limit'}", err=True)


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
