"""The process of a gateway: ``python -m edgehub.hub [SETTINGS_FILE]``, which is what `edgetwin run` becomes.

It is apart from the command line so that a gateway, whose memory is a figure, does not carry what parses options.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
from pathlib import Path
from typing import Final

from edgehub.app import Gateway
from edgehub.notify import told_to_systemd
from edgehub.settings import Settings, load_settings, state_folder
from edgehub.state import StateFolder
from twin.clock import SystemClock
from twin.errors import EdgetwinError

FAILED: Final = 5


def main() -> None:
    """Run the gateway until SIGINT or SIGTERM."""
    try:
        settings = load_settings(Path(sys.argv[1]) if len(sys.argv) > 1 else None, os.environ).settings
        level = settings.log.level.upper()
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        asyncio.run(_serve(settings))
    except EdgetwinError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(FAILED)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(f"error: {place}{error.strerror}\n  Check free space and permissions of the state folder.\n")
        sys.exit(FAILED)


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    folder = StateFolder(state_folder(os.environ))
    async with (
        Gateway.running(settings, folder, clock=SystemClock(), rng=random.Random()) as gateway,
        told_to_systemd(os.environ, gateway.answers),
    ):
        await stop.wait()


if __name__ == "__main__":
    main()
