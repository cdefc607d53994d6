"""`edgetwin cloud get`, `query`, `watch`, `explain`, `history`: what any role may ask."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from cloudsync.ask.session import CredentialsFile, cloud_client
from twin.console import ExitCode, run_command
from twin.model import TwinKey
from twin.show.events import event_lines
from twin.show.explanation import explanation_lines
from twin.show.readings import asked_span, print_readings, read_all
from twin.show.rows import print_rows
from twin.show.table import console, twin_table
from twin.show.tree import twin_tree
from twin.wire.api import HistoryRequest

Twin = Annotated[str, typer.Argument(help="name, namespace/name or kind/namespace/name")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Csv = Annotated[bool, typer.Option("--csv", help="Comma-separated values.")]
Kind = Annotated[str, typer.Option(help="Twins of this kind: device, gateway, mapper, ...")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Only twins of this namespace.")]
Gateway = Annotated[str, typer.Option("--gateway", help="Only twins of this gateway.")]


def get(
    twin: Annotated[str, typer.Argument(help="name, namespace/name or kind/namespace/name; all if left out")] = "",
    kind: Kind = "device",
    namespace: Namespace = "",
    gateway: Gateway = "",
    credentials: CredentialsFile = None,
    as_tree: Annotated[bool, typer.Option("--tree", help="Gateway, device, property as a tree.")] = False,
    as_json: Json = False,
) -> None:
    """Show twins of any gateway: what is reported, what is desired, and how good it is.

    Example: edgetwin cloud get plant/tank
    """
    if as_tree and as_json:
        raise typer.BadParameter("--tree and --json exclude each other")  # noqa: EM101 shown as it is
    run_command(_get(twin, kind, namespace, gateway, credentials, as_tree=as_tree, as_json=as_json))


async def _get(
    twin: str, kind: str, namespace: str, gateway: str, credentials: Path | None, *, as_tree: bool, as_json: bool
) -> int:
    key = str(TwinKey.parse(twin)) if twin else ""
    async with cloud_client(credentials) as client:
        if key:
            found = [await client.get(key)]
        else:
            found = [one async for one in client.list(kind=kind, namespace=namespace, gateway=gateway)]
    if as_json:
        typer.echo(json.dumps({"twins": [one.model_dump(mode="json", exclude_defaults=True) for one in found]}))
    elif found:
        show = twin_tree if as_tree else twin_table
        console().print(show(found, int(time.time() * 1000)))
    else:
        typer.echo("No twins. `edgetwin cloud gateway status` shows which gateways are there.")
    return ExitCode.DONE


def query(
    text: Annotated[str, typer.Argument(metavar="QUERY", help="SELECT ... FROM twins WHERE ...")],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows of one answer.")] = 1000,
    after: Annotated[str, typer.Option(help="Continue after this twin; without ORDER BY, GROUP BY and LIMIT.")] = "",
    credentials: CredentialsFile = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Ask for twins of all gateways with a query in a subset of SQL.

    Example: edgetwin cloud query "SELECT gateway, COUNT(*) FROM twins WHERE kind = 'device' GROUP BY gateway"
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")  # noqa: EM101 shown as it is
    run_command(_query(text, limit, after, credentials, as_json=as_json, as_csv=as_csv))


async def _query(text: str, limit: int, after: str, credentials: Path | None, *, as_json: bool, as_csv: bool) -> int:
    async with cloud_client(credentials) as client:
        reply = await client.query(text, limit=limit, after=after)
    print_rows(reply, as_json=as_json, as_csv=as_csv)
    return ExitCode.DONE


def watch(
    twin: Annotated[str, typer.Argument(help="name, namespace/name or kind/namespace/name; all if left out")] = "",
    query: Annotated[str, typer.Option("--query", "-q", help="Follow the result of this query instead.")] = "",
    kind: Kind = "device",
    namespace: Namespace = "",
    gateway: Gateway = "",
    credentials: CredentialsFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Follow twins, or a live query: first as it is, then each change that enters, changes or leaves it.

    Example: edgetwin cloud watch --query "SELECT name, reported.level FROM twins WHERE reported.level > 80"
    """
    if query and (twin or namespace or gateway):
        raise typer.BadParameter("a query and names exclude each other")  # noqa: EM101 shown as it is
    run_command(_watch(twin, query, kind, namespace, gateway, credentials, as_json))


async def _watch(
    twin: str, query: str, kind: str, namespace: str, gateway: str, credentials: Path | None, as_json: bool
) -> int:
    key = str(TwinKey.parse(twin)) if twin else ""
    kind = "" if key or query else kind
    async with (
        cloud_client(credentials) as client,
        client.watch(key, kind=kind, namespace=namespace, gateway=gateway, query=query) as events,
    ):
        async for event in events:
            if as_json:
                typer.echo(event.model_dump_json(exclude_defaults=True))
            else:
                for line in event_lines(event):
                    typer.echo(line)
    return ExitCode.DONE


def explain(
    twin: Twin,
    name: Annotated[str, typer.Argument(metavar="PROPERTY", help="the property")],
    credentials: CredentialsFile = None,
    as_json: Json = False,
) -> None:
    """Say why a property has the value it has: who wrote at which site, who won, and who was overruled.

    Example: edgetwin cloud explain plant/tank valve
    """
    run_command(_explain(twin, name, credentials, as_json))


async def _explain(twin: str, name: str, credentials: Path | None, as_json: bool) -> int:
    async with cloud_client(credentials) as client:
        reply = await client.explain(str(TwinKey.parse(twin)), name)
    typer.echo(reply.model_dump_json() if as_json else "\n".join(explanation_lines(reply)))
    return ExitCode.DONE


def history(
    twin: Twin,
    name: Annotated[str, typer.Argument(metavar="PROPERTY", help="the property")],
    since: Annotated[str, typer.Option(help="How long ago, such as 1h or 7d, or a time in RFC 3339.")] = "1h",
    until: Annotated[str, typer.Option(help="The same; now if left out.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many readings, the oldest first.")] = 100_000,
    credentials: CredentialsFile = None,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """Show the readings that a gateway has sent of a property, and what is missing.

    Example: edgetwin cloud history plant/tank level --since 1d
    """
    run_command(_history(twin, name, since, until, limit, credentials, as_csv=as_csv, as_json=as_json))


async def _history(
    twin: str,
    name: str,
    since: str,
    until: str,
    limit: int,
    credentials: Path | None,
    *,
    as_csv: bool,
    as_json: bool,
) -> int:
    asked = asked_span(since, until)
    request = HistoryRequest(twin=str(TwinKey.parse(twin)), property=name, since=asked.since, until=asked.until)
    async with cloud_client(credentials) as client:
        reply = await read_all(client, request, limit)
    print_readings(reply, asked, as_csv=as_csv, as_json=as_json)
    return ExitCode.DONE
