"""`edgetwin describe`: all that is known of one pod, with its events."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from edgehub.commands.pod_place import pod_twin
from edgehub.commands.pods import value_of
from edgehub.commands.session import ExitCode, run_command
from twin.show.table import age_text, console, plain_table
from twin.wire.api import TwinBody


def describe(
    pod: Annotated[str, typer.Argument(help="name or namespace/name")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show all that is known of a pod: conditions, containers, and what has happened lately.

    Example: edgetwin describe shop/web
    """
    run_command(_describe(pod, as_json))


async def _describe(pod: str, as_json: bool) -> int:
    body = await pod_twin(pod)
    if as_json:
        typer.echo(json.dumps(body.model_dump(mode="json", exclude_defaults=True)))
    else:
        _print(body)
    return ExitCode.DONE


def _print(body: TwinBody) -> None:
    for name in ("phase", "ready", "restarts", "reason", "message"):
        value = value_of(body, name)
        typer.echo(f"{name:<10} {str(value).lower() if isinstance(value, bool) else value}".rstrip())
    met = [f"{name}={str(one).lower()}" for name, one in value_of(body, "conditions", {}).items()]
    typer.echo(f"{'conditions':<10} {' '.join(met)}\n")
    containers = plain_table("CONTAINER", "STATE", "READY", "RESTARTS", "REASON", "EXIT")
    for name, one in value_of(body, "containers", {}).items():
        ready = str(one.get("ready", False)).lower()
        why = ": ".join(part for part in (one.get("reason", ""), one.get("message", "")) if part)
        containers.add_row(name, one["state"], ready, str(one["restarts"]), why, str(one.get("exit_code", "")))
    console().print(containers)
    now_ms = int(time.time() * 1000)
    events = plain_table("AGE", "CONTAINER", "EVENT", "TIMES", "MESSAGE")
    for event in value_of(body, "events", []):
        age = age_text(now_ms - event["at"])
        times = str(event.get("count", 1))
        events.add_row(age, event["container"], event["reason"], times, event["message"])
    typer.echo()
    console().print(events)
