"""`edgetwin account`: logins on the gateway's own broker for programs of the user's."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, folder, print_error
from edgehub.logins import Logins
from twin.errors import EdgetwinError, StoreError


def account(
    action: Annotated[str, typer.Argument(help="create, list or delete")],
    name: Annotated[str, typer.Argument(help="name of the account")] = "",
    device: Annotated[list[str] | None, typer.Option(help="Device it may report on; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Make, list or delete a login for a program: it may ask the API, and report on the named devices only.

    The password is shown once. A running hub takes the change within two seconds.

    Example: edgetwin account create dashboard --device plant/tank
    """
    try:
        _act(action, name, tuple(device or ()), as_json)
    except EdgetwinError as error:
        print_error(error)
        failed = isinstance(error, StoreError)
        raise typer.Exit(ExitCode.FAILED if failed else ExitCode.REFUSED) from None


def _act(action: str, name: str, devices: tuple[str, ...], as_json: bool) -> None:
    place = folder()
    logins = Logins.read(place.logins)
    if action == "list":
        rows = [{"name": login.name, "devices": list(login.devices)} for login in logins.logins]
        lines = [f"{login.name}: {', '.join(login.devices) or 'no devices, API only'}" for login in logins.logins]
        typer.echo(json.dumps({"accounts": rows}) if as_json else "\n".join(lines) or "No accounts.")
    elif action == "create":
        place.make()
        changed, password = logins.with_login(name, devices)
        changed.write(place.logins)
        if any(login.name == name for login in logins.logins):
            typer.echo(f"warning: {name} was there; its old password and its devices of before count no more", err=True)
        told = {"account": name, "password": password}
        typer.echo(json.dumps(told) if as_json else f"account   {name}\npassword  {password}")
    elif action == "delete":
        logins.without(name).write(place.logins)
        typer.echo(json.dumps({"deleted": name}) if as_json else f"account {name} deleted")
    else:
        message = f"account {action}: there is no such action"
        raise EdgetwinError(message, remedy="Actions are create, list and delete.")
