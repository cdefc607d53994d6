"""`edgetwin mesh flush`: takes from the kernel what the mesh has put there, and nothing else. Works without a hub."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, run_command
from mesh.errors import MeshError
from twin.errors import EdgetwinError


class FlushRefused(EdgetwinError):
    """The kernel does not let the mesh's table or route be taken away."""

    code = "flush_refused"


def flush(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be taken away, and leave it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Take the mesh's nftables table and its route from the kernel; needs root. Nothing else is touched.

    Connections that the kernel carries by them end. A hub that runs puts back what it needs.

    Example: edgetwin mesh flush --dry-run
    """
    run_command(_flush(dry_run, as_json))


async def _flush(dry_run: bool, as_json: bool) -> int:
    from mesh.planes.nft import doctor  # ctypes and the library, for this command only

    try:
        found = doctor.ours() if dry_run else doctor.flush()
    except MeshError as error:
        raise FlushRefused(error.message, remedy=error.remedy) from None
    if as_json:
        typer.echo(json.dumps({"removed": [] if dry_run else found, "found": found}))
    elif not found:
        typer.echo("There is nothing of the mesh in the kernel.")
    for one in found if not as_json else ():
        typer.echo(f"{one} {'would be removed' if dry_run else 'removed'}")
    return ExitCode.DONE
