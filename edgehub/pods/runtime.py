"""What the kubelet loop asks of an engine. One contract suite, test_runtime_contract.py, runs over every engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from edgehub.pods.model import Launch, PodId, PodPlan, PodState


@dataclass(frozen=True, slots=True)
class Ended:
    """A container has ended; ``at`` in seconds since the machine started."""

    pod: PodId
    container: str
    run: int
    code: int
    at: float
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a command in a container said, and its exit code."""

    code: int
    output: str


HERE: Final = "127.0.0.1"
OnEnd: TypeAlias = Callable[[Ended], None]


class PodRuntime(Protocol):
    """Starts and ends containers, and finds those again that an earlier hub started."""

    async def adopt(self, on_end: OnEnd) -> list[PodState]:
        """Find all pods that are there. From now on every end is told to ``on_end``, once, on the loop."""
        ...

    async def prepare(self, plan: PodPlan) -> None:
        """Make what the containers of a pod share, so that the pod is found again. Raises OSError."""
        ...

    async def start(self, launch: Launch) -> float:
        """Start a container and return when it began. Raises CannotStart, OSError."""
        ...

    async def stop(self, pod: PodId, container: str, grace_s: float) -> None:
        """Ask a container to end, and end it when the grace is over; returns when it has ended."""
        ...

    async def remove(self, pod: PodId) -> None:
        """Remove all that is left of a pod of which nothing runs. Raises OSError."""
        ...

    async def execute(self, pod: PodId, container: str, command: Sequence[str], timeout_s: float) -> ExecResult:
        """Run a command in a container. Raises TimeoutError, CannotStart if the container does not run."""
        ...

    async def address(self, pod: PodId) -> str:
        """Where a pod's ports are: its own address, or 127.0.0.1 in the network of the gateway."""
        ...

    async def close(self) -> None:
        """Let go of everything; containers run on."""
        ...
