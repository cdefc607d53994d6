"""`edgetwin join`: make this gateway one of a cloud's."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer

from edgehub.cloud_keys import CloudKeys
from edgehub.commands.session import ExitCode, folder, run_command
from edgehub.settings import load_settings
from twin.errors import IdentityRefused
from twin.show.waiting import waiting
from twin.wire.enrolment import JoinToken


def join(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Of `edgetwin cloud token create`; - reads it.")],
    again: Annotated[bool, typer.Option("--again", help="Leave the cloud that it has joined before.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="Settings file; see edgetwin check-config.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Join a cloud: the key is made here and stays here, the cloud gives it a certificate, the hub keeps it good.

    Example: edgetwin join TOKEN
    """
    run_command(_join(token, again, config, as_json))


async def _join(text: str, again: bool, config: Path | None, as_json: bool) -> int:
    from edgehub.enrolment import join as ask

    token = JoinToken.read((typer.get_text_stream("stdin").readline() if text == "-" else text).strip())
    settings = load_settings(config, os.environ).settings
    name = token.gateway or settings.gateway_name
    if settings.gateway.name and settings.gateway.name != name:
        message = f"the join token is for the gateway {name}, this one is {settings.gateway.name}"
        raise IdentityRefused(message, remedy=f"Ask for a token for it, or set gateway.name: {name}.")
    place = folder()
    place.make()
    keys = CloudKeys(place.keys)
    known = keys.connection()
    if known is not None and not again:
        message = f"this gateway is {known.gateway} of the cloud at {known.enrol_url} already"
        raise IdentityRefused(message, remedy="With --again it leaves that cloud and joins this one.")
    with waiting(f"asking the cloud at {token.host}:{token.port} for a certificate", quiet=as_json):
        enrolled = await ask(token, name, keys)
    ends_at = keys.ends_at()
    if name != settings.gateway_name:
        typer.echo(
            f"set gateway.name: {name} in edgetwin.yaml; the hub takes itself for {settings.gateway_name}", err=True
        )
    if as_json:
        told = {"gateway": enrolled.gateway, "host": token.host, "port": token.port, "ends_at": ends_at}
        typer.echo(json.dumps(told))
    else:
        until = time.strftime("%Y-%m-%d", time.gmtime(ends_at / 1000))
        typer.echo(f"gateway {enrolled.gateway} has joined the cloud at {token.host}:{token.port}")
        typer.echo(f"its certificate is good until {until} and is renewed by the hub; it is in {keys.folder}")
    return ExitCode.DONE
