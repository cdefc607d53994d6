"""`edgetwin mapper simulate`: devices of a document with simulated values, on a hub or just shown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from edgehub.checking import Checked, checked
from edgehub.commands.session import ExitCode, hub_client, run_command
from edgehub.simulation import SimulatedValue, lent, simulated_values
from edgehub.state import NotRunning
from mappers.sdk.errors import InvalidSettings
from mappers.sdk.registry import Registry
from twin.manifest.catalog import Stored
from twin.manifest.document import DocumentKind
from twin.manifest.yaml import Source
from twin.model import TwinKey
from twin.show.documents import read_sources
from twin.show.events import event_lines
from twin.show.table import console, plain_table, short_key, value_text

_SHOWN_EVERY_S: Final = 1.0


def simulate(
    file: Annotated[list[Path], typer.Argument(help="File or folder of YAML or JSON; - for stdin.")],
    once: Annotated[bool, typer.Option("--once", help="Show one value of each property, without a hub.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the values as they move, without a hub.")] = False,
    seconds: Annotated[float | None, typer.Option(help="End after so many seconds; else with Ctrl-C.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: one object, or one a line as values move.")] = False,
) -> None:
    """Run the devices of documents with simulated values on the running hub, and show them; nothing is reached for.

    At the end the gateway's documents are as they were: those it did not have are deleted, with their twins. A device
    that it has is simulated meanwhile, and read again afterwards.

    Example: edgetwin mapper simulate plant.yaml --seconds 60
    """
    run_command(_simulate(file, once, dry_run, seconds, as_json))


async def _simulate(files: list[Path], once: bool, dry_run: bool, seconds: float | None, as_json: bool) -> int:
    mappers = Registry.installed()
    found = checked([Source(one.name, one.text.encode()) for one in read_sources(files)], mappers)

    def values_at(time_s: float) -> list[SimulatedValue]:
        return list(simulated_values(found, mappers, time_s))

    if not values_at(time.time()):
        message = "none of the documents is a device with a property that has a visitor"
        raise InvalidSettings(message, remedy="Add a Device; see docs/documents.md.")
    if once:
        _print_once(values_at(time.time()), as_json=as_json)
        return ExitCode.DONE
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await (_show_here(values_at, as_json) if dry_run else _show_hub(found, as_json))
    return ExitCode.DONE


def _print_once(values: list[SimulatedValue], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"values": [_row(one) for one in values]}, ensure_ascii=False))
        return
    table = plain_table("DEVICE", "PROPERTY", "VALUE", "UNIT")
    for one in values:
        table.add_row(short_key(str(one.key)), one.name, value_text(one.value), one.unit)
    console().print(table, markup=False)


async def _show_here(values_at: Callable[[float], list[SimulatedValue]], as_json: bool) -> None:
    """Each value as it changes, until cancelled."""
    last: dict[tuple[TwinKey, str], object] = {}
    while True:
        for one in values_at(time.time()):
            place = one.key, one.name
            if place in last and last[place] == one.value:
                continue
            last[place] = one.value
            text = f"{short_key(str(one.key))} {one.name} = {value_text(one.value)} {one.unit}".rstrip()
            typer.echo(json.dumps(_row(one), ensure_ascii=False) if as_json else text)
        await asyncio.sleep(_SHOWN_EVERY_S)


async def _show_hub(found: Checked, as_json: bool) -> None:
    """What the hub stores of the simulated devices, until cancelled."""
    devices = {str(TwinKey.parse(f"{one.document.namespace}/{one.ref.name}")) for one in _devices(found)}
    try:
        async with (
            hub_client(timeout_s=60.0) as client,
            lent(client, found) as reply,
            client.watch(kind="device") as events,
        ):
            for warning in reply.warnings:
                typer.echo(f"warning: {warning}", err=True)
            typer.echo(f"simulating {', '.join(map(short_key, sorted(devices)))}; then all is put back", err=True)
            async for event in events:
                if event.twin not in devices:
                    continue
                lines = [event.model_dump_json(exclude_defaults=True)] if as_json else event_lines(event)
                for line in lines:
                    typer.echo(line)
    except NotRunning as error:
        remedy = f"{error.remedy} Or use --once or --dry-run, which need no hub."
        raise NotRunning(error.message, remedy=remedy) from None


def _devices(found: Checked) -> tuple[Stored, ...]:
    return found.view.all(DocumentKind.DEVICE)


def _row(one: SimulatedValue) -> dict[str, object]:
    return {"twin": str(one.key), "property": one.name, "value": one.value, "unit": one.unit}
