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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from edgehub.cli import COMMANDS, Entry, main

ROOT = Path(__file__).resolve().parents[1]
ENDS_WITHIN_S = 10.0


def modules(commands: Mapping[str, Entry]) -> Iterator[str]:
    """Where the commands are."""
    for entry in commands.values():
        yield from modules(entry.commands)
        if entry.target:
            yield entry.target.partition(":")[0]


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.typist", "twin.link.mqtt", "rich.table", *sorted(set(modules(COMMANDS)))])


def typed(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float,
    *,
    stdin: bytes = b"",
    folder: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end; one that lasts longer is ended with Ctrl-C, as a user ends a watch."""
    if "LD_PRELOAD" in environment:  # which a process reads when it starts
        line = [sys.executable, "-c", "from edgehub.cli import main; main()", *arguments]
        done = subprocess.run(line, env=environment, cwd=folder, input=stdin, capture_output=True, timeout=timeout_s)
        return subprocess.CompletedProcess(line, done.returncode, done.stdout.decode(), done.stderr.decode())
    with tempfile.TemporaryDirectory(prefix="typed-") as streams:
        Path(streams, "0").write_bytes(stdin)
        process = FORKS.Process(target=_type, args=(tuple(arguments), dict(environment), folder, Path(streams)))
        process.start()
        process.join(timeout_s)
        if process.exitcode is None:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGINT)
            process.join(ENDS_WITHIN_S)
        output, errors = (Path(streams, name).read_text() if Path(streams, name).exists() else "" for name in "12")
        try:
            assert process.exitcode is not None, f"{arguments}: Ctrl-C does not end it: {errors}"
        finally:
            process.kill()
        return subprocess.CompletedProcess(tuple(arguments), process.exitcode, output, errors)


def _type(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, streams: Path) -> None:
    for stream, mode in enumerate((os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)):
        os.dup2(os.open(streams / str(stream), mode), stream)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # multiprocessing has put /dev/null there
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["edgetwin", *arguments]
    main()
