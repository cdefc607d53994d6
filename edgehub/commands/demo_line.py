"""`edgetwin demo cut` and `demo restore`: the line between the demo's gateway and its cloud, and what that does."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import Final

import typer

from edgehub.commands.session import ExitCode, hub_client
from edgehub.demo.line import CUT, UP
from edgehub.state import StateFolder
from twin.errors import EdgetwinError
from twin.wire.api import SyncBody

CUT_S: Final = 6.0
RESTORE_S: Final = 30.0


class LineAction(StrEnum):
    """What to do with the line."""

    CUT = "cut"
    RESTORE = "restore"


async def turn_line(folder: StateFolder, action: LineAction) -> int:
    """Cut or restore it, and show the unsent leaves rise, or fall to 0."""
    if not folder.line.exists():
        message = f"no demo with a cloud runs on {folder.path}"
        raise EdgetwinError(message, remedy="Start one with `make demo`, in another terminal.")
    async with hub_client() as client:
        folder.line.write_text(CUT if action is LineAction.CUT else UP, encoding="ascii")
        typer.echo("the line to the cloud is " + ("cut" if action is LineAction.CUT else "back"))
        began_s = time.monotonic()
        ends_s = began_s + (CUT_S if action is LineAction.CUT else RESTORE_S)
        shown = ""
        while time.monotonic() < ends_s:
            sync = (await client.status()).sync
            assert sync is not None
            if (text := _text(sync)) != shown:
                typer.echo(text)
                shown = text
            if action is LineAction.RESTORE and sync.state == "live" and not sync.unsent:
                typer.echo(f"the cloud has it all again, {time.monotonic() - began_s:.1f} s after the line was back")
                return ExitCode.DONE
            await asyncio.sleep(0.5)
    if action is LineAction.CUT:
        typer.echo("the gateway goes on; `edgetwin demo restore` mends the line")
        return ExitCode.DONE
    return ExitCode.NO


def _text(sync: SyncBody) -> str:
    return f"{sync.state:<10}  {sync.unsent:>4} unsent leaves, the oldest {sync.oldest_unsent_s:.0f} s old"
