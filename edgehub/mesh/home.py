"""The mesh of a gateway, bound to its documents, pods and twins. What runs it is imported when there is a Service.

documents ──┐
pods, mappers ┼─> running.py ──table──> the mesh's own process ──what it carries──> twins, alarms, the verb mesh
cloud, peers ┘
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgehub.cloud_keys import CloudKeys
from edgehub.mesh.notes import NOTES, notes_of
from edgehub.mesh_settings import Enabled, MeshSettings
from edgehub.pods.model import PodDns
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.manifest.catalog import RegistryView
from twin.manifest.document import ROUTES, DocumentKind, Ref
from twin.model import TwinSpec, Value
from twin.supervisor import Supervisor
from twin.wire.mesh import Alert, MeshReply, MeshRequest

if TYPE_CHECKING:
    from edgehub.mesh.running import Running

_WANTED: Final = frozenset({DocumentKind.SERVICE, *ROUTES})
_POD_PORT: Final = 53
_TOLD: Final = "dns"
"""The note that pods were made which ask the mesh for names: it must be there for them from then on."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose mesh it is, where its socket lies, and the keys of the cloud that it joined, if it has."""

    gateway: str
    settings: MeshSettings
    run: Path
    keys: CloudKeys
    rng: random.Random


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the mesh learns what is wanted and what is there."""

    view: Callable[[], RegistryView]
    by_cloud: Callable[[], Set[Ref]]
    """Of the documents that say where something is reached those that came from the cloud."""


class Mesh:
    """Loads the mesh while it is wanted, before any network is waited for."""

    def __init__(self, place: Place, sources: Sources, engine: TwinEngine, clock: Clock) -> None:
        self._place = place
        self._sources = sources
        self._engine = engine
        self._clock = clock
        self._supervisor: Supervisor | None = None
        self._running: Running | None = None
        self._cloud = False
        self._told_pods = False
        self.runs_mapper: Callable[[str], bool] = lambda _: False
        """Whether the process of a mapper serves."""
        self.publish: Callable[[str, bytes, bool], None] = lambda _topic, _payload, _retain: None
        """Publishes a message on the local broker, retained or not."""
        self.on_own: Callable[[], None] = lambda: None
        """Called when what ``reported`` says may be other."""

    @asynccontextmanager
    async def running(self, supervisor: Supervisor) -> AsyncIterator[Mesh]:
        """Run it from what is on disk, as long as it is wanted."""
        self._supervisor = supervisor
        self._told_pods = _TOLD in notes_of(self._engine)
        try:
            await self.follow()
            yield self
        finally:
            if self._running is not None:
                await self._running.close()

    async def follow(self) -> None:
        """Do as the documents say now."""
        if self._running is not None:
            self._running.documents_changed()
        elif self._supervisor is not None and self._is_wanted():
            from edgehub.mesh.running import Running  # memory that only gateways with services should pay

            self._running = Running(self._place, self._sources, self._engine, self._clock, self)
            self._running.cloud_reached(self._cloud)
            await self._running.open(self._supervisor)

    def specs(self) -> list[TwinSpec]:
        """The specs of the twins of all services and routes."""
        return self._running.specs() if self._running is not None else []

    def report_all(self) -> None:
        """Tell every twin how its service is, after twins were made."""
        if self._running is not None:
            self._running.report_all()

    def endpoints_changed(self) -> None:
        """A pod or a mapper is other than before."""
        if self._running is not None:
            self._running.endpoints_changed()

    def cloud_reached(self, reached: bool) -> None:
        """Whether the cloud is reached from now on."""
        self._cloud = reached
        if self._running is not None:
            self._running.cloud_reached(reached)

    def broker_up(self) -> None:
        """The local broker is there, and has forgotten what it was told before."""
        if self._running is not None:
            self._running.broker_up()

    def alarms(self) -> list[str]:
        """What the user has to see to."""
        return self._running.alarms() if self._running is not None else []

    def judged(self, rule: str, service: str) -> Alert | None:
        """What it says of an alarm rule that holds for a service, as ``namespace/name``."""
        return self._running.judged(rule, service) if self._running is not None else None

    def is_judging(self, for_s: float) -> bool:
        """Whether a rule that holds for so long would be known by now."""
        return self._running is not None and self._running.is_judging(for_s)

    def reported(self) -> dict[str, Value]:
        """What the gateway's own twin says of it."""
        return {"mesh": self._running.own()} if self._running is not None else {}

    async def answer(self, request: MeshRequest) -> MeshReply:
        """The verb mesh."""
        if self._running is not None:
            return self._running.answer(request)
        return MeshReply(state="off" if self._place.settings.enabled is Enabled.OFF else "idle")

    def pod_dns(self) -> PodDns | None:
        """What a pod that is made now is to ask for names; None: what the gateway asks."""
        address = self._place.settings.dns_address
        if self._running is None or address is None or address[1] != _POD_PORT or address[0].startswith("127."):
            return None
        if not self._told_pods:
            self._told_pods = True
            self._engine.note(NOTES, _TOLD, "told")
        return PodDns(address[0], self._place.settings.dns.domain)

    def pod_services(self, namespace: str) -> dict[str, str]:
        """The variables of a pod that is started now."""
        return self._running.variables(namespace) if self._running is not None else {}

    def _is_wanted(self) -> bool:
        enabled = self._place.settings.enabled
        if enabled is not Enabled.AUTO:
            return enabled is Enabled.ON
        if self._told_pods or self._place.settings.peers:
            return True
        return any(ref.kind in _WANTED for ref in self._sources.view().stored)
