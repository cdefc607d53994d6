"""The engine for programs of the gateway itself: one shim a container, found again by the lock that it holds."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgehub.pods import shim
from edgehub.pods.cgroups import Cgroups
from edgehub.pods.found import Found, found_pod, made_from, record_of, state_of_end
from edgehub.pods.images import Images
from edgehub.pods.model import (
    LOST_CODE,
    ContainerState,
    Launch,
    LogLimits,
    Phase,
    PodId,
    PodPlan,
    PodState,
)
from edgehub.pods.records import (
    ExitRecord,
    PodFolders,
    PodRecord,
    RunRecord,
    StartRecord,
    boot_id,
    read,
    try_lock,
    write,
)
from edgehub.pods.runtime import HERE, Ended, ExecResult, OnEnd
from edgehub.pods.spec import CannotStart, Why
from edgehub.pods.within import command_within, run_bounded
from twin.manifest.kube_fields import Engine, PullPolicy

log = logging.getLogger(__name__)

START_S: Final = 30.0
KILL_S: Final = 10.0
_ADOPT_S: Final = 5.0
_POLL_S: Final = 0.02


@dataclass(slots=True)
class _Running:
    """One shim that lives."""

    pod: PodId
    container: str
    run: int
    pidfd: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    begun: bool = False
    """Whether whoever started it knows; until then its end is not told."""


class ProcessEngine:
    """Runs containers as processes; with root each has its own processes and mounts, and may have limits."""

    def __init__(self, folder: Path, limits: LogLimits, *, isolate: bool, cgroups: Cgroups | None = None) -> None:
        self.folders = PodFolders(folder)
        self._limits = limits
        self._isolate = isolate
        self._cgroups = cgroups or Cgroups()
        self._images = Images(folder / "images")
        self._running: dict[tuple[PodId, str], _Running] = {}
        self._on_end: OnEnd = lambda _: None
        self._unpacking = asyncio.Lock()

    async def adopt(self, on_end: OnEnd) -> list[PodState]:
        """Find all pods that are there; see PodRuntime."""
        self._on_end = on_end
        records = await asyncio.to_thread(lambda: list(self.folders.records(Engine.PROCESS)))
        return [await self._adopted(record) for record in records]

    async def prepare(self, plan: PodPlan) -> None:
        """Make a pod's folders on disk; see PodRuntime."""
        await asyncio.to_thread(self.folders.write_record, record_of(plan, Engine.PROCESS))

    async def start(self, launch: Launch) -> float:
        """Start a container and return when it began; see PodRuntime."""
        async with self._unpacking:  # two containers of one image unpack it once
            image = await asyncio.to_thread(
                self._images.root_of, launch.image, refresh=launch.pull is PullPolicy.ALWAYS
            )
        running, said = await asyncio.to_thread(self._spawn, launch, image)
        self._running[launch.pod, launch.container] = running
        asyncio.get_running_loop().add_reader(running.pidfd, self._on_shim_end, running)
        answer = await self._heard(said, running)
        if answer != "running":
            with suppress(TimeoutError):
                async with asyncio.timeout(KILL_S):
                    await running.ended.wait()  # it holds the lock until then
            raise CannotStart(Why.RUN, answer or "its shim ended at once")
        running.begun = True
        if running.ended.is_set():  # before its start was known here
            asyncio.get_running_loop().call_soon(self._on_end, self._end_of(running))
        started = read(StartRecord, self.folders.container(launch.pod, launch.container) / "started.json")
        return started.at if started else time.clock_gettime(time.CLOCK_BOOTTIME)

    async def stop(self, pod: PodId, container: str, grace_s: float) -> None:
        """Ask a container to end, and end it when the grace is over; see PodRuntime."""
        running = self._running.get((pod, container))
        if running is None:
            return
        for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGUSR1, KILL_S), (signal.SIGKILL, KILL_S)):
            with suppress(ProcessLookupError, OSError):
                signal.pidfd_send_signal(running.pidfd, number)
            try:
                async with asyncio.timeout(wait_s):
                    await running.ended.wait()
                return
            except TimeoutError:
                log.debug("%s of %s outlives signal %d", container, pod.name, number)

    async def remove(self, pod: PodId) -> None:
        """Remove all that is left of a pod; see PodRuntime."""
        await asyncio.to_thread(self.folders.remove, pod)
        await asyncio.to_thread(self._cgroups.remove, pod)

    async def execute(self, pod: PodId, container: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Run a command in a container; see PodRuntime."""
        if (pod, container) not in self._running:
            raise CannotStart(Why.NOT_RUNNING, f"{container} of {pod.namespace}/{pod.name} does not run")
        within = await asyncio.to_thread(command_within, self.folders.container(pod, container), command)
        return await run_bounded(within, timeout_s)

    async def address(self, pod: PodId) -> str:  # noqa: ARG002  # all are here
        """Where a pod's ports are; see PodRuntime."""
        return HERE

    async def close(self) -> None:
        """Let go of everything; containers run on."""
        loop = asyncio.get_running_loop()
        for running in self._running.values():
            loop.remove_reader(running.pidfd)
            os.close(running.pidfd)
        self._running.clear()

    # -- inside --------------------------------------------------------------------------------------------------

    def _spawn(self, launch: Launch, image: str) -> tuple[_Running, int]:
        """Start the shim; returns it and where it answers. Blocks."""
        place = self.folders.container(launch.pod, launch.container)
        if (launch.mounts or image) and not self._isolate:
            what = "volumes" if launch.mounts else "an image of its own"
            raise CannotStart(Why.CREATE, f"{what} need a hub that runs as root")
        if (launch.cpu_milli or launch.memory_bytes) and not self._isolate:
            raise CannotStart(Why.CREATE, "limits of CPU and memory need a hub that runs as root")
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in ("upper", "work", "merged") if image else ():
            (place / folder).mkdir(exist_ok=True)
        groups = self._cgroups.make(launch) if launch.cpu_milli or launch.memory_bytes else []
        lock = try_lock(place)
        if lock is None:
            raise CannotStart(Why.CREATE, "an earlier run of it has not ended")
        said, answer = os.pipe()
        told = self._told(launch, image, str(place), groups)
        try:
            write(place / "run.json", RunRecord(run=launch.run, crashes=launch.crashes))
            pid = _spawned(place, lock, answer, told)
            return _Running(launch.pod, launch.container, launch.run, os.pidfd_open(pid)), said
        except BaseException:
            os.close(said)
            raise
        finally:
            for fd in (lock, answer, told):
                os.close(fd)

    def _told(self, launch: Launch, image: str, place: str, groups: list[str]) -> int:
        """What the shim has to know, in memory that it inherits: Secrets in variables never touch the disk."""
        text = json.dumps(
            {
                "run": launch.run,
                "argv": launch.argv,
                "env": dict(launch.env),
                "cwd": launch.cwd,
                "isolate": self._isolate,
                "image": image,
                "root": place if image else "",
                "mounts": [[one.source, one.target, one.read_only] for one in launch.mounts],
                "cgroups": groups,
                "log_max_bytes": self._limits.max_bytes,
                "log_files": self._limits.files,
            }
        )
        fd = os.memfd_create("launch", os.MFD_CLOEXEC)
        with os.fdopen(os.dup(fd), "w", encoding="utf-8") as file:
            file.write(text)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    async def _heard(self, said: int, running: _Running) -> str:
        """The one line of a new shim."""
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        loop.add_reader(said, heard.set)
        try:
            async with asyncio.timeout(START_S):
                await heard.wait()
            return os.read(said, 4096).decode(errors="replace")
        except TimeoutError:
            with suppress(OSError):
                signal.pidfd_send_signal(running.pidfd, signal.SIGKILL)
            return f"its shim did not answer in {START_S:g} s"
        finally:
            loop.remove_reader(said)
            os.close(said)

    def _on_shim_end(self, running: _Running) -> None:
        asyncio.get_running_loop().remove_reader(running.pidfd)
        with suppress(ChildProcessError):  # the child of an earlier hub is reaped by init
            os.waitid(os.P_PIDFD, running.pidfd, os.WEXITED | os.WNOHANG)
        os.close(running.pidfd)
        self._running.pop((running.pod, running.container), None)
        running.ended.set()
        if running.begun:
            self._on_end(self._end_of(running))

    def _end_of(self, running: _Running) -> Ended:
        place = self.folders.container(running.pod, running.container)
        ended = read(ExitRecord, place / "exit.json")
        if ended is None or ended.run != running.run:
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            return Ended(running.pod, running.container, running.run, LOST_CODE, now, "ContainerLost")
        code = ended.code if ended.code >= 0 else 128 - ended.code
        oom = code == LOST_CODE and self._cgroups.was_out_of_memory(running.pod, running.container)
        return Ended(running.pod, running.container, running.run, code, ended.at, "OOMKilled" if oom else "")

    async def _adopted(self, record: PodRecord) -> PodState:
        made = made_from(record, self.folders)
        found: dict[str, Found] = {}
        for name in made.names:
            place = self.folders.container(record.id, name)
            run = read(RunRecord, place / "run.json")
            if run is not None:
                found[name] = await self._found(record.id, name, run, place)
        return found_pod(record.id, made, found)

    async def _found(self, pod: PodId, name: str, run: RunRecord, place: Path) -> Found:
        """The state of one container."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + _ADOPT_S
        boot = boot_id()
        while (lock := try_lock(place)) is None:
            started = read(StartRecord, place / "started.json")
            if started is not None and started.run == run.run and started.boot == boot:
                with suppress(ProcessLookupError):
                    running = _Running(pod, name, run.run, os.pidfd_open(started.shim), begun=True)
                    self._running[pod, name] = running
                    loop.add_reader(running.pidfd, self._on_shim_end, running)
                    return Found(ContainerState(Phase.RUNNING, run.run, run.crashes, started_at=started.at))
            if loop.time() > give_up:
                log.warning("%s of %s/%s neither starts nor ends", name, pod.namespace, pod.name)
                break
            await asyncio.sleep(_POLL_S)  # it starts or ends right now
        else:
            os.close(lock)
        return state_of_end(run, read(StartRecord, place / "started.json"), read(ExitRecord, place / "exit.json"), boot)


def _spawned(place: Path, lock: int, answer: int, told: int) -> int:
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, str(place / "shim.err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        # By way of numbers that nothing has, for the sources may be among the targets.
        *((os.POSIX_SPAWN_DUP2, fd, 100 + index) for index, fd in enumerate((lock, answer, told))),
        *((os.POSIX_SPAWN_DUP2, 100 + index, target) for index, target in enumerate(shim.FDS)),
        *((os.POSIX_SPAWN_CLOSE, 100 + index) for index in range(len(shim.FDS))),
    ]
    argv = [sys.executable, "-I", "-S", shim.__file__, str(place)]
    return os.posix_spawn(
        sys.executable, argv, {"LC_ALL": "C.UTF-8"}, file_actions=actions, setsigmask=(), setsigdef=_ALL_SIGNALS
    )


_ALL_SIGNALS: Final = frozenset(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}
