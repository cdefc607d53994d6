"""Pushes as the gateway knows them: nothing is loaded before a document asks for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgehub.state import StateFolder
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.manifest.catalog import RegistryView
from twin.manifest.document import DocumentKind
from twin.manifest.kinds import DeviceSpec
from twin.model import TwinSpec
from twin.supervisor import Supervisor

if TYPE_CHECKING:
    from edgehub.push.home import Pushes

RETRY_CAP_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class PushPlace:
    """Whose pushes they are, and how much of the disk is left to the twins."""

    gateway: str
    folder: StateFolder
    log_level: str
    min_free_bytes: int
    strict: bool = False
    """KubeEdge's own in KubeEdge's own shape."""
    retry_cap_s: float = RETRY_CAP_S


class PushDoor:
    """All pushes of a gateway, once there are any."""

    def __init__(self, place: PushPlace, engine: TwinEngine, clock: Clock, executor: Executor) -> None:
        self._place = place
        self._engine = engine
        self._clock = clock
        self._executor = executor
        self._supervisor: Supervisor | None = None
        self._stack: AsyncExitStack | None = None
        self._pushes: Pushes | None = None

    @asynccontextmanager
    async def running(self, supervisor: Supervisor) -> AsyncIterator[PushDoor]:
        """Deliver what ``follow`` says, until the end."""
        self._supervisor = supervisor
        async with AsyncExitStack() as stack:
            self._stack = stack
            yield self

    async def follow(self, view: RegistryView, devices: list[TwinSpec]) -> None:
        """Do as the documents say. What is accepted after this is delivered. Raises StoreError."""
        if self._pushes is None:
            if not (asks_for_pushes(view) or self._place.folder.pushes.exists()):  # queues may have to be emptied
                return
            from edgehub.push.home import Pushes

            assert self._supervisor is not None
            assert self._stack is not None
            pushes = Pushes(self._place, self._engine, self._clock, self._executor)
            self._pushes = await self._stack.enter_async_context(pushes.running(self._supervisor))
        await self._pushes.follow(view, devices)

    def specs(self) -> list[TwinSpec]:
        """The twins of the pushes."""
        return self._pushes.specs() if self._pushes is not None else []

    def alarms(self) -> list[str]:
        """What is wrong with any."""
        return self._pushes.alarms() if self._pushes is not None else []


def asks_for_pushes(view: RegistryView) -> bool:
    """Whether any document does."""
    if any(ref.kind is DocumentKind.PUSH for ref in view.stored):
        return True
    devices = (one.document.spec for one in view.all(DocumentKind.DEVICE))
    return any(isinstance(spec, DeviceSpec) and any(one.push_method for one in spec.properties) for spec in devices)
