"""The kubelet loop: looks at each pod when something has happened or is due, and does what `reconcile` says.

    documents ──desire──> plans ─┐                            ┌─> engine: start, stop, remove
    engine ─────on_end──> states ┼─> reconciled (pure) ─> act ┤
    probes ─────verdict─> states ┘                            └─> on_change: status and events

One owner, one event loop. An action that takes time runs as a task of its own, and marks its container first, so
that the next look does not begin it twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, assert_never

from edgehub.pods.events import Events
from edgehub.pods.model import NOT_STARTED_CODE, ContainerState, Phase, PodId, PodPlan, PodState
from edgehub.pods.probes import Answer, Asked, Probes, ask_exec, ask_http
from edgehub.pods.reconcile import Action, Prepare, Remove, Start, Stop, after_end, reconciled
from edgehub.pods.runtime import HERE, Ended, ExecResult, PodRuntime
from edgehub.pods.spec import CannotStart, Surroundings, launch
from edgehub.pods.status import PodStatus, status_of
from edgehub.pods.volumes import Volumes
from twin.clock import Clock
from twin.manifest.kube import Container

log = logging.getLogger(__name__)

AT_ONCE: Final = 4
"""Containers that start at the same time; the others wait their turn."""
DISK_RETRY_S: Final = 5.0


class Kubelet:
    """Keeps the pods of a gateway in their desired state."""

    def __init__(
        self,
        runtime: PodRuntime,
        volumes: Volumes,
        clock: Clock,
        boot_s: Callable[[], float],
        on_change: Callable[[PodPlan], None] = lambda _: None,
    ) -> None:
        self.on_change = on_change
        self.on_removed: Callable[[], None] = lambda: None
        self._runtime = runtime
        self._volumes = volumes
        self._clock = clock
        self._boot_s = boot_s
        self._probes = Probes(runtime, self._on_verdict)
        self._plans: dict[PodId, PodPlan] = {}
        self._states: dict[PodId, PodState] = {}
        self._events: dict[PodId, Events] = {}
        self._around: Surroundings | None = None
        self._busy: set[PodId] = set()
        self._retry_at: dict[PodId, float] = {}
        self._addresses: dict[PodId, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting = asyncio.Semaphore(AT_ONCE)
        self._wake = asyncio.Event()
        self._removed = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    async def open(self, plans: Iterable[PodPlan], around: Surroundings) -> None:
        """Find the pods that run, and keep the given ones in their state from now on."""
        for state in await self._runtime.adopt(self._on_end):
            self._states[state.id] = state
        self.desire(plans, around)
        for pod, state in self._states.items():
            for name, known in state.containers.items():
                if known.phase is Phase.RUNNING:
                    self._spawn(self._learn(pod))
                    self._mark_running(pod, name, known, known.started_at, delayed=False)
        if self._states:
            log.info("%d pods found again", len(self._states))
        self._loop = asyncio.create_task(self._keep(), name="pods")

    def desire(self, plans: Iterable[PodPlan], around: Surroundings) -> None:
        """Take other documents; what has not changed is left as it is."""
        before, self._plans = self._plans, {plan.id: plan for plan in plans}
        if self._around is not None and self._around.view is not around.view:
            self._spawn(self._refresh())
        self._around = around
        for gone in [pod for pod in self._events if pod not in self._plans and pod not in self._states]:
            del self._events[gone]
        for pod, plan in self._plans.items():
            if pod not in before:
                self.on_change(plan)
        self._wake.set()

    def plans(self) -> list[PodPlan]:
        """All pods that should be."""
        return list(self._plans.values())

    def there(self) -> set[PodId]:
        """All pods that should be, or of which something is still there."""
        return self._plans.keys() | self._states.keys()

    def status(self, pod: PodId) -> PodStatus:
        """How a pod is that should be."""
        return status_of(self._plans[pod], self._states.get(pod))

    def address(self, pod: PodId) -> str:
        """A pod's own address; empty in the network of the gateway, and while it is not known."""
        return self._addresses.get(pod, "")

    def events(self, pod: PodId) -> Events:
        """What has happened to a pod lately."""
        return self._events.setdefault(pod, Events())

    async def execute(self, pod: PodId, container: str, command: list[str], timeout_s: float) -> ExecResult:
        """Run a command in a container. Raises CannotStart, TimeoutError."""
        return await self._runtime.execute(pod, container, command, timeout_s)

    async def end_all(self, timeout_s: float) -> None:
        """Stop and remove every pod, in their grace periods."""
        self._plans = {}
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                while self._states:
                    self._removed.clear()
                    await self._removed.wait()
        except TimeoutError:
            log.error("%d pods have not ended in %g s", len(self._states), timeout_s)

    async def close(self) -> None:
        """Let go of all pods; they run on."""
        self._probes.close()
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runtime.close()

    # -- the loop ------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            self._wake.clear()
            look_at = self._look()
            wait_s = None if look_at is None else max(look_at - self._boot_s(), 0.0)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()

    def _look(self) -> float | None:
        """Look at every pod, begin what is to be done; returns when to look again."""
        now = self._boot_s()
        names = {(pod.namespace, pod.name): pod for pod in self._states}
        look_at: list[float] = []
        for pod in self._plans.keys() | self._states.keys():
            if pod in self._busy or names.get((pod.namespace, pod.name), pod) != pod:
                continue  # the one that had the name before must have ended
            if (retry_at := self._retry_at.get(pod, 0.0)) > now:
                look_at.append(retry_at)
                continue
            verdict = reconciled(self._plans.get(pod), self._states.get(pod), now)
            for action in verdict.actions:
                self._begin(action)
            if verdict.look_at is not None:
                look_at.append(verdict.look_at)
        return min(look_at, default=None)

    def _begin(self, action: Action) -> None:
        if isinstance(action, Prepare):
            self._busy.add(action.plan.id)
            self._spawn(self._on_disk(action.plan.id, self._prepare(action.plan)))
        elif isinstance(action, Remove):
            self._busy.add(action.pod)
            self._spawn(self._on_disk(action.pod, self._remove(action.pod)))
        elif isinstance(action, Start):
            known = self._known(action.plan.id, action.container.name)
            state = replace(known, phase=Phase.STARTING, runs=known.runs + 1, reason="", message="")
            self._put(action.plan.id, action.container.name, state)
            self._spawn(self._start(action, state))
        elif isinstance(action, Stop):
            known = self._known(action.pod, action.container)
            self._put(action.pod, action.container, replace(known, phase=Phase.STOPPING, ready=False))
            self._spawn(self._stop(action))
        else:
            assert_never(action)

    # -- actions -------------------------------------------------------------------------------------------------

    async def _on_disk(self, pod: PodId, work: Coroutine[Any, Any, None]) -> None:
        """Do what needs the disk; a disk that refuses is asked again."""
        try:
            await work
            self._retry_at.pop(pod, None)
        except OSError as error:
            self._note(pod, "", "DiskRefused", str(error))
            self._retry_at[pod] = self._boot_s() + DISK_RETRY_S
        finally:
            self._busy.discard(pod)
            self._wake.set()

    async def _prepare(self, plan: PodPlan) -> None:
        await self._runtime.prepare(plan)
        self._states[plan.id] = PodState(plan.id, plan.fingerprint, plan.spec)

    async def _remove(self, pod: PodId) -> None:
        await self._runtime.remove(pod)
        await asyncio.to_thread(self._volumes.remove, pod)
        self._addresses.pop(pod, None)
        del self._states[pod]
        self._removed.set()
        self.on_removed()
        if pod in self._plans:
            self.on_change(self._plans[pod])

    async def _start(self, action: Start, state: ContainerState) -> None:
        plan, name = action.plan, action.container.name
        assert self._around is not None
        try:
            async with self._starting:
                await asyncio.to_thread(self._volumes.make, plan, self._around)
                what = launch(plan, name, state.runs, state.crashes, self._volumes.place, self._around)
                began = await self._runtime.start(what)
        except (CannotStart, OSError) as error:
            reason = str(error.reason) if isinstance(error, CannotStart) else "CreateContainerError"
            log.warning("pod %s/%s: %s does not start: %s", plan.id.namespace, plan.id.name, name, error)
            self._note(plan.id, name, reason, str(error))
            message = error.message if isinstance(error, CannotStart) else str(error)
            self._put(plan.id, name, after_end(state, NOT_STARTED_CODE, self._boot_s(), reason, message))
        else:
            self._note(plan.id, name, "Started", f"run {state.runs}")
            self._mark_running(plan.id, name, state, began)
            await self._learn(plan.id)
        self._wake.set()

    async def _learn(self, pod: PodId) -> None:
        """Learn where a pod is reached, and tell it."""
        address = await self._runtime.address(pod)
        known = "" if address == HERE else address
        if pod in self._states and known != self.address(pod):
            self._addresses[pod] = known
            if pod in self._plans:
                self.on_change(self._plans[pod])

    async def _stop(self, action: Stop) -> None:
        self._probes.stop(action.pod, action.container)
        self._note(action.pod, action.container, "Killing", action.why)
        until = self._boot_s() + action.grace_s
        container = self._container(action.pod, action.container)
        hook = container.lifecycle.pre_stop if container.lifecycle else None
        if hook is not None and action.grace_s:
            if hook.exec is not None:
                answer = await ask_exec(self._runtime, action.pod, action.container, hook.exec, float(action.grace_s))
            else:
                assert hook.http_get is not None, "the rules of documents ask for one of the two"
                address = await self._runtime.address(action.pod)
                answer = await ask_http(container, hook.http_get, float(action.grace_s), address)
            if not answer.well:
                self._note(action.pod, action.container, "FailedPreStopHook", answer.text)
        await self._runtime.stop(action.pod, action.container, max(until - self._boot_s(), 0.0))
        self._wake.set()

    async def _refresh(self) -> None:
        """Bring the files of ConfigMaps and Secrets of pods that run up to date."""
        for plan in list(self._plans.values()):
            state = self._states.get(plan.id)
            if plan.volumes and state is not None and self._around is not None:
                try:
                    await asyncio.to_thread(self._volumes.make, plan, self._around)
                except (CannotStart, OSError) as error:
                    self._note(plan.id, "", "FailedMount", str(error))

    # -- what happens --------------------------------------------------------------------------------------------

    def _on_end(self, ended: Ended) -> None:
        known = self._known(ended.pod, ended.container)
        if ended.pod not in self._states or known.runs != ended.run:
            return
        self._probes.stop(ended.pod, ended.container)
        state = after_end(known, ended.code, ended.at, ended.reason, ended.message)
        if not (known.phase is Phase.STOPPING and not known.unhealthy):
            self._note(ended.pod, ended.container, state.reason, f"exit code {ended.code}")
        self._put(ended.pod, ended.container, state)
        self._wake.set()

    def _on_verdict(self, pod: PodId, container: str, asked: Asked, answer: Answer) -> None:
        known = self._known(pod, container)
        if known.phase is not Phase.RUNNING:
            return
        if not answer.well:
            self._note(pod, container, "Unhealthy", f"{asked} probe: {answer.text}")
        if asked is Asked.READINESS:
            state = replace(known, ready=answer.well)
        elif not answer.well:
            state = replace(known, unhealthy=True, reason="Unhealthy")
        elif asked is Asked.STARTUP:
            has_readiness = self._container(pod, container).readiness_probe is not None
            state = replace(known, started=True, ready=not has_readiness)
        else:
            return
        self._put(pod, container, state)
        self._wake.set()

    def _mark_running(
        self, pod: PodId, name: str, state: ContainerState, began: float, *, delayed: bool = True
    ) -> None:
        container = self._container(pod, name)
        started = container.startup_probe is None
        ready = started and container.readiness_probe is None
        running = replace(state, phase=Phase.RUNNING, started_at=began, started=started, ready=ready)
        self._put(pod, name, running)
        self._probes.start(pod, container, delayed=delayed)

    # -- small things --------------------------------------------------------------------------------------------

    def _known(self, pod: PodId, container: str) -> ContainerState:
        state = self._states.get(pod)
        return state.containers.get(container, ContainerState()) if state else ContainerState()

    def _container(self, pod: PodId, name: str) -> Container:
        return next(one for one in self._states[pod].spec.all_containers if one.name == name)

    def _put(self, pod: PodId, container: str, state: ContainerState) -> None:
        known = self._states[pod]
        self._states[pod] = replace(known, containers={**known.containers, container: state})
        if pod in self._plans:
            self.on_change(self._plans[pod])

    def _note(self, pod: PodId, container: str, reason: str, message: str) -> None:
        self.events(pod).add(self._clock.now_us() // 1000, container, reason, message)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="pods: one action")
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an action of the pods failed", exc_info=error)
