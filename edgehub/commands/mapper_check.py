"""`edgetwin mapper check`: documents against the mappers' own models, without a hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgehub.checking import Checked, checked
from edgehub.commands.session import ExitCode, print_error
from mappers.sdk.registry import Registry
from twin.errors import EdgetwinError
from twin.manifest.document import DocumentKind
from twin.manifest.problems import InvalidManifest, Problem
from twin.manifest.yaml import Source
from twin.show.documents import read_sources


def check(
    file: Annotated[list[Path], typer.Argument(help="File or folder of YAML or JSON; - for stdin.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Check documents as a hub would that has no others: form, references, and each mapper's own settings.

    Every problem has its file, line, key path, value and remedy on stderr; then the exit code is 4.

    Example: edgetwin mapper check plant.yaml
    """
    try:
        sources = [Source(one.name, one.text.encode()) for one in read_sources(file)]
        found = checked(sources, Registry.installed())
    except InvalidManifest as error:
        if as_json:
            typer.echo(json.dumps({"problems": [_row(problem) for problem in error.problems], "warnings": []}))
        else:
            print_error(error)
        raise typer.Exit(ExitCode.REFUSED) from None
    except EdgetwinError as error:
        print_error(error)
        raise typer.Exit(ExitCode.REFUSED) from None
    if as_json:
        typer.echo(json.dumps({"problems": [], "warnings": [_row(warning) for warning in found.manifest.warnings]}))
        return
    for warning in found.manifest.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{_counted(found)}: all fit")


def _counted(found: Checked) -> str:
    counts = {
        "device model": len(found.view.all(DocumentKind.DEVICE_MODEL)),
        "connection": len(found.view.all(DocumentKind.CONNECTION)),
        "mapper": len(found.view.all(DocumentKind.MAPPER)),
        "device": len(found.view.all(DocumentKind.DEVICE)),
    }
    said = [f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items() if count]
    return ", ".join(said) or "no documents"


def _row(problem: Problem) -> dict[str, str | int]:
    return {
        "file": problem.source,
        "line": problem.line,
        "path": problem.path,
        "text": problem.text,
        "remedy": problem.remedy,
    }
