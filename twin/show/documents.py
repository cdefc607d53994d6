"""Files of documents: how they are named and read, and how what became of them looks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from twin.errors import EdgetwinError
from twin.wire.api import ApplyMode, ApplyReply, DocumentSource
from twin.wire.codec import MAX_REQUEST_BYTES

Files = Annotated[list[Path], typer.Option("--file", "-f", help="File or folder of YAML or JSON; - for stdin.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


class UnreadableFile(EdgetwinError):
    """A file of documents that cannot be read."""

    code = "unreadable_file"


def read_sources(files: list[Path]) -> list[DocumentSource]:
    """Read files and folders of documents; ``-`` is stdin. Raises UnreadableFile."""
    sources = [_read(path) for path in _expanded(files)]
    size = sum(len(source.text) for source in sources)
    if size > MAX_REQUEST_BYTES * 3 // 4:
        message = f"the files hold {size} characters, over the {MAX_REQUEST_BYTES * 3 // 4} of one apply"
        raise UnreadableFile(message, remedy="Apply them in several steps, models first.")
    return sources


def print_changes(reply: ApplyReply, mode: ApplyMode, *, dry_run: bool, note: str = "") -> None:
    """Print what became of documents; ``note`` is said after changes that were made."""
    for warning in reply.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if mode is ApplyMode.DIFF:
        typer.echo("".join(change.diff for change in reply.changes), nl=False)
        return
    for change in reply.changes:
        typer.echo(f"{change.document} {change.action}")
    if not reply.changes:
        typer.echo("(no document was taken)")
        return
    if dry_run:
        typer.echo("(dry run: nothing was changed)")
    elif note:
        typer.echo(note)


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
