"""`edgetwin pushes`: where readings go, how far they are, and what keeps them; `pushes test` tries one."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated, Any

import typer
from rich.text import Text

from edgehub.commands.session import ExitCode, folder, hub_client, run_command
from edgehub.offline import stored_twins
from edgehub.push.control import ask_test
from edgehub.push.state import PushState, push_state
from edgehub.state import NotRunning
from twin.errors import Refused
from twin.model import DEFAULT_NAMESPACE, Kind
from twin.show.table import age_text, console, plain_table
from twin.show.waiting import waiting
from twin.sqlite_progress import SetAside, read_aside, read_progress

_STYLES = {"idle": "green", "sending": "green", "waiting": "yellow", "broken": "red"}
_SHOWN = 20
MAX_WAIT_S = 60.0


def pushes(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with all that is known.")] = False,
) -> None:
    """List the pushes: where they go, how they are, what waits. Exit code 1 if one delivers nothing or has dropped.

    Without a running hub, how they were when it ended.

    Example: edgetwin pushes
    """
    if context.invoked_subcommand is None:
        run_command(_list(as_json))


def try_(
    name: Annotated[str, typer.Argument(help="The push, namespace/name or name.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Send one test reading by a push, beside its queue, and say what came back. Exit code 1 if it did not arrive.

    The reading is of the property edgetwin-test of the device edgetwin-test, with the value 1.

    Example: edgetwin pushes test plant/collector
    """
    run_command(_try(name, as_json))


def aside(
    name: Annotated[str, typer.Argument(help="The push, namespace/name or name.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the readings that a target refused for good, and why; the last 1000 of each push are kept.

    Example: edgetwin pushes aside plant/collector
    """
    run_command(_aside(name, as_json))


async def known_pushes() -> list[PushState]:
    """What the twins of the pushes say; of the last hub, if none runs. Raises NotRunning."""
    try:
        async with hub_client() as client:
            found = [one async for one in client.list(kind=Kind.PUSH)]
    except NotRunning as reason:
        if not folder().registry.exists():
            raise
        typer.echo(f"{reason.message}; this is how it left them", err=True)
        found = [body for key, body in stored_twins(folder()).items() if key.kind is Kind.PUSH]
    return sorted(map(push_state, found), key=lambda one: one.name)


async def _list(as_json: bool) -> int:
    found = await known_pushes()
    if as_json:
        typer.echo(json.dumps({"pushes": [one.model_dump(mode="json") for one in found]}))
    elif not found:
        typer.echo("No pushes. `edgetwin apply -f FILE` with a document of the kind Push adds one.")
    else:
        now_ms = time.time_ns() // 1_000_000
        table = plain_table(
            "NAME", "TYPE", "TARGET", "STATE", "WAITING", "LAG", "SENT", "DROPPED", "ASIDE", "LAST SENT"
        )
        for one in found:
            state = Text(one.state, style=_STYLES.get(one.state, ""))
            numbers = (str(one.sent), _bad(one.dropped), _bad(one.aside))
            last = age_text(now_ms - one.last_sent) if one.last_sent else "never"
            table.add_row(one.name, one.type, one.target, state, str(one.waiting), f"{one.lag_s} s", *numbers, last)
            if one.why:
                table.add_row("", "", Text(one.why, style="red"))
        console().print(table)
    return ExitCode.NO if any(one.state in ("waiting", "broken") or one.dropped for one in found) else ExitCode.DONE


async def _try(name: str, as_json: bool) -> int:
    whole = _whole(name)
    async with hub_client():  # says why, if no hub runs
        with waiting(f"sending a test reading by {whole}", quiet=as_json):
            reply = await ask_test(folder().run, whole, MAX_WAIT_S)
    if reply.outcome == "unknown":
        raise Refused(reply.why, remedy="`edgetwin pushes` lists them.")
    if as_json:
        typer.echo(json.dumps({"push": whole, **reply.model_dump(mode="json")}))
    elif reply.outcome == "delivered":
        typer.echo(f"{whole}: delivered in {reply.took_ms} ms")
    else:
        typer.echo(f"{whole}: not delivered ({reply.outcome}) after {reply.took_ms} ms: {reply.why}")
    return ExitCode.DONE if reply.outcome == "delivered" else ExitCode.NO


async def _aside(name: str, as_json: bool) -> int:
    whole = _whole(name)
    found = await asyncio.to_thread(_kept, whole)
    if as_json:
        rows: list[dict[str, Any]] = [
            {"reading": json.loads(one.reading), "why": one.why, "at": one.at_ms} for one in found
        ]
        typer.echo(json.dumps({"push": whole, "aside": rows}))
        return ExitCode.DONE
    for one in found[-_SHOWN:]:
        typer.echo(f"{one.reading}\n  {one.why}")
    more = f", the last {_SHOWN} are shown" if len(found) > _SHOWN else ""
    typer.echo(f"{len(found)} readings set aside{more}")
    return ExitCode.DONE


def _kept(name: str) -> list[SetAside]:
    known = read_progress(folder().pushes)
    queue = next((queue for queue, one in known.items() if one.name == name), None)
    if queue is None:
        message = f"there is no push {name} that has begun"
        raise Refused(message, remedy="`edgetwin pushes` lists them.")
    return read_aside(folder().pushes, queue)


def _whole(name: str) -> str:
    return name if "/" in name else f"{DEFAULT_NAMESPACE}/{name}"


def _bad(count: int) -> Text:
    return Text(str(count), style="red" if count else "")
