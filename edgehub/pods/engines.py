"""All engines as one: each pod goes to the one that runs it, and is found again by the one that has run it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from edgehub.pods.model import Launch, PodId, PodPlan, PodState
from edgehub.pods.records import PodFolders
from edgehub.pods.runtime import ExecResult, OnEnd, PodRuntime
from twin.manifest.kube_engine import engine_of
from twin.manifest.kube_fields import Engine


class Engines:
    """A PodRuntime over several, each made when the first pod needs it."""

    def __init__(self, folders: PodFolders, makers: Mapping[Engine, Callable[[], PodRuntime]]) -> None:
        self._folders = folders
        self._makers = makers
        self._engines: dict[Engine, PodRuntime] = {}
        self._of: dict[PodId, PodRuntime] = {}
        self._on_end: OnEnd = lambda _: None
        self._making = asyncio.Lock()

    async def adopt(self, on_end: OnEnd) -> list[PodState]:
        """Find all pods that are there; see PodRuntime."""
        self._on_end = on_end
        used = await asyncio.to_thread(lambda: sorted(self._folders.engines()))
        found = await asyncio.gather(*(self._adopted(engine) for engine in used))
        return [state for states in found for state in states]

    async def prepare(self, plan: PodPlan) -> None:
        """Make what the containers of a pod share; see PodRuntime."""
        engine = engine_of(plan.spec)
        async with self._making:
            if engine not in self._engines:
                await self._adopted(engine)
        await self._engines[engine].prepare(plan)
        self._of[plan.id] = self._engines[engine]

    async def start(self, launch: Launch) -> float:
        """Start a container and return when it began; see PodRuntime."""
        return await self._of[launch.pod].start(launch)

    async def stop(self, pod: PodId, container: str, grace_s: float) -> None:
        """Ask a container to end, and end it when the grace is over; see PodRuntime."""
        await self._of[pod].stop(pod, container, grace_s)

    async def remove(self, pod: PodId) -> None:
        """Remove all that is left of a pod; see PodRuntime."""
        await self._of[pod].remove(pod)
        del self._of[pod]

    async def execute(self, pod: PodId, container: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Run a command in a container; see PodRuntime."""
        return await self._of[pod].execute(pod, container, command, timeout_s)

    async def address(self, pod: PodId) -> str:
        """Where a pod's ports are; see PodRuntime."""
        return await self._of[pod].address(pod)

    async def close(self) -> None:
        """Let go of everything; containers run on."""
        for engine in self._engines.values():
            await engine.close()

    async def _adopted(self, engine: Engine) -> list[PodState]:
        runtime = self._engines[engine] = self._makers[engine]()
        states = await runtime.adopt(self._on_end)
        self._of |= {state.id: runtime for state in states}
        return states
