"""`edgetwin mapper new`: a project for a new protocol, whose tests pass at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgehub.commands.files import refuse_existing, write_new
from edgehub.commands.session import ExitCode, print_error
from mappers.sdk.errors import InvalidSettings
from mappers.sdk.registry import Registry
from mappers.sdk.scaffold import Project, new_project
from twin.errors import EdgetwinError


def new(
    name: Annotated[str, typer.Argument(help="name of the protocol; small letters, digits, hyphens")],
    folder: Annotated[Path | None, typer.Option(help="Where it is to be; ./NAME if not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Write a mapper to begin with: module, test, sample, README, pyproject.toml. Never over what is there.

    Exit code 4 if the name cannot be one, is taken by an installed mapper, or the folder is there.

    Example: edgetwin mapper new soil-probe
    """
    try:
        project = new_project(name)
        _not_taken(name)
        place = folder or Path(name)
        refuse_existing(place)
        if not dry_run:
            write_new({place / file: text for file, text in project.files.items()})
    except EdgetwinError as error:
        print_error(error)
        raise typer.Exit(ExitCode.REFUSED) from None
    if as_json:
        files = [str(place / file) for file in project.files]
        typer.echo(json.dumps({"mapper": name, "files": files, "written": not dry_run}))
    else:
        _tell(project, place, dry_run=dry_run)


def _tell(project: Project, place: Path, *, dry_run: bool) -> None:
    for file, text in project.files.items():
        typer.echo(f"{place / file}  {text.count(chr(10))} lines")
    if dry_run:
        typer.echo("(dry run: nothing was written)")
        return
    typer.echo(f"Its tests pass: cd {place} && python -m pytest")
    typer.echo("Install it beside edgetwin with `pip install -e .`; then `edgetwin mapper list` shows it.")


def _not_taken(name: str) -> None:
    if name in Registry.installed().names():
        message = f"a mapper {name!r} is installed already"
        raise InvalidSettings(message, remedy="Choose another name; `edgetwin mapper list` shows those that are taken.")
