"""`edgetwin exec`: a command in a container, with this terminal and the container's own variables."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer

from edgehub.commands.pod_place import container_folder, pod_twin
from edgehub.commands.session import ExitCode, print_error
from edgehub.pods.within import Within, command_within
from twin.errors import EdgetwinError


def exec_(
    pod: Annotated[str, typer.Argument(help="name or namespace/name")],
    command: Annotated[list[str], typer.Argument(help="The command, after --.")],
    container: Annotated[
        str, typer.Option("--container", "-c", help="Which container; the only one if left out.")
    ] = "",
) -> None:
    """Run a command in a container; its exit code is that of the command. Needs the rights of the hub.

    Example: edgetwin exec shop/web -- sh -c 'echo $HOSTNAME'
    """
    try:
        within = asyncio.run(_within(pod, container, command))
    except EdgetwinError as error:
        print_error(error)
        raise typer.Exit(ExitCode.REFUSED) from None
    os.chdir(within.cwd)
    try:
        os.execvpe(within.argv[0], within.argv, within.env)
    except OSError as error:
        typer.echo(f"error: {within.argv[0]}: {error.strerror}\n  Name a program that the container has.", err=True)
        raise typer.Exit(127) from None


async def _within(pod: str, container: str, command: list[str]) -> Within:
    return command_within(container_folder(await pod_twin(pod), container), command)
