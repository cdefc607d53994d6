"""`edgetwin kubeconfig`: where Kubernetes clients on this gateway find its local API."""

from __future__ import annotations

from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, folder, print_error
from edgehub.kubeapi.keys import KeyFolder
from edgehub.state import NotRunning


def kubeconfig(
    show: Annotated[bool, typer.Option("--show", help="Print the file itself; it holds a token.")] = False,
) -> None:
    """Print the path of the kubeconfig of the gateway's local Kubernetes API. Exit code 3 if that is off.

    Example: KUBECONFIG=$(edgetwin kubeconfig) kubectl get pods -A
    """
    place = KeyFolder(folder().kube_api).kubeconfig
    try:
        text = place.read_text(encoding="utf-8")
    except OSError as error:
        message = f"there is no kubeconfig at {place}: {error.strerror}"
        remedy = "Set kube_api.listen, such as 127.0.0.1:10550, and restart the hub as this user."
        print_error(NotRunning(message, remedy=remedy))
        raise typer.Exit(ExitCode.NOT_RUNNING) from None
    typer.echo(text if show else str(place), nl=not show)
