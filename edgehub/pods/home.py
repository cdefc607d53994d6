"""The pods of one gateway, bound to its documents and twins. What runs them is imported when there is a pod."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgehub.pods.model import LogLimits, PodDns, PodId, PodPlan
from edgehub.pods.spec import Surroundings, pod_plans, pod_specs
from edgehub.settings import PodSettings
from twin.clock import Clock
from twin.document import live
from twin.engine import TwinEngine
from twin.manifest.catalog import RegistryView
from twin.manifest.kube_fields import Engine
from twin.model import Kind, TwinKey, TwinSpec, Value
from twin.sealing import Sealer

if TYPE_CHECKING:
    from edgehub.kubeapi.home import PodAccess
    from edgehub.pods.kubelet import Kubelet
    from edgehub.pods.records import PodFolders
    from edgehub.pods.runtime import PodRuntime

log = logging.getLogger(__name__)

REPORTER: Final = "hub"
_END_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Whose pods they are, and where they lie."""

    folder: Path
    podman: Path
    """What an own podman keeps."""
    gateway: str
    settings: PodSettings
    api: PodAccess | None = None
    """How pods reach the gateway's Kubernetes API, if it is on."""
    dns: Callable[[], PodDns | None] = lambda: None
    """What pods with a network of their own ask for names; None: what the gateway asks."""
    services: Callable[[str], dict[str, str]] = lambda _: {}
    """The variables that say where the Services of a namespace are."""


class Pods:
    """Starts the pods from disk at once, before any network is waited for, and tells their twins how they are."""

    def __init__(
        self, place: Place, view: Callable[[], RegistryView], sealer: Sealer, engine: TwinEngine, clock: Clock
    ) -> None:
        self._place = place
        self._view = view
        self._sealer = sealer
        self._engine = engine
        self._clock = clock
        self.on_removed: Callable[[], None] = lambda: None
        """Called when nothing of a pod is left."""
        self._kubelet: Kubelet | None = None
        self._told: dict[TwinKey, dict[str, Value]] = {}
        self._remembered: set[PodId] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Pods]:
        """Take the pods in hand; at the end they run on, unless the settings say otherwise."""
        try:
            await self.follow()
            yield self
        finally:
            if self._kubelet is not None:
                if self._place.settings.stop_with_hub:
                    await self._kubelet.end_all(self._longest_grace_s() + _END_S)
                await self._kubelet.close()

    async def follow(self) -> None:
        """Do as the documents say now."""
        view = self._view()
        plans = pod_plans(view, self._place.gateway)
        around = Surroundings(view, self._sealer, self._place.gateway, self._place.api, self._place.services)
        if self._kubelet is not None:
            self._kubelet.desire(plans, around)
        elif plans or any(self._place.folder.glob("*/pod.json")):
            self._kubelet = self._made()
            await self._kubelet.open(plans, around)

    def specs(self) -> list[TwinSpec]:
        """The specs of the twins of all pods that should be here."""
        return list(pod_specs(self._view(), self._place.gateway))

    def there(self) -> dict[str, Value]:
        """The uid of each pod that should be here, or of which something is still here, by namespace and name."""
        pods = self._kubelet.there() if self._kubelet is not None else set()
        found: dict[str, Value] = {}
        for pod in sorted(pods):  # one that ends and one that comes may have the same name
            found[f"{pod.namespace}/{pod.name}" if f"{pod.namespace}/{pod.name}" not in found else pod.uid] = pod.uid
        return found

    def report_all(self) -> None:
        """Tell every pod's twin how the pod is, after twins were made."""
        self._told.clear()
        for plan in self._kubelet.plans() if self._kubelet is not None else ():
            self._report(plan)

    def _made(self) -> Kubelet:
        from edgehub.pods.engines import Engines  # memory that only gateways with pods should pay
        from edgehub.pods.kubelet import Kubelet  # as above
        from edgehub.pods.records import PodFolders  # as above
        from edgehub.pods.volumes import Volumes  # as above

        folder, folders = self._place.folder, PodFolders(self._place.folder)
        with suppress(
            OSError
        ):  # a disk that takes nothing is told by every pod, and must not keep the hub from starting
            folder.mkdir(mode=0o700, exist_ok=True)
        makers = {Engine.PROCESS: self._process, Engine.PODMAN: lambda: self._podman(folders)}
        runtime, volumes = Engines(folders, makers), Volumes(folders)
        made = Kubelet(runtime, volumes, self._clock, lambda: time.clock_gettime(time.CLOCK_BOOTTIME), self._report)
        made.on_removed = lambda: self.on_removed()
        return made

    def _process(self) -> PodRuntime:
        from edgehub.pods.process import ProcessEngine  # as above

        return ProcessEngine(self._place.folder, self._log_limits(), isolate=os.geteuid() == 0)

    def _podman(self, folders: PodFolders) -> PodRuntime:
        from edgehub.pods.podman.bodies import Names  # as above
        from edgehub.pods.podman.conf import PodmanPlace, digest  # as above
        from edgehub.pods.podman.engine import PodmanEngine  # as above
        from edgehub.pods.podman.made import MadeByPodman  # as above
        from edgehub.pods.podman.service import PodmanChoice, PodmanService  # as above

        settings = self._place.settings.podman
        choice = PodmanChoice(settings.program, settings.socket)
        service = PodmanService(PodmanPlace.of(self._place.podman), choice, self._clock, random.Random())
        made = MadeByPodman(service, Names(digest(str(folders.path))), settings.subnet, self._place.dns)
        return PodmanEngine(folders, made, self._log_limits())

    def _log_limits(self) -> LogLimits:
        return LogLimits(self._place.settings.log_max_bytes, self._place.settings.log_files)

    def _report(self, plan: PodPlan) -> None:
        key = TwinKey(Kind.POD, plan.id.namespace, plan.id.name)
        if self._kubelet is None or key not in self._engine or self._engine.spec(key).uid != plan.id.uid:
            return  # its twin is made when the documents are projected, and everything is told then
        if plan.id not in self._remembered:
            self._remembered.add(plan.id)
            known = live(self._engine.document(key).reported)
            if "events" in known:
                self._kubelet.events(plan.id).remember(known["events"].value)
        status = self._kubelet.status(plan.id)
        values: dict[str, Value] = {
            "phase": status.phase,
            "ready": status.ready,
            "restarts": status.restarts,
            "reason": status.reason,
            "message": status.message,
            "address": self._kubelet.address(plan.id),
            "containers": status.containers,
            "conditions": status.conditions,
            "events": self._kubelet.events(plan.id).told(),
        }
        told = self._told.get(key, {})
        new = {name: value for name, value in values.items() if name not in told or told[name] != value}
        if new:
            self._told[key] = values
            outcome = self._engine.report(key, new, {}, at=self._clock.now_us() // 1000, by=REPORTER)
            if outcome.refused is not None:
                log.error("the status of %s is not as its twin asks: %s", key, outcome.refused.message)

    def _longest_grace_s(self) -> int:
        plans = self._kubelet.plans() if self._kubelet is not None else []
        return max((plan.grace_s for plan in plans), default=0)
