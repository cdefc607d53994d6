"""The export of the metrics as the gateway knows it: a child, if the settings ask for one."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from edgehub.export.setup import ChildSetup, ExportSetup, SourceSetup
from edgehub.listeners import MetricsSettings
from twin.supervisor import Child, Supervisor

HUNG_S: Final = 60.0
FIRST_SIGN_S: Final = 120.0
GRACE_S: Final = 3.0


@asynccontextmanager
async def exporting(
    settings: MetricsSettings, gateway: str, log_level: str, supervisor: Supervisor
) -> AsyncIterator[None]:
    """Have the metrics sent to ``metrics.otlp.url`` until the end."""
    otlp = settings.otlp
    export = ExportSetup(
        sources=(SourceSetup(url=f"http://{settings.listen}/metrics", instance=gateway),),
        url=otlp.url,
        every_s=otlp.every_s,
        headers=otlp.headers,
        token_file=otlp.token_file,
        ca=otlp.ca,
    )
    setup = ChildSetup(export=export, log_level=log_level, watchdog_s=HUNG_S)
    child = Child(
        "otlp",
        (sys.executable, "-m", "edgehub.export.process"),
        stdin=setup.model_dump_json().encode(),
        grace_s=GRACE_S,
        level_of=_level_of,
        watchdog_s=HUNG_S,
        first_sign_s=FIRST_SIGN_S,
    )
    runner = await supervisor.add(child)
    try:
        yield
    finally:
        await supervisor.remove(runner)


def _level_of(line: str) -> int:
    return logging.getLevelNamesMapping().get(line.partition(" ")[0], logging.INFO)
