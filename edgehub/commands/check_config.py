"""`edgetwin check-config`: the settings as they are in force, and where each is from."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from edgehub.broker_tls import check_tls
from edgehub.commands.session import ExitCode, print_error
from edgehub.settings import NOT_SETTINGS, PREFIX, load_settings, settings_keys, state_folder, variable_of
from twin.errors import EdgetwinError

_OF_A_CLOUD: Final = f"{PREFIX}CLOUD_"
_ALIKE: Final = 0.9


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
    for name, near in misspelt(os.environ):
        typer.echo(f"warning: {name} is no setting, and changes nothing; did you mean {near}?", err=True)
    tree = loaded.settings.model_dump(mode="json")
    folder = str(state_folder(os.environ))
    if as_json:
        typer.echo(json.dumps({"file": str(loaded.file or ""), "state": folder, "settings": tree}))
        return
    typer.echo(f"# from {loaded.file or 'the defaults'}; state in {folder}")
    _show(tree, (), loaded.overrides)


def misspelt(environment: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Variables that are nearly a setting's, each with that one."""
    known = [variable_of(path) for path in settings_keys()]
    for name in sorted(environment):
        if name.startswith(PREFIX) and not name.startswith(_OF_A_CLOUD) and name not in NOT_SETTINGS:
            near = difflib.get_close_matches(name, known, 1, _ALIKE)
            if near and name not in known:
                yield name, near[0]


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
