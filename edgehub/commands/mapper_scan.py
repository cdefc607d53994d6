"""`edgetwin mapper scan`: devices that a driver finds, shown, and written as documents to begin with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from edgehub.checking import checked
from edgehub.commands.files import refuse_existing, write_new
from edgehub.commands.session import ExitCode, run_command
from edgehub.found import Place, documents, plain_name
from mappers.sdk import FoundDevice, Progress
from mappers.sdk.registry import Registry
from mappers.sdk.scan import devices, search_of
from twin.manifest.yaml import Source
from twin.model import DEFAULT_NAMESPACE
from twin.show.assignments import split_assignment
from twin.show.table import console, plain_table

_TOLD_EVERY_S: Final = 2.0


def scan(
    protocol: Annotated[str, typer.Argument(help="name of an installed mapper")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="key=value of the connection or the scan; see `mapper schema`")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="New file for the documents of what was found.")] = None,
    name: Annotated[str, typer.Option(help="Name of the Connection in it; the protocol's if not given.")] = "",
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the documents.")
    ] = DEFAULT_NAMESPACE,
    seconds: Annotated[float, typer.Option(help="End after so many seconds, with what was found.")] = 600.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look for devices, without a hub: finds, shows and, with --write, puts down documents to begin with.

    Progress is on stderr. Ctrl-C ends it with what was found until then. Exit code 1 if nothing was found.

    Example: edgetwin mapper scan opcua url=opc.tcp://192.0.2.20:4840 --write plant.yaml
    """
    run_command(_scan(protocol, settings or [], write, name, namespace, seconds, as_json))


async def _scan(
    protocol: str, settings: list[str], write: Path | None, name: str, namespace: str, seconds: float, as_json: bool
) -> int:
    registry = Registry.installed()
    mapper = registry.find(protocol)
    remedy = f"Write for instance host=192.0.2.10; `edgetwin mapper schema {protocol}` has the keys."
    search = search_of(mapper, dict(split_assignment(one, form="key=value", remedy=remedy) for one in settings))
    if write is not None:
        refuse_existing(write)
    progress = Shown(sys.stderr.isatty(), time.monotonic)
    found: list[FoundDevice] = []
    whole = False
    try:
        async with asyncio.timeout(seconds), contextlib.aclosing(devices(search, progress.tell)) as finding:
            async for one in finding:
                found.append(one)
                progress.say(f"found {one.name}  {_address(one)}")
        whole = True
    except (TimeoutError, asyncio.CancelledError):
        progress.say("ended early; this is what was found until then")
    progress.end()
    place = Place(plain_name(name or protocol), namespace, protocol, search.written)
    if write is not None and found:
        text = documents(place, found)
        checked([Source(str(write), text.encode())], registry)
        write_new({write: text}, private=True)
    _print(found, whole=whole, as_json=as_json)
    if write is not None and found and not as_json:
        typer.echo(f"Written to {write}; `edgetwin apply -f {write}` takes it.")
    return ExitCode.DONE if found else ExitCode.NO


def _print(found: list[FoundDevice], *, whole: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"whole": whole, "devices": [_row(one) for one in found]}, ensure_ascii=False))
        return
    if not found:
        typer.echo("No devices found.")
        return
    table = plain_table("DEVICE", "ADDRESS", "PROPERTIES", "SAYS")
    for one in found:
        points = ", ".join(point.name for point in one.points[:6])
        more = f" and {len(one.points) - 6} more" if len(one.points) > 6 else ""
        table.add_row(one.name, _address(one), points + more, ", ".join([*one.identity.values()] or [one.description]))
    console().print(table, markup=False)


def _row(one: FoundDevice) -> dict[str, object]:
    points = [
        {
            "name": point.name,
            "type": point.type,
            "access": point.access,
            "unit": point.unit,
            "visitor": dict(point.visitor),
        }
        for point in one.points
    ]
    return {
        "name": one.name,
        "address": dict(one.address),
        "description": one.description,
        "identity": dict(one.identity),
        "properties": points,
    }


def _address(one: FoundDevice) -> str:
    return ", ".join(f"{key}={value}" for key, value in one.address.items())


class Shown:
    """Progress on stderr: one line that moves on a terminal, now and then a line elsewhere."""

    def __init__(self, terminal: bool, now_s: Callable[[], float]) -> None:
        self._terminal = terminal
        self._now_s = now_s
        self._told_s = now_s()

    def tell(self, progress: Progress) -> None:
        """Show how far it is, but not at every step."""
        now_s = self._now_s()
        if now_s - self._told_s < (0.1 if self._terminal else _TOLD_EVERY_S):
            return
        self._told_s = now_s
        share = f"{progress.done} of {progress.of}" if progress.of else f"{progress.done}"
        self._write(f"{share} {progress.place}".rstrip(), last=False)

    def say(self, text: str) -> None:
        """Show something that is to stay."""
        self._write(text, last=True)

    def end(self) -> None:
        """Clear the line that moves."""
        if self._terminal:
            typer.echo("\r\x1b[K", err=True, nl=False, color=True)

    def _write(self, text: str, *, last: bool) -> None:
        line = "".join(one for one in text if one.isprintable())
        if self._terminal:
            typer.echo(f"\r\x1b[K{line[:110]}", err=True, nl=last, color=True)
        else:
            typer.echo(line, err=True)
