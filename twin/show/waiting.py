"""That something is under way, for people at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def waiting(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Show on stderr what is waited for, and for how long by now; nothing where nobody looks. None of it stays."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    progress = Progress(
        *columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    )
    with progress as bar:  # what goes to stdout is the command's answer, also where that is a file
        bar.add_task(text, total=None)
        yield
