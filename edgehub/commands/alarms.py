"""`edgetwin alarms`: what fires, who has seen it, and the rules behind it."""

from __future__ import annotations

from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, folder, hub_client, run_command
from edgehub.offline import stored_twins
from edgehub.state import NotRunning
from twin.alarm import AlarmState, Severity
from twin.model import Kind
from twin.show.alarms import acknowledge, listed, print_alarms, print_rules, rules_told
from twin.wire.api import TwinBody

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]


def list_(
    state: Annotated[
        list[AlarmState] | None, typer.Option("--state", help="Only those in this state; may be given again.")
    ] = None,
    severity: Annotated[Severity | None, typer.Option("--severity", help="Only this severe or worse.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    as_json: Json = False,
) -> None:
    """List the alarms that fire or are about to. Exit code 1 if one fires that nobody has acknowledged.

    Without a running hub, how they were when it ended.

    Example: edgetwin alarms list --severity critical
    """
    run_command(_list(frozenset(state or ()), severity, every, as_json))


def ack(
    name: Annotated[str, typer.Argument(help="The alarm as `list` shows it, or its beginning.")],
    note: Annotated[str, typer.Option("--note", help="A word to whoever looks next.")] = "",
    as_json: Json = False,
) -> None:
    """Acknowledge an alarm that fires: say that it was seen. If it ends and fires again, that is another one.

    Example: edgetwin alarms ack device-silent.boiler --note "the electrician is on the way"
    """
    run_command(_ack(name, note, as_json))


def rules(as_json: Json = False) -> None:
    """List the rules of alarms: those of documents, and those that every gateway has.

    Without a running hub, those of the last one.

    Example: edgetwin alarms rules
    """
    run_command(_rules(as_json))


async def _list(states: frozenset[AlarmState], severity: Severity | None, every: bool, as_json: bool) -> int:
    shown = listed(await _twins(Kind.ALARM), states, severity, every=every)
    print_alarms(shown, as_json=as_json)
    return ExitCode.NO if any(alarm.state is AlarmState.FIRING for _, alarm in shown) else ExitCode.DONE


async def _ack(name: str, note: str, as_json: bool) -> int:
    async with hub_client() as client:
        return await acknowledge(client, name, note, as_json=as_json)


async def _rules(as_json: bool) -> int:
    found = await _twins(Kind.GATEWAY)
    print_rules([rule for body in found for rule in rules_told(body)], as_json=as_json)
    return ExitCode.DONE


async def _twins(kind: Kind) -> list[TwinBody]:
    try:
        async with hub_client() as client:
            return [one async for one in client.list(kind=kind)]
    except NotRunning as reason:
        if not folder().registry.exists():
            raise
        typer.echo(f"{reason.message}; this is how it left them", err=True)
        return [body for key, body in stored_twins(folder()).items() if key.kind is kind]
