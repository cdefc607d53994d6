"""`edgetwin mesh doctor`: the whole way from a name to an endpoint, looked at as a client does."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from ipaddress import ip_network
from typing import Annotated

import typer
from rich.text import Text

from edgehub.commands.mesh_resolve import ask
from edgehub.commands.mesh_routes import known_routes
from edgehub.commands.session import ExitCode, hub_client, run_command
from edgehub.mesh.doctor import Finding, Machine, Verdict, examine
from twin.show.table import console, plain_table
from twin.show.waiting import waiting
from twin.wire.mesh import MeshReply, MeshRequest, RouteTwin

_STYLES = {Verdict.WELL: "green", Verdict.DOUBTFUL: "yellow", Verdict.BROKEN: "red"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Check the mesh from the process to each endpoint; say what is broken and the remedy. Exit code 1 if something is.

    Example: edgetwin mesh doctor
    """
    run_command(_doctor(as_json))


async def _doctor(as_json: bool) -> int:
    async with hub_client() as client:
        mesh = await client.mesh(MeshRequest(parts=["checks"]))
    routes = await known_routes()
    with waiting("asking names and endpoints", quiet=as_json):
        found = await asyncio.to_thread(lambda: [*examine(mesh, routes, Machine(ask)), *_kernel(mesh, routes)])
    if as_json:
        typer.echo(json.dumps({"findings": [asdict(one) for one in found]}))
    else:
        _print(found)
    return ExitCode.NO if any(one.verdict is Verdict.BROKEN for one in found) else ExitCode.DONE


def _kernel(mesh: MeshReply, routes: list[RouteTwin]) -> Iterator[Finding]:
    """What the nftables plane needs, where it carries anything; only root can look."""
    if os.geteuid() or not any(port.plane == "nftables" for one in routes for port in one.ports):
        return
    from mesh.planes.nft import doctor  # ctypes and the library, for this command only

    for one in doctor.check((ip_network(mesh.network),)):
        verdict = Verdict.WELL if one.well else Verdict.BROKEN if one.needed else Verdict.DOUBTFUL
        yield Finding("nftables", verdict, f"{one.name} {one.says}", "" if one.well else one.remedy)


def _print(found: list[Finding]) -> None:
    table = plain_table("CHECK", "", "FINDING")
    for one in found:
        table.add_row(one.code, Text(one.verdict, style=_STYLES[one.verdict]), one.text)
        if one.remedy:
            table.add_row("", "", Text(one.remedy, style="dim"))
    console().print(table)
