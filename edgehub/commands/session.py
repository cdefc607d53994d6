"""What every command needs: a connection to the running hub."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgehub.settings import state_folder
from edgehub.state import START_REMEDY, CliAccess, NotRunning, StateFolder
from twin.client import TwinClient
from twin.console import ExitCode as ExitCode  # the words of every command
from twin.console import print_error as print_error
from twin.console import run_command as run_command
from twin.errors import LinkError
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions

CONNECT_S = 3.0


def folder() -> StateFolder:
    """The state folder of this environment."""
    return StateFolder(state_folder(os.environ))


@asynccontextmanager
async def hub_client(timeout_s: float = 10.0) -> AsyncIterator[TwinClient]:
    """Connect to the running hub. Raises NotRunning with the reason if there is none."""
    access = CliAccess.read(folder())
    if not access.hub_lives():
        message = f"the hub of {folder().path} (process {access.pid}) has ended"
        raise NotRunning(message, remedy=START_REMEDY)
    name = f"edgetwin-cli-{secrets.token_hex(6)}"
    options = MqttOptions(access.host, access.port, name, access.account, access.password)
    async with MqttLink(options, rng=random.Random()) as link:
        try:
            await link.connected(CONNECT_S)
        except LinkError as error:
            message = f"the hub runs (process {access.pid}), its broker does not answer: {error.message}"
            raise NotRunning(message, remedy="`edgetwin status` reads the hub's health file.") from None
        async with TwinClient(link, account=access.account, client=name, timeout_s=timeout_s) as client:
            yield client
