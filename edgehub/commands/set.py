"""`edgetwin set`: desired values, and whether the device has followed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer

from edgehub.commands.session import ExitCode, hub_client, run_command
from edgehub.state import NotRunning
from twin.client import TwinClient
from twin.errors import InvalidMessage
from twin.model import Quality, TwinKey
from twin.show.assignments import desired_values
from twin.show.table import short_key, value_text
from twin.wire.api import TwinBody, WatchEvent


def set_(
    twin: Annotated[str, typer.Argument(help="name or namespace/name of the device")],
    values: Annotated[list[str] | None, typer.Argument(help="property=value; the value as JSON, or plain text")] = None,
    unset: Annotated[list[str] | None, typer.Option(help="Property whose desired value is to be deleted.")] = None,
    version: Annotated[int | None, typer.Option(help="Only if the twin is at this version.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the device; 0 returns once it is on disk.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write desired values, all or none; on disk when this returns. Exit code 1 if the device has not followed.

    Example: edgetwin set plant/tank valve=40 pump=true
    """
    run_command(_set(twin, values or [], unset or [], version, wait, as_json))


async def _set(
    twin: str, values: list[str], unset: list[str], version: int | None, wait_s: float, as_json: bool
) -> int:
    key = TwinKey.parse(twin)
    desired = desired_values(values, unset)
    if not desired and not unset:
        message = "nothing to set"
        raise InvalidMessage(message, remedy=f"Name a property and its value: edgetwin set {twin} valve=40")
    began_s = time.monotonic()
    try:
        async with hub_client() as client:
            if wait_s <= 0:
                new = await client.set(str(key), desired, unset=unset, version=version)
                return _report(key, new, None, desired, began_s, as_json)
            async with client.watch(str(key)) as events:
                new = await client.set(str(key), desired, unset=unset, version=version)
                body = await _followed(events, client, key, new, desired, wait_s)
            return _report(key, new, body, desired, began_s, as_json)
    except NotRunning as error:
        remedy = f"{error.remedy} Desired values are written by a running hub only."
        raise NotRunning(error.message, remedy=remedy) from None


async def _followed(
    events: AsyncIterator[WatchEvent],
    client: TwinClient,
    key: TwinKey,
    version: int,
    desired: dict[str, Any],
    wait_s: float,
) -> TwinBody:
    """The twin once its delta is free of what was set, or when the time is over."""
    try:
        async with asyncio.timeout(wait_s):
            async for event in events:
                if (
                    event.body is not None
                    and event.body.version >= version
                    and not desired.keys() & event.body.delta.keys()
                ):
                    return event.body
    except TimeoutError:
        pass
    return await client.get(str(key))


def _report(
    key: TwinKey, version: int, body: TwinBody | None, desired: dict[str, Any], began_s: float, as_json: bool
) -> int:
    pending = sorted(desired.keys() & body.delta.keys()) if body is not None else []
    took_ms = round((time.monotonic() - began_s) * 1000)
    if as_json:
        result = {"twin": str(key), "version": version, "waited": body is not None, "pending": pending, "ms": took_ms}
        typer.echo(json.dumps(result))
        return ExitCode.NO if pending else ExitCode.DONE
    name = short_key(str(key))
    if body is None:
        typer.echo(f"{name} version {version}: on disk")
    elif not pending:
        shown = ", ".join(f"{one} = {value_text(body.reported[one].value)}" for one in desired if one in body.reported)
        typer.echo(f"{name} version {version}: the device reports {shown or 'no change'} ({took_ms} ms)")
    else:
        for one in pending:
            typer.echo(f"{name} version {version}: {one} is on disk, the device has not followed{_reason(body, one)}")
    return ExitCode.NO if pending else ExitCode.DONE


def _reason(body: TwinBody, name: str) -> str:
    leaf = body.reported.get(name)
    if leaf is None:
        return "; it has reported nothing yet"
    if leaf.quality is not Quality.GOOD:
        return f"; quality is {leaf.quality} ({leaf.reason})"
    return f"; it reports {value_text(leaf.value)}"
