"""`edgetwin watch`: twins as they change, one line a change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, hub_client, run_command
from edgehub.commands.table import short_key, value_text
from twin.model import Quality, TwinKey
from twin.wire.api import LeafBody, WatchEvent


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


def event_lines(event: WatchEvent) -> list[str]:
    """An event as lines for people: a time, a twin, a property and its value each."""
    if event.ready:
        return []
    body, name = event.body, short_key(event.twin)
    if body is None:
        return [f"{_time(datetime.now(UTC))} {name} removed"]
    reported = list(body.reported) if event.initial else event.reported
    desired = list(body.desired) if event.initial else event.desired
    lines = []
    for one in sorted(reported):
        leaf = body.reported[one]
        lines.append(f"{_leaf_time(leaf)} {name} {one} = {value_text(leaf.value)}{_unit(leaf)}{_quality(leaf)}")
    for one in sorted(desired):
        wanted = body.desired.get(one)
        if wanted is None:
            lines.append(f"{_time(datetime.now(UTC))} {name} {one} no longer desired")
        else:
            state = "pending" if one in body.delta else "met"
            lines.append(
                f"{_leaf_time(wanted)} {name} {one} desired {value_text(wanted.value)}{_unit(wanted)} ({state})"
            )
    return lines


def _leaf_time(leaf: LeafBody) -> str:
    return _time(datetime.fromtimestamp(leaf.at / 1000, UTC))


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unit(leaf: LeafBody) -> str:
    return f" {leaf.unit}" if leaf.unit else ""


def _quality(leaf: LeafBody) -> str:
    return "" if leaf.quality is Quality.GOOD else f"  [{leaf.quality}: {leaf.reason}]"
