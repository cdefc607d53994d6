"""`edgetwin mapper list`: what is installed, and what is broken."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from edgehub.commands.session import ExitCode, print_error
from mappers.sdk.listing import Installed, installed
from twin.show.table import console, plain_table


def list_(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """List the mappers that are installed: package, what the driver offers, KubeEdge's names for the protocol.

    A broken one is said on stderr with its error, and the exit code is 1; the others work.

    Example: edgetwin mapper list --json
    """
    found = installed()
    if as_json:
        typer.echo(json.dumps({"mappers": [_row(one) for one in found]}))
    else:
        table = plain_table("MAPPER", "PACKAGE", "OFFERS", "KUBEEDGE", "ENTRY POINT")
        for one in found:
            table.add_row(one.name, one.package, _offers(one), _aliases(one), one.place)
        console().print(table)
    broken = [one.error for one in found if one.error]
    for error in broken:
        print_error(error)
    raise typer.Exit(ExitCode.NO if broken else ExitCode.DONE)


def _row(one: Installed) -> dict[str, Any]:
    mapper = one.mapper
    return {
        "name": one.name,
        "package": one.package,
        "entryPoint": one.place,
        "capabilities": sorted(mapper.capabilities) if mapper else [],
        "kubeedge": sorted(mapper.aliases) if mapper else [],
        "error": one.error.message if one.error else None,
        "remedy": one.error.remedy if one.error else None,
    }


def _offers(one: Installed) -> str:
    if one.mapper is None:
        return "broken"
    return ", ".join(("read", "write", *sorted(one.mapper.capabilities)))


def _aliases(one: Installed) -> str:
    return ", ".join(sorted(one.mapper.aliases)) if one.mapper else ""
