"""`edgetwin hardware provision`: what a provisioning file says, done; or only checked."""

from __future__ import annotations

import asyncio
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer

from hardware.errors import InvalidProvisioning
from hardware.provision.apply import apply, without_secrets
from hardware.provision.file import ReadFile, read_file
from hardware.provision.machine import ThisMachine
from hardware.provision.receipt import NAME, Receipt, State
from hardware.provision.render import identity_files, network_files, settings_files, time_files
from twin.console import ExitCode, run_command
from twin.manifest.fields import parsed_duration_ms
from twin.private_file import write_private

RETRY_S: Final = 2.0


def provision(
    file: Annotated[Path, typer.Argument(help="The provisioning file.")],
    check: Annotated[bool, typer.Option("--check", help="Only check the file; needs no gateway.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files that would be written.")] = False,
    wait: Annotated[
        str, typer.Option("--wait", help="Try again so long while something has to wait, such as 10m.")
    ] = "0s",
    root: Annotated[
        Path, typer.Option("--root", help="Where the machine's files are: another than / for an image.")
    ] = Path("/"),
    as_json: Annotated[bool, typer.Option("--json", help="The receipt as JSON.")] = False,
) -> None:
    """Make this machine the gateway that a file says it is. A second run changes nothing.

    Exit code 1: something waits or failed, the receipt says what; 4: the file cannot be used, nothing was done.

    Example: edgetwin hardware provision edgetwin-provision.yaml --check
    """
    run_command(_provision(file, check=check, dry_run=dry_run, wait=wait, root=root, as_json=as_json))


async def _provision(file: Path, *, check: bool, dry_run: bool, wait: str, root: Path, as_json: bool) -> int:
    wait_ms = parsed_duration_ms(wait)
    if wait_ms is None:
        message = f"--wait {wait} is no duration"
        raise InvalidProvisioning(message, remedy="Write one such as 10m.")
    read = read_file(file)
    if dry_run:
        for one in (f(read.said) for f in (identity_files, network_files, time_files, settings_files)):
            for made in one:
                typer.echo(f"{made.path}{'  (for root alone)' if made.secret else ''}")
    if check or dry_run:
        if not as_json and not dry_run:
            typer.echo(f"{file} is good: gateway {read.said.gateway.name}")
        return ExitCode.DONE
    machine = ThisMachine(root, _made_s())
    until = time.monotonic() + wait_ms / 1000
    while True:
        receipt = await _once(read, machine)
        waits = any(one.state is State.WAITING for one in receipt.steps)
        if not waits or time.monotonic() >= until:
            break
        await asyncio.sleep(RETRY_S)
    _keep(read, receipt)
    if as_json:
        typer.echo(receipt.model_dump_json())
    else:
        for step in receipt.steps:
            typer.echo(f"{step.step:9} {step.state}{': ' if step.detail else ''}{step.detail}")
    return ExitCode.DONE if receipt.done else ExitCode.NO


def _made_s() -> float:
    """When this program was made: no clock can be right that says less."""
    return Path(__file__).stat().st_mtime


async def _once(read: ReadFile, machine: ThisMachine) -> Receipt:
    steps = await apply(read.said, machine)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Receipt(file=str(read.path), sha256=read.sha256, release=version("edgetwin"), at=at, steps=steps)


def _keep(read: ReadFile, receipt: Receipt) -> None:
    """The receipt in the state folder and beside the file; secrets out of the file."""
    from edgehub.settings import state_folder

    folder = state_folder(os.environ)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        receipt.write(folder / NAME)
        receipt.write(read.path.with_name(NAME))
        cleaned = without_secrets(read.content, read.said, receipt.steps)
        if cleaned != read.content:
            write_private(read.path, cleaned.decode())
    except OSError as error:
        typer.echo(f"warning: the receipt or the file cannot be written: {error}", err=True)
