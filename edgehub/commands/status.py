"""`edgetwin status`: how the gateway is, also when its broker is dead."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, folder, hub_client, print_error, run_command
from edgehub.health import read_health
from edgehub.state import CliAccess, NotRunning
from twin.show.table import age_text, short_key
from twin.wire.api import ChildStatus, ConnectionStatus, StatusReply, SyncBody


def status(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show how the gateway is: broker, children, devices, what went through, alarms.

    Exit code 1 if something is wrong, 3 if no hub runs.

    Example: edgetwin status --json
    """
    run_command(_status(as_json))


async def _status(as_json: bool) -> int:
    try:
        async with hub_client() as client:
            reply = await client.status()
    except NotRunning as error:
        if not CliAccess.read(folder()).hub_lives():
            raise
        print_error(error)
        health = read_health(folder().health)
        typer.echo(f"from the health file, {age_text(int(time.time() * 1000) - health.written_at)} old:", err=True)
        _print(health.status, as_json)
        return ExitCode.NOT_RUNNING
    _print(reply, as_json)
    healthy = not reply.alarms and not reply.devices_bad and all(map(_is_well, reply.children))
    return ExitCode.DONE if healthy else ExitCode.NO


def _is_well(child: ChildStatus) -> bool:
    return child.running and not child.problem


def _print(reply: StatusReply, as_json: bool) -> None:
    if as_json:
        typer.echo(reply.model_dump_json())
        return
    up = age_text(int(time.time() * 1000) - reply.started_at)
    bad = ", ".join(map(short_key, reply.devices_bad))
    rows = [
        ("gateway", f"{reply.gateway}, edgetwin {reply.version}, process {reply.pid}, up {up}"),
        ("state", reply.state_folder),
        ("broker", reply.broker),
        *((child.name, _child(child)) for child in reply.children),
        *((("disabled", ", ".join(reply.mappers_disabled)),) if reply.mappers_disabled else ()),
        ("devices", f"{reply.devices}" + (f", with bad quality: {bad}" if bad else ", all good")),
        *((("simulated", ", ".join(map(short_key, reply.devices_simulated))),) if reply.devices_simulated else ()),
        *(("connection", _connection(one)) for one in reply.connections),
        ("reports", f"{reply.reports} with {reply.updates} values, {reply.refused} refused"),
        *((("cloud", _sync(reply.sync)),) if reply.sync is not None else ()),
        *((("dashboard", reply.web),) if reply.web else ()),
        *(("ALARM", alarm) for alarm in reply.alarms),
        *(("fires", alarm) for alarm in reply.firing),
    ]
    for name, text in rows:
        typer.echo(f"{name:<10} {text}")


def _sync(one: SyncBody) -> str:
    if one.state == "off":
        return "off: none is named; `edgetwin join TOKEN` joins one"
    since = age_text(int(time.time() * 1000) - one.since)
    parts = [f"{one.state} for {since}", one.cloud, one.why]
    if one.unsent:
        parts.append(f"{one.unsent} unsent leaves, the oldest {one.oldest_unsent_s:.0f} s old")
        parts.append(f"{one.lag_s:.0f} s behind")
    if one.last_resync:
        ago = age_text(int(time.time() * 1000) - one.last_resync)
        parts.append(f"last resync {ago} ago in {one.last_resync_s:.1f} s")
    return ", ".join(part for part in parts if part)


def _connection(one: ConnectionStatus) -> str:
    parts = [f"{one.name} {one.state or 'not heard of yet'}", one.mapper]
    if one.requests:
        parts.append(f"{one.requests} requests of {one.latency_ms:.1f} ms")
    if one.devices_silent:
        parts.append(f"{one.devices_silent} of {one.devices} devices silent")
    if one.errors:
        parts.append(f"{one.errors} failed, last: {one.last_error}")
    return ", ".join(part for part in parts if part)


def _child(child: ChildStatus) -> str:
    parts = [f"process {child.pid}" if child.running else "not running"]
    if child.limits:
        parts.append(child.limits)
    if child.restarts:
        parts.append(f"{child.restarts} restarts")
    if child.last_end:
        age = age_text(int(time.time() * 1000) - child.last_end_at)
        parts.append(f"{age} ago: {child.last_end}")
    if child.problem:
        parts.append(f"PROBLEM: {child.problem}")
    return ", ".join(parts)
