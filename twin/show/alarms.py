"""Alarms for people: which are shown, the table, and how one is acknowledged. The same on a gateway and in a cloud."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import typer
from pydantic import ValidationError
from rich.text import Text

from twin.alarm import RULES, AlarmState, AlarmTwin, RuleBody, Severity, acknowledgement, alarm_of
from twin.client import TwinClient
from twin.console import ExitCode
from twin.errors import Refused, UnknownTwin
from twin.model import Kind
from twin.show.table import age_text, console, plain_table, value_text
from twin.wire.api import TwinBody

_STYLES: Final = {Severity.CRITICAL: "bold red", Severity.WARNING: "yellow", Severity.INFO: ""}
_PREFIX: Final = f"{Kind.ALARM}/"


def listed(
    twins: Iterable[TwinBody], states: frozenset[AlarmState], severity: Severity | None, *, every: bool
) -> list[tuple[TwinBody, AlarmTwin]]:
    """Those that are asked for, the worst first; without ``states`` all that are not over, or ``every`` one."""
    worst = tuple(Severity)
    found = [
        (body, alarm)
        for body, alarm in _read(twins)
        if (alarm.state in states if states else every or alarm.state is not AlarmState.RESOLVED)
        and (severity is None or worst.index(alarm.severity) >= worst.index(severity))
    ]
    return sorted(found, key=lambda one: (_rank(one[1]), -worst.index(one[1].severity), -one[1].since))


def print_alarms(found: Sequence[tuple[TwinBody, AlarmTwin]], *, as_json: bool, gateways: bool = False) -> None:
    """Print them; with their ``gateways`` if there are several."""
    if as_json:
        bodies = [
            {"alarm": body.twin.removeprefix(_PREFIX), "gateway": body.gateway, **alarm.model_dump(mode="json")}
            for body, alarm in found
        ]
        typer.echo(json.dumps({"alarms": bodies}))
        return
    if not found:
        typer.echo("No alarms.")
        return
    table = plain_table("ALARM", "STATE", "SEVERITY", "SINCE", "MESSAGE", *(["GATEWAY"] if gateways else []))
    now_ms = int(time.time() * 1000)
    for body, alarm in found:
        severity = Text(alarm.severity, style=_STYLES[alarm.severity] if alarm.state is AlarmState.FIRING else "dim")
        state, message = _state(alarm), _message(alarm)
        row: list[Text | str] = [
            body.twin.removeprefix(_PREFIX),
            state,
            severity,
            age_text(now_ms - alarm.since),
            message,
        ]
        table.add_row(*row, *([body.gateway] if gateways else []))
    console().print(table)


async def acknowledge(client: TwinClient, name: str, note: str, *, as_json: bool) -> int:
    """Acknowledge the one alarm that has this name, or begins so. Raises UnknownTwin, Refused."""
    bodies = {body.twin.removeprefix(_PREFIX): body async for body in client.list(kind=Kind.ALARM)}
    key = _named(name, list(bodies))
    alarm = alarm_of(bodies[key])
    wanted = acknowledgement(key, alarm, note)
    await client.set(bodies[key].twin, wanted)
    if as_json:
        typer.echo(json.dumps({"alarm": key, "since": alarm.since, "note": note}))
    else:
        typer.echo(f"{key} is acknowledged: {alarm.message}")
    return ExitCode.DONE


def rules_told(body: TwinBody) -> Iterator[RuleBody]:
    """The rules that a gateway's own twin lists; one that this release cannot read is left out."""
    leaf = body.reported.get(RULES)
    for one in leaf.value if leaf is not None and isinstance(leaf.value, list) else ():
        try:
            yield RuleBody.model_validate(one)
        except ValidationError:
            continue


def print_rules(rules: Sequence[RuleBody], *, as_json: bool) -> None:
    """Print rules."""
    if as_json:
        typer.echo(json.dumps({"rules": [rule.model_dump(mode="json") for rule in rules]}))
        return
    table = plain_table("RULE", "ABOUT", "WHEN", "FOR", "SEVERITY", "FROM")
    for rule in rules:
        state = rule.severity if rule.enabled else "off"
        table.add_row(
            *(rule.rule, rule.about, rule.when if rule.enabled else "", f"{rule.for_s:g} s", state),
            "every gateway" if rule.own else "document",
        )
    console().print(table)


def _named(name: str, keys: Sequence[str]) -> str:
    """The key that is meant: whole, without its namespace, or by its beginning, if that is one only."""
    found = [key for key in keys if name in (key, key.partition("/")[2])]
    found = found or [key for key in keys if key.startswith(name) or key.partition("/")[2].startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found:
        message = f"there is no alarm {name}"
        raise UnknownTwin(message, remedy="`edgetwin alarms list --all` shows all.")
    message = f"{name} may be {', '.join(sorted(found)[:5])}"
    raise Refused(message, remedy="Write more of its name.")


def _read(twins: Iterable[TwinBody]) -> Iterator[tuple[TwinBody, AlarmTwin]]:
    for body in twins:
        try:
            yield body, alarm_of(body)
        except ValidationError:
            continue  # it has not come whole yet


def _rank(alarm: AlarmTwin) -> int:
    order = (AlarmState.FIRING, AlarmState.ACKNOWLEDGED, AlarmState.PENDING, AlarmState.RESOLVED)
    return order.index(alarm.state)


def _state(alarm: AlarmTwin) -> str:
    if alarm.state is AlarmState.ACKNOWLEDGED:
        return f"acknowledged by {alarm.acknowledged_by}"
    return str(alarm.state)


def _message(alarm: AlarmTwin) -> str:
    value = "" if alarm.value is None or isinstance(alarm.value, bool) else f" [{value_text(alarm.value)}]"
    note = f" ({alarm.note})" if alarm.note and alarm.state is AlarmState.ACKNOWLEDGED else ""
    return f"{alarm.subject}: {alarm.message}{value if value not in alarm.message else ''}{note}"
