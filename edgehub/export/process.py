"""The process of the hub's own export: ``python -m edgehub.export.process``, told what to do on standard input."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
from typing import Final

from edgehub.export.exporter import Exporter
from edgehub.export.rounds import Round, Told
from edgehub.export.setup import ChildSetup
from mappers.sdk.beat import beat
from twin.clock import SystemClock
from twin.errors import EdgetwinError
from twin.link.backoff import Backoff
from twin.parent import die_with_parent
from twin.supervisor import PARENT_ENV

FAILED: Final = 5
RETRY_BASE_S: Final = 0.5

log = logging.getLogger("edgehub.export")


def main() -> None:
    """Export until SIGTERM."""
    try:
        setup = ChildSetup.model_validate_json(sys.stdin.buffer.read())
        die_with_parent(int(os.environ[PARENT_ENV]))
        logging.basicConfig(level=setup.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it says each request
        asyncio.run(_export(setup))
    except EdgetwinError as error:
        sys.stderr.write(f"ERROR export: {error}\n")
        sys.exit(FAILED)


async def _export(setup: ChildSetup) -> None:
    backoff = Backoff(RETRY_BASE_S, setup.export.every_s, random.Random())
    told = Told([one.url for one in setup.export.sources], setup.export.url)
    exporter = Exporter(setup.export, clock=SystemClock(), backoff=backoff, tell=lambda done: _log(told, done))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(exporter.run(), name="export"),
            group.create_task(beat(setup.watchdog_s), name="beat"),
        ]
        await stop.wait()
        for task in tasks:
            task.cancel()


def _log(told: Told, done: Round) -> None:
    for one in told.news(done):
        if one.why:
            log.warning("%s: %s", one.url, one.why)
        else:
            log.info("%s: it goes", one.url)


if __name__ == "__main__":
    main()
