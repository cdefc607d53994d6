"""The engine for images of registries: containers of podman, asked over its REST socket.

start     REST: image, podman pod (its own network), container        the loop decides when, podman never restarts
end       pidfd of conmon ──> REST: the exit code ──> exit.json       nothing is missed while podman's service is down
stop      signals to the program itself                               works without the service
adopt     started.json, and the conmon that it names still lives      a hub that comes back disturbs nothing
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

from edgehub.pods.found import Found, found_pod, made_from, record_of, state_of_end
from edgehub.pods.model import LOST_CODE, ContainerState, Launch, LogLimits, Phase, PodId, PodPlan, PodState
from edgehub.pods.podman.bodies import LogFile, run_of
from edgehub.pods.podman.disk import Enter, boot_s, end_record, keep_log, seen_record, write_run, write_start
from edgehub.pods.podman.made import TROUBLE, MadeByPodman
from edgehub.pods.podman.networks import PodNetworks
from edgehub.pods.podman.pull import fetch
from edgehub.pods.podman.replies import Inspected
from edgehub.pods.podman.watch import Running, is_conmon_of, let_go, watch
from edgehub.pods.records import ExitRecord, PodFolders, RunRecord, StartRecord, boot_id, read, write
from edgehub.pods.runtime import HERE, Ended, ExecResult, OnEnd
from edgehub.pods.spec import CannotStart, Why
from twin.errors import EdgetwinError
from twin.manifest.kube import PodSpec
from twin.manifest.kube_engine import has_own_network
from twin.manifest.kube_fields import Engine

log = logging.getLogger(__name__)

KILL_S: Final = 10.0
SETTLE_S: Final = 60.0
"""How long an exit code is waited for, while podman does not answer."""
LOGS_EVERY_S: Final = 5.0
_RETRY_S: Final = 0.2


class PodmanEngine:
    """Runs containers by podman; what of them must not be lost lies on disk beside those of the other engine."""

    def __init__(self, folders: PodFolders, made: MadeByPodman, limits: LogLimits) -> None:
        self.folders = folders
        self._made = made
        self._limits = limits
        self._specs: dict[PodId, PodSpec] = {}
        self._running: dict[tuple[PodId, str], Running] = {}
        self._networks = PodNetworks(made, self._on_network_end)
        self._on_end: OnEnd = lambda _: None
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping_logs = False

    async def adopt(self, on_end: OnEnd) -> list[PodState]:
        """Find all pods that are there; see PodRuntime."""
        self._on_end = on_end
        records = await asyncio.to_thread(lambda: list(self.folders.records(Engine.PODMAN)))
        made = {record.id: made_from(record, self.folders) for record in records}
        self._specs = {pod: one.spec for pod, one in made.items()}
        if not records:
            return []
        answers = True
        try:
            await self._made.opened(self._uids())
        except CannotStart as error:
            answers = False
            log.error("pods of podman are found again without it: %s", error.message)
        return [found_pod(pod, one, await self._found(pod, one.names, ask=answers)) for pod, one in made.items()]

    async def prepare(self, plan: PodPlan) -> None:
        """Make a pod's folders on disk; see PodRuntime."""
        await asyncio.to_thread(self.folders.write_record, record_of(plan, Engine.PODMAN))
        self._specs[plan.id] = plan.spec

    async def start(self, launch: Launch) -> float:
        """Start a container and return when it began; see PodRuntime."""
        if (launch.pod, launch.container) in self._running:
            raise CannotStart(Why.CREATE, "an earlier run of it has not ended")
        api = await self._made.opened(self._uids())
        await fetch(api, launch.image, launch.pull)
        place = self.folders.container(launch.pod, launch.container)
        await asyncio.to_thread(write_run, place, RunRecord(run=launch.run, crashes=launch.crashes))
        spec = self._specs[launch.pod]
        inspected = await self._made.start(api, launch, spec, LogFile(str(place / "log"), 2 * self._limits.max_bytes))
        began = boot_s()
        running = self._taken(launch.pod, launch.container, launch.run, inspected)
        await asyncio.to_thread(write_start, place, running, began, self._enter(launch.pod, launch.container))
        self._follow(running)
        return began

    async def stop(self, pod: PodId, container: str, grace_s: float) -> None:
        """Ask a container to end, and end it when the grace is over; see PodRuntime."""
        running = self._running.get((pod, container))
        if running is None:
            return
        for number, wait_s in ((running.stop_signal, grace_s), (signal.SIGKILL, KILL_S)):
            running.send(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await running.ended.wait()
                return
        await self._settle(running)  # it is paused, or its conmon hangs
        await running.ended.wait()

    async def remove(self, pod: PodId) -> None:
        """Remove all that is left of a pod; see PodRuntime."""
        self._networks.forget(pod)
        names = await asyncio.to_thread(lambda: [one.parent.name for one in self.folders.pod(pod).glob("c/*/run.json")])
        if names:  # else podman has never heard of it, and need not be there
            try:
                await self._made.remove(await self._made.opened(self._uids()), pod, names)
            except (EdgetwinError, TimeoutError) as error:
                text = f"podman does not remove what it has of {pod.namespace}/{pod.name}: {error}"
                raise OSError(text) from None
        await asyncio.to_thread(self.folders.remove, pod)
        self._specs.pop(pod, None)

    async def execute(self, pod: PodId, container: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Run a command in a container; see PodRuntime."""
        if (pod, container) not in self._running:
            raise CannotStart(Why.NOT_RUNNING, f"{container} of {pod.namespace}/{pod.name} does not run")
        async with asyncio.timeout(timeout_s):
            api = await self._made.service.ready()
        try:
            return await api.execute(self._made.names.container(pod, container), command, timeout_s)
        except EdgetwinError as error:
            raise CannotStart(Why.NOT_RUNNING, error.message) from None

    async def address(self, pod: PodId) -> str:
        """Where a pod's ports are; see PodRuntime."""
        return await self._networks.address(pod) if has_own_network(self._specs[pod]) else HERE

    async def close(self) -> None:
        """Let go of everything; containers run on."""
        for running in self._running.values():
            let_go(running)
        self._running.clear()
        self._networks.close()
        for task in self._tasks:  # all there will be, for nothing is watched any more
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._made.service.close()

    # -- what runs -----------------------------------------------------------------------------------------------

    def _uids(self) -> set[str]:
        return {pod.uid for pod in self._specs}

    def _taken(self, pod: PodId, container: str, run: int, inspected: Inspected) -> Running:
        number = inspected.config.stop_signal or signal.SIGTERM
        running = Running(pod, container, run, inspected.state.conmon, inspected.state.pid, number)
        self._running[pod, container] = running
        return running

    def _follow(self, running: Running) -> None:
        watch(running, lambda one: self._spawn(self._settle(one)))
        if has_own_network(self._specs[running.pod]):
            self._spawn(self._networks.watch(running.pod))
        if not self._keeping_logs:
            self._keeping_logs = True
            self._spawn(self._keep_logs())

    def _enter(self, pod: PodId, container: str) -> Enter:
        return Enter(self._made.service.command("exec", "--interactive"), self._made.names.container(pod, container))

    async def _found(self, pod: PodId, names: Sequence[str], *, ask: bool) -> dict[str, Found]:
        found: dict[str, Found] = {}
        for name in names:
            run = read(RunRecord, self.folders.container(pod, name) / "run.json")
            if run is not None:
                found[name] = await self._found_container(pod, name, run, ask=ask)
        return found

    async def _found_container(self, pod: PodId, container: str, run: RunRecord, *, ask: bool) -> Found:
        place, boot = self.folders.container(pod, container), boot_id()
        started, ended = read(StartRecord, place / "started.json"), read(ExitRecord, place / "exit.json")
        started = started if started is not None and started.run == run.run else None
        if ended is not None and ended.run == run.run:
            return state_of_end(run, started, ended, boot)
        inspected = await self._inspected(pod, container, run.run) if ask else None
        name = self._made.names.container(pod, container)
        if inspected is not None and is_conmon_of(inspected.state.conmon, name):
            running = self._taken(pod, container, run.run, inspected)
            if started is None:  # the hub was killed while it started
                started = write_start(place, running, boot_s(), self._enter(pod, container))
        elif started is not None and started.boot == boot and is_conmon_of(started.shim, name):
            running = self._running[pod, container] = Running(pod, container, run.run, started.shim, started.pid)
        else:
            if started is not None and started.boot == boot and inspected is not None and inspected.state.is_over:
                ended = seen_record(run.run, inspected.state)
            return state_of_end(run, started, ended, boot)
        self._follow(running)
        return Found(ContainerState(Phase.RUNNING, run.run, run.crashes, started_at=started.at))

    async def _inspected(self, pod: PodId, container: str, run: int) -> Inspected | None:
        try:
            inspected = await self._made.inspect(pod, container)
        except (CannotStart, *TROUBLE) as error:
            log.warning("podman does not tell of %s of %s/%s: %s", container, pod.namespace, pod.name, error)
            return None
        return inspected if inspected is not None and run_of(inspected.config.labels or {}) == run else None

    # -- ends ----------------------------------------------------------------------------------------------------

    async def _settle(self, running: Running) -> None:
        """Learn how a container has ended, write it down and tell."""
        code = await self._code_of(running)
        if running.told:
            return
        running.told = True
        reason = "ContainerLost" if running.lost else "OOMKilled" if code == LOST_CODE and running.oom else ""
        ended = end_record(running.run, code)
        with suppress(OSError):
            place = self.folders.container(running.pod, running.container)
            await asyncio.to_thread(write, place / "exit.json", ended)
        let_go(running)
        if self._running.get((running.pod, running.container)) is running:
            del self._running[running.pod, running.container]
        running.ended.set()
        self._on_end(Ended(running.pod, running.container, running.run, code, ended.at, reason, running.lost))

    async def _code_of(self, running: Running) -> int:
        """The exit code; a container that podman still takes for alive is no use any more, and is removed."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + SETTLE_S
        while loop.time() < give_up:
            try:
                inspected = await self._made.inspect(running.pod, running.container)
                if inspected is not None and inspected.state.is_over:
                    running.oom |= inspected.state.oom
                    return inspected.state.code
                await self._made.end(running.pod, running.container)
                running.lost = running.lost or ("it was removed" if inspected is None else "its conmon has ended")
                return LOST_CODE
            except (CannotStart, *TROUBLE) as error:
                log.debug("how %s of %s ended is not known yet: %s", running.container, running.pod.name, error)
            await asyncio.sleep(_RETRY_S)
        running.send(signal.SIGKILL)
        running.lost = "podman does not say how it ended"
        return LOST_CODE

    def _on_network_end(self, pod: PodId) -> None:
        for running in self._running.values():
            if running.pod == pod:
                running.lost = "the pod's network has ended"
                running.send(signal.SIGKILL)

    # -- small things --------------------------------------------------------------------------------------------

    async def _keep_logs(self) -> None:
        while True:
            await asyncio.sleep(LOGS_EVERY_S)
            for running in list(self._running.values()):
                output = self.folders.container(running.pod, running.container) / "log"
                try:
                    await asyncio.to_thread(keep_log, output, running.conmon, self._limits)
                except OSError as error:
                    log.debug("the log %s is not put aside: %s", output, error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="podman: one action")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an action of podman's pods failed", exc_info=error)
