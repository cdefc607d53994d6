"""`edgetwin run`: the gateway itself, in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from edgehub.commands.session import ExitCode, print_error
from edgehub.settings import load_settings
from twin.errors import EdgetwinError

LEAN: Final = {
    "MALLOC_ARENA_MAX": "1",  # one heap for all threads, which hardly ever allocate at once
    "MALLOC_TRIM_THRESHOLD_": "131072",  # what reading many documents took goes back to the system
    "PYTHONTZPATH": "/usr/share/zoneinfo",  # else zoneinfo, a part of pydantic, reads all that Python was built with
}
"""Memory that hub and mapper host do without, some megabytes; whoever has set one of them is heard."""


def run(
    config: Annotated[Path | None, typer.Option("--config", help="Settings file; see edgetwin check-config.")] = None,
    stop_pods: Annotated[
        bool, typer.Option("--stop-pods", help="End all pods with the hub; else they run on.")
    ] = False,
) -> None:
    """Run the gateway until Ctrl-C: broker, mappers, twins, pods.

    Example: EDGETWIN_STATE=./state edgetwin run
    """
    try:
        load_settings(config, os.environ)
    except EdgetwinError as error:
        print_error(error)
        raise typer.Exit(ExitCode.REFUSED) from None
    # The same process goes on without the command line's own imports.
    argv = [sys.executable, "-m", "edgehub.hub", *([str(config)] if config else [])]
    stop = {"EDGETWIN_PODS_STOP_WITH_HUB": "true"} if stop_pods else {}
    os.execve(sys.executable, argv, {**LEAN, **os.environ, **stop})
