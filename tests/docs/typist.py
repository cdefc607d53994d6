"""Types commands as a user does, without the second that Python takes to start for each of them.

A process that has imported every command forks for each line, so what runs is ``edgehub.cli.main`` in a process of its
own, with arguments, environment, streams and exit code of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgehub.cli import COMMANDS, Entry, main

ROOT = Path(__file__).resolve().parents[2]
ENDS_WITHIN_S = 10.0


def modules(commands: Mapping[str, Entry]) -> Iterator[str]:
    """Where the commands are."""
    for entry in commands.values():
        yield from modules(entry.commands) if entry.commands else [entry.target.partition(":")[0]]


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.docs.typist", "twin.link.mqtt", "rich.table", *sorted(set(modules(COMMANDS)))])


def run_edgetwin(
    state: Path,
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    timeout_s: float,
    folder: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; one that lasts longer is ended with Ctrl-C, as a user ends a watch."""
    with tempfile.TemporaryDirectory(prefix="typed-") as streams:
        output, errors = Path(streams, "out"), Path(streams, "err")
        wanted = {**os.environ, "EDGETWIN_STATE": str(state), **environment}
        process = FORKS.Process(target=_type, args=(arguments, wanted, folder, output, errors))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGINT)
            process.join(ENDS_WITHIN_S)
        try:
            assert process.exitcode is not None, f"{arguments}: Ctrl-C does not end it: {errors.read_text()}"
        finally:
            process.kill()
        return subprocess.CompletedProcess(arguments, process.exitcode, output.read_text(), errors.read_text())


def _type(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, output: Path, errors: Path) -> None:
    for stream, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["edgetwin", *arguments]
    main()
