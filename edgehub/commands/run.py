"""`edgetwin run`: the gateway itself, in the foreground."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, print_error
from edgehub.settings import load_settings
from twin.errors import EdgetwinError


def run(
    config: Annotated[Path | None, typer.Option("--config", help="Settings file; see edgetwin check-config.")] = None,
) -> None:
    """Run the gateway until Ctrl-C: broker, mappers, twins.

    Example: EDGETWIN_STATE=./state edgetwin run
    """
    try:
        load_settings(config, os.environ)
    except EdgetwinError as error:
        print_error(error)
        raise typer.Exit(ExitCode.REFUSED) from None
    # The same process goes on without the command line's own imports.
    os.execv(sys.executable, [sys.executable, "-m", "edgehub.hub", *([str(config)] if config else [])])
