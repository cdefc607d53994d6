"""`edgetwin apply`, `delete` and `diff`: files of documents, all or nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edgehub.commands.session import ExitCode, folder, hub_client, run_command
from edgehub.offline import apply_offline
from edgehub.state import NotRunning
from twin.errors import EdgetwinError
from twin.wire.api import ApplyMode, ApplyReply, ApplyRequest, DocumentSource
from twin.wire.codec import MAX_REQUEST_BYTES

Files = Annotated[list[Path], typer.Option("--file", "-f", help="File or folder of YAML or JSON; - for stdin.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


class UnreadableFile(EdgetwinError):
    """A file of documents that cannot be read."""

    code = "unreadable_file"


def apply(file: Files, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Apply documents: device models, devices, connections; ours or KubeEdge's v1beta1. All of them, or none.

    Without a running hub the registry is changed directly, and the next hub serves it.

    Example: edgetwin apply -f plant.yaml --dry-run
    """
    run_command(_send(file, ApplyMode.APPLY, dry_run, as_json))


def delete(file: Files, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Delete what a file of documents names, with the twins of its devices. All of them, or none.

    Example: edgetwin delete -f plant.yaml --dry-run
    """
    run_command(_send(file, ApplyMode.DELETE, dry_run, as_json))


def diff(file: Files, as_json: AsJson = False) -> None:
    """Show what apply would change, as a unified diff. Exit code 1 if there is a difference.

    Example: edgetwin diff -f plant.yaml
    """
    run_command(_send(file, ApplyMode.DIFF, dry_run=True, as_json=as_json))


def read_sources(files: list[Path]) -> list[DocumentSource]:
    """Read files and folders of documents; ``-`` is stdin. Raises UnreadableFile."""
    sources = [_read(path) for path in _expanded(files)]
    size = sum(len(source.text) for source in sources)
    if size > MAX_REQUEST_BYTES * 3 // 4:
        message = f"the files hold {size} characters, over the {MAX_REQUEST_BYTES * 3 // 4} of one apply"
        raise UnreadableFile(message, remedy="Apply them in several steps, models first.")
    return sources


async def _send(files: list[Path], mode: ApplyMode, dry_run: bool, as_json: bool) -> int:
    request = ApplyRequest(sources=read_sources(files), mode=mode, dry_run=dry_run)
    without_hub = False
    try:
        async with hub_client(timeout_s=60.0) as client:
            reply = await client.apply(request.sources, mode=mode, dry_run=dry_run)
    except NotRunning:
        reply = apply_offline(folder(), request)
        without_hub = True
    if as_json:
        typer.echo(reply.model_dump_json())
    else:
        _print(reply, mode, dry_run=dry_run, without_hub=without_hub)
    changed = any(change.action != "unchanged" for change in reply.changes)
    return ExitCode.NO if mode is ApplyMode.DIFF and changed else ExitCode.DONE


def _print(reply: ApplyReply, mode: ApplyMode, *, dry_run: bool, without_hub: bool) -> None:
    for warning in reply.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if mode is ApplyMode.DIFF:
        typer.echo("".join(change.diff for change in reply.changes), nl=False)
        return
    for change in reply.changes:
        typer.echo(f"{change.document} {change.action}")
    if dry_run:
        typer.echo("(dry run: nothing was changed)")
    elif without_hub:
        typer.echo("(no hub runs: the next `edgetwin run` serves it)")


def _expanded(files: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in files:
        if path.is_dir():
            inside = sorted(one for one in path.iterdir() if one.suffix in (".yaml", ".yml", ".json"))
            if not inside:
                message = f"{path} holds no .yaml, .yml or .json file"
                raise UnreadableFile(message, remedy="Name a folder with documents, or a file.")
            found += inside
        else:
            found.append(path)
    return found


def _read(path: Path) -> DocumentSource:
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise UnreadableFile(message, remedy="Name a file that exists and may be read.") from None
    try:
        return DocumentSource(name="stdin" if str(path) == "-" else str(path), text=raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"{path}:{line}: byte {error.start} is not UTF-8"
        raise UnreadableFile(message, remedy="Save the file as UTF-8.") from None
