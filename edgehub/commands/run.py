"""`edgetwin run`: the gateway itself, in the foreground."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from pathlib import Path
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, print_error
from edgehub.settings import load_settings, state_folder
from edgehub.state import StateFolder
from twin.clock import SystemClock
from twin.errors import EdgetwinError


def run(
    config: Annotated[Path | None, typer.Option("--config", help="Settings file; see edgetwin check-config.")] = None,
) -> None:
    """Run the gateway until Ctrl-C: broker, mappers, twins.

    Example: EDGETWIN_STATE=./state edgetwin run
    """
    try:
        settings = load_settings(config, os.environ).settings
        logging.basicConfig(
            level=settings.log.level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
        )
        asyncio.run(_run(config))
    except EdgetwinError as error:
        print_error(error)
        raise typer.Exit(ExitCode.FAILED) from None


async def _run(config: Path | None) -> None:
    from edgehub.app import Gateway

    settings = load_settings(config, os.environ).settings
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    folder = StateFolder(state_folder(os.environ))
    async with Gateway.running(settings, folder, clock=SystemClock(), rng=random.Random()):
        await stop.wait()
