"""`edgetwin cloud alarms`: the alarms of all gateways. Any role may look, an operator acknowledges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cloudsync.ask.session import CredentialsFile, cloud_client
from twin.alarm import AlarmState, Severity
from twin.console import ExitCode, run_command
from twin.model import Kind
from twin.show.alarms import acknowledge, listed, print_alarms, print_rules, rules_told

Json = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Gateway = Annotated[str, typer.Option("--gateway", help="Only those of this gateway.")]


def list_(
    state: Annotated[
        list[AlarmState] | None, typer.Option("--state", help="Only those in this state; may be given again.")
    ] = None,
    severity: Annotated[Severity | None, typer.Option("--severity", help="Only this severe or worse.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    gateway: Gateway = "",
    credentials: CredentialsFile = None,
    as_json: Json = False,
) -> None:
    """List the alarms that fire or are about to, as far as gateways have told. Exit code 1 if nobody has seen one.

    Example: edgetwin cloud alarms list --severity critical
    """
    run_command(_list(frozenset(state or ()), severity, every, gateway, credentials, as_json))


def ack(
    name: Annotated[str, typer.Argument(help="The alarm as `list` shows it, or its beginning.")],
    note: Annotated[str, typer.Option("--note", help="A word to whoever looks next.")] = "",
    credentials: CredentialsFile = None,
    as_json: Json = False,
) -> None:
    """Acknowledge an alarm that fires. Its gateway hears of it when it is reached.

    Example: edgetwin cloud alarms ack device-silent.boiler.gw-1 --note "the electrician is on the way"
    """
    run_command(_ack(name, note, credentials, as_json))


def rules(gateway: Gateway = "", credentials: CredentialsFile = None, as_json: Json = False) -> None:
    """List the rules of alarms that gateways go by.

    Example: edgetwin cloud alarms rules --gateway gw-1
    """
    run_command(_rules(gateway, credentials, as_json))


async def _list(
    states: frozenset[AlarmState],
    severity: Severity | None,
    every: bool,
    gateway: str,
    credentials: Path | None,
    as_json: bool,
) -> int:
    async with cloud_client(credentials) as client:
        found = [one async for one in client.list(kind=Kind.ALARM, gateway=gateway)]
    shown = listed(found, states, severity, every=every)
    print_alarms(shown, as_json=as_json, gateways=True)
    return ExitCode.NO if any(alarm.state is AlarmState.FIRING for _, alarm in shown) else ExitCode.DONE


async def _ack(name: str, note: str, credentials: Path | None, as_json: bool) -> int:
    async with cloud_client(credentials) as client:
        return await acknowledge(client, name, note, as_json=as_json)


async def _rules(gateway: str, credentials: Path | None, as_json: bool) -> int:
    async with cloud_client(credentials) as client:
        found = [one async for one in client.list(kind=Kind.GATEWAY, gateway=gateway)]
    print_rules([rule for body in found for rule in rules_told(body)], as_json=as_json)
    return ExitCode.DONE
