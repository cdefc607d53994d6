"""`edgetwin check-config`: the settings as they are in force, and where each is from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from edgehub.broker_tls import check_tls
from edgehub.commands.session import ExitCode, print_error
from edgehub.settings import load_settings, settings_keys, state_folder, variable_of
from twin.errors import EdgetwinError


def check_config(
    config: Annotated[Path | None, typer.Option("--config", help="Settings file to check.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check the settings and say where each is from. Exit code 4 if they cannot be used.

    Example: EDGETWIN_BROKER_PORT=1884 edgetwin check-config
    """
    try:
        loaded = load_settings(config, os.environ)
        check_tls(loaded.settings.broker.tls)
    except EdgetwinError as error:
        print_error(error)
        raise typer.Exit(ExitCode.REFUSED) from None
    tree = loaded.settings.model_dump(mode="json")
    folder = str(state_folder(os.environ))
    if as_json:
        typer.echo(json.dumps({"file": str(loaded.file or ""), "state": folder, "settings": tree}))
        return
    typer.echo(f"# from {loaded.file or 'the defaults'}; state in {folder}")
    _show(tree, (), loaded.overrides)


def _show(tree: dict[str, Any], above: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    known = set(settings_keys())
    for key, value in tree.items():
        path = (*above, key)
        indent = "  " * len(above)
        if path in known:
            note = f"  # from {variable_of(path)}" if ".".join(path) in overrides else ""
            typer.echo(f"{indent}{key}: {json.dumps(value)}{note}")
        else:
            typer.echo(f"{indent}{key}:")
            _show(value, path, overrides)
