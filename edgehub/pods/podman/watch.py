"""Watches the processes of containers that podman runs: the kernel tells of each end at once, whoever else lives.

    conmon (podman's shim) ──parent──> program
      │ pidfd                            │ pidfd: read now whether it was killed for its memory, for podman
      │ podman's records are complete when conmon ends, for it becomes `podman container cleanup`        does not
      └──> on_end                                                             know on control groups 1, and they go

podman's stream of events would tell later, and nothing of what happened while its service was down.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edgehub.pods.cgroups import memory_group, oom_killed
from edgehub.pods.model import PodId


@dataclass(slots=True)
class Running:
    """One container that runs, or that has just ended."""

    pod: PodId
    container: str
    run: int
    conmon: int = 0
    pid: int = 0
    stop_signal: int = signal.SIGTERM
    oom: bool = False
    lost: str = ""
    """Why it is no use any more, if it has not just ended."""
    told: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its end has been told."""
    fds: dict[str, int] = field(default_factory=dict)
    """What tells of its processes, while they live."""

    def send(self, number: int) -> None:
        """Signal its program, without podman, which would be of no help while its service is down."""
        if "program" in self.fds:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fds["program"], number)


def watch(running: Running, on_end: Callable[[Running], None]) -> None:
    """Call ``on_end`` once when its conmon has ended, soon if it has already."""
    loop = asyncio.get_running_loop()
    memory = memory_group(running.pid)

    def program_ended() -> None:
        _forget(running, "program")
        running.oom = memory is not None and oom_killed(memory)

    def conmon_ended() -> None:
        _forget(running, "conmon")
        on_end(running)

    for what, pid, ended in (("program", running.pid, program_ended), ("conmon", running.conmon, conmon_ended)):
        fd = _pidfd(pid)
        if fd is not None:
            running.fds[what] = fd
            loop.add_reader(fd, ended)
        elif what == "conmon":
            loop.call_soon(on_end, running)


def let_go(running: Running) -> None:
    """Watch it no more."""
    for what in list(running.fds):
        _forget(running, what)


def _forget(running: Running, what: str) -> None:
    fd = running.fds.pop(what)
    asyncio.get_running_loop().remove_reader(fd)
    os.close(fd)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid) if pid > 0 else None
    except ProcessLookupError:
        return None


def is_conmon_of(pid: int, name: str) -> bool:
    """Whether a process is the conmon of the container with that name; the number alone may be another's by now."""
    return name in conmon_words(pid)


def bundle_of(conmon: int) -> Path | None:
    """The folder of a container, where its conmon takes orders."""
    words = conmon_words(conmon)
    return Path(words[words.index("-b") + 1]) if "-b" in words[:-1] else None


def conmon_words(pid: int) -> list[str]:
    """The command line of a process, nothing if it is no conmon."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
    return words if words[0].endswith("conmon") else []
