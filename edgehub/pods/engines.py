"""All engines as one: each pod goes to the one that runs it, and is found again by the one that has run it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from edgehub.pods.model import Launch, PodId, PodPlan, PodState
from edgehub.pods.runtime import ExecResult, OnEnd, PodRuntime
from twin.manifest.kube_engine import engine_of
from twin.manifest.kube_fields import Engine


class Engines:
    """A PodRuntime over several."""

    def __init__(self, engines: Mapping[Engine, PodRuntime]) -> None:
        self._engines = engines
        self._of: dict[PodId, PodRuntime] = {}

    async def adopt(self, on_end: OnEnd) -> list[PodState]:
        """Find all pods that are there; see PodRuntime."""
        found = await asyncio.gather(*(engine.adopt(on_end) for engine in self._engines.values()))
        for engine, states in zip(self._engines.values(), found, strict=True):
            self._of |= {state.id: engine for state in states}
        return [state for states in found for state in states]

    async def prepare(self, plan: PodPlan) -> None:
        """Make what the containers of a pod share; see PodRuntime."""
        engine = self._engines[engine_of(plan.spec)]
        await engine.prepare(plan)
        self._of[plan.id] = engine

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
