"""Commands inside a container: entered by nsenter where it has namespaces, with the variables of its program."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgehub.pods.records import StartRecord, read
from edgehub.pods.runtime import ExecResult
from edgehub.pods.spec import CannotStart, Why

MAX_OUTPUT: Final = 64 * 1024
_KILL_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Within:
    """A command line that runs in a container, and its environment."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str = "/"


def command_within(place: Path, command: Sequence[str]) -> Within:
    """How to run a command beside the program of the container whose folder is ``place``. Blocks.

    Raises CannotStart if the program does not run.
    """
    started = read(StartRecord, place / "started.json")
    if started is None:
        raise CannotStart(Why.NOT_RUNNING, "the container has not started yet")
    if started.enter:
        return _by_podman(started, command)
    try:
        program = _program(started.pid)
        env = dict(
            line.split("=", 1)
            for line in Path(f"/proc/{program}/environ").read_bytes().decode(errors="surrogateescape").split("\0")
            if "=" in line
        )
        own, its = (os.readlink(f"/proc/{one}/ns/pid") for one in ("self", started.pid))  # noqa: PTH115  # no file
        cwd = os.readlink(f"/proc/{program}/cwd")  # noqa: PTH115  # as the container sees it
    except OSError:
        raise CannotStart(Why.NOT_RUNNING, "the container does not run") from None
    if own == its:
        return Within(tuple(command), env, cwd)
    enter = ("nsenter", "-t", str(program), "-m", "-p", "-r", "-w", "--")
    return Within((*enter, *command), env)


async def run_bounded(within: Within, timeout_s: float) -> ExecResult:
    """Run it and collect what it says, up to a bound. Raises TimeoutError; then it is killed."""
    child = await asyncio.create_subprocess_exec(
        *within.argv,
        env=within.env,
        cwd=within.cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert child.stdout is not None
    said = b""
    try:
        async with asyncio.timeout(timeout_s):
            while chunk := await child.stdout.read(65536):
                said = (said + chunk)[:MAX_OUTPUT]
            code = await child.wait()
    finally:
        # Its whole group: what nsenter has started in the container would outlive it.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(_KILL_S):
                await child.wait()
                while await child.stdout.read(65536):
                    pass
    return ExecResult(code if code >= 0 else 128 - code, said.decode(errors="replace"))


def _by_podman(started: StartRecord, command: Sequence[str]) -> Within:
    if not Path(f"/proc/{started.pid}").exists():
        raise CannotStart(Why.NOT_RUNNING, "the container does not run")
    terminal = ("--tty",) if sys.stdin.isatty() and sys.stdout.isatty() else ()
    return Within((*started.enter, *terminal, started.inside, *command), dict(os.environ))


def _program(pid: int) -> int:
    """The program itself: the first child of the init of a container with namespaces, else the process itself."""
    own, its = (os.readlink(f"/proc/{one}/ns/pid") for one in ("self", pid))  # noqa: PTH115  # no file
    if own == its:
        return pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return int(children[0]) if children else pid
