"""What every command needs: errors that become exit codes, and a connection to the running hub."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Any, NoReturn

import typer

from edgehub.settings import state_folder
from edgehub.state import START_REMEDY, CliAccess, NotRunning, StateFolder
from twin.client import TwinClient
from twin.errors import EdgetwinError, InvalidDocuments, InvalidMessage, InvalidName, LinkError, Refused
from twin.link.mqtt import MqttLink
from twin.link.options import MqttOptions

CONNECT_S = 3.0


class ExitCode(IntEnum):
    """What a command's end means to a program."""

    DONE = 0
    NO = 1
    USAGE = 2
    NOT_RUNNING = 3
    REFUSED = 4
    FAILED = 5


def run_command(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command to its end and leave the process with its exit code; Ctrl-C ends it quietly."""
    try:
        code = asyncio.run(_interruptible(work))
    except EdgetwinError as error:
        print_error(error)
        code = _code_of(error)
    except BrokenPipeError:
        # The reader of our output has gone (`edgetwin watch | head`); nothing more can be said on it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.DONE
    raise typer.Exit(code)


def print_error(error: EdgetwinError) -> None:
    """Say on stderr what failed and what to do."""
    typer.echo(f"error: {error}", err=True)


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


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return ExitCode.DONE


def _code_of(error: EdgetwinError) -> ExitCode:
    if isinstance(error, NotRunning | LinkError):
        return ExitCode.NOT_RUNNING
    if isinstance(error, Refused | InvalidDocuments | InvalidName | InvalidMessage) or error.code in _INPUT_CODES:
        return ExitCode.REFUSED
    return ExitCode.FAILED


_INPUT_CODES = frozenset({"invalid_settings", "unreadable_file", "unwritable_file"})
