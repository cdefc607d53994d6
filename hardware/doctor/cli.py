"""`edgetwin hardware doctor`: what the machine has, and what is wrong with it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from hardware.boards import board as board_of
from hardware.doctor.ask import AskKernel
from hardware.doctor.checks import Finding, Level, findings
from hardware.doctor.facts import gather
from hardware.doctor.inventory import Inventory, take
from hardware.errors import HardwareError
from twin.console import ExitCode, code_of, print_error
from twin.show.table import console, plain_table

_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "red"}


def doctor(
    board: Annotated[str, typer.Option("--board", help="Compare with a board's profile too.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Look at this machine as a gateway: ports, chips, clock, storage, certificate, hub. Nothing is changed.

    Exit code 1 if there is an error among the findings; warnings are for people.

    Example: edgetwin hardware doctor --board raspberry-pi-4
    """
    from edgehub.settings import state_folder

    try:
        profile = board_of(board) if board else None
    except HardwareError as error:
        print_error(error)
        raise typer.Exit(code_of(error)) from None
    inventory = take(Path("/"), AskKernel())
    found = findings(inventory, gather(state_folder(os.environ), Path(__file__).stat().st_mtime), profile)
    if as_json:
        typer.echo(json.dumps({"findings": [asdict(one) for one in found], "inventory": asdict(inventory)}))
    else:
        _show(found)
        _show_lines(inventory)
    raise typer.Exit(ExitCode.NO if any(one.level is Level.ERROR for one in found) else ExitCode.DONE)


def _show(found: tuple[Finding, ...]) -> None:
    shown = plain_table("LEVEL", "CODE", "SEEN", "REMEDY")
    for one in found:
        shown.add_row(Text(one.level, style=_STYLES[one.level]), one.code, one.seen, one.remedy)
    console().print(shown)


def _show_lines(inventory: Inventory) -> None:
    """Lines for documents, ready to be copied."""
    for port in inventory.serial:
        about = " ".join(filter(None, (port.description, f"rs485: {port.rs485}" if port.rs485 else "")))
        typer.echo(f"serialPort: {port.stable or port.device}" + (f"  # {about}" if about else ""))
    for chip in inventory.gpio:
        typer.echo(f"chip: {chip.device}  # {chip.label}, {chip.lines} lines")
    for adapter in inventory.bluetooth:
        typer.echo(f"adapter: {adapter}")
