"""What every command line of ours needs: exit codes, errors told on stderr, work that Ctrl-C ends quietly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from enum import IntEnum
from typing import Any, Final, NoReturn

import typer

from twin.errors import EdgetwinError, InvalidDocuments, InvalidMessage, InvalidName, LinkError, Refused


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
        code = code_of(error)
    except BrokenPipeError:
        # The reader of our output has gone (`edgetwin watch | head`); nothing more can be said on it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.DONE
    raise typer.Exit(code)


def print_error(error: EdgetwinError) -> None:
    """Say on stderr what failed and what to do."""
    typer.echo(f"error: {error}", err=True)


async def _interruptible(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return ExitCode.DONE


def code_of(error: EdgetwinError) -> ExitCode:
    """The exit code of a command that ends with this error."""
    if isinstance(error, LinkError) or error.code in _ABSENT_CODES:
        return ExitCode.NOT_RUNNING
    if isinstance(error, Refused | InvalidDocuments | InvalidName | InvalidMessage) or error.code in _INPUT_CODES:
        return ExitCode.REFUSED
    return ExitCode.FAILED


_ABSENT_CODES: Final = frozenset({"not_running", "cloud_not_running"})
_INPUT_CODES: Final = frozenset(
    {
        *("invalid_settings", "unreadable_file", "unwritable_file", "invalid_credentials", "not_joined"),
        *("cannot_start", "no_such_container", "secret_key", "envelope"),
        *("unknown_board", "invalid_board", "invalid_image", "no_such_disk", "disk_refused", "invalid_provisioning"),
        *("invalid_key", "bundle_refused"),
    }
)
