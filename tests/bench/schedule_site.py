"""A store with gateways that are said to be there, and a scheduler on it; time is what the test says."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Final

from cloudsync.applying import Applying
from cloudsync.hub import Hub
from cloudsync.pacing import Pacing
from cloudsync.placing import Placing
from cloudsync.scheduler.keeper import Scheduler
from cloudsync.scheduler.replicas import Ids
from cloudsync.store import CloudStore
from cloudsync.store.workloads import PlacementState
from twin.document import Slot
from twin.exchange import Row
from twin.manifest.workloads import CutOff
from twin.model import Kind, Section, TwinKey
from twin.model import Site as Origin
from twin.sealing import Sealer
from twin.wire.api import ApplyRequest, DocumentSource

_FACTS: Final = {"version": "1", "cpu": 4, "memory": 2**31}
_STEP_MS: Final = 4_000


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at_us = 1_700_000_000_000_000

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return self.at_us

    def monotonic_s(self) -> float:
        """The same in seconds."""
        return self.at_us / 1e6


class Site:
    """So many gateways and pods."""

    def __init__(self, store: CloudStore, gateways: int, deployments: int, replicas: int, rule: CutOff) -> None:
        numbers = itertools.count(1)
        self.clock = Time()
        self._sealer = Sealer(Path("nowhere"))
        self._store = store
        self._names = [f"gw-{number:04}" for number in range(gateways)]
        self._deployments, self._replicas, self._rule = deployments, replicas, rule
        self._ids = Ids(lambda: f"{next(numbers):06x}", lambda: f"u{next(numbers):x}")
        self._hub = Hub(
            store,
            send=lambda *_: None,
            hint=lambda _: None,
            known=self._known,
            clock=self.clock,
            nonce=self._ids.uid,
            pacing=Pacing(rate_hz=1000, burst=1000, max_wait_s=1),
        )
        placing = Placing(self._hub, store, new_uid=self._ids.uid)
        self.scheduler = Scheduler(
            store, placing, self._sealer, "w", known=self._known, clock=self.clock, ids=self._ids
        )

    async def _known(self, _: str) -> bool:
        return True

    async def open(self) -> None:
        """Make gateways and Deployments."""
        for name in self._names:
            key = TwinKey(Kind.GATEWAY, "default", name)
            async with self._hub.change(name) as turn:
                rows = [
                    Row(key, "", Section.REPORTED, what, Origin.EDGE, Slot(value, number, 0, "hub", 1))
                    for number, (what, value) in enumerate(_FACTS.items(), 1)
                ]
                await turn.merge(rows)
                await turn.define_undocumented(rows, newest=True)
        documents = [self._deployment(number) for number in range(self._deployments)]
        text = "\n---\n".join(map(json.dumps, documents))
        applying = Applying(self._hub, self._store, known=self._known, new_uid=self._ids.uid, sealer=self._sealer)
        await applying.apply(ApplyRequest(sources=[DocumentSource(name="f", text=text)]), by="ann")

    async def settle(self) -> None:
        """Let all pods be placed."""
        for _ in range(8):
            await self._beat(self._names)
            await self.scheduler.tick()

    async def lose(self, lost: str) -> None:
        """Let one gateway be silent for as long as its pods wait."""
        rest = [name for name in self._names if name != lost]
        await self._beat(rest, self._rule.after_ms - 2 * _STEP_MS)
        self.clock.at_us += 3 * _STEP_MS * 1000
        await self._say(rest)

    async def has_pods(self, gateway: str) -> bool:
        """Whether any is bound there, or still in its set."""
        placements = await self._store.workloads.placements()
        if any(one.gateway == gateway and one.state is PlacementState.BOUND for one in placements):
            return True
        return any(name == gateway for name, _, _ in await self._store.workloads.in_sets([Kind.POD.value.capitalize()]))

    async def _beat(self, names: list[str], after_ms: int = 1_000) -> None:
        for _ in range(max(1, after_ms // _STEP_MS)):
            self.clock.at_us += min(_STEP_MS, after_ms) * 1000
            await self._say(names)
            await self.scheduler.tick()

    async def _say(self, names: list[str]) -> None:
        now = self.clock.at_us // 1000
        await self._store.heard(dict.fromkeys(names, ""), at=now)

    def _deployment(self, number: int) -> dict[str, object]:
        container = {
            "name": "app",
            "image": "host",
            "command": ["sleep", "9"],
            "resources": {"requests": {"cpu": "100m", "memory": "16Mi"}},
        }
        name = f"shop-{number}"
        notes = {"edgetwin.dev/move-after": f"{self._rule.after_ms // 1000}s"}
        template = {"metadata": {"labels": {"app": name}, "annotations": notes}, "spec": {"containers": [container]}}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"namespace": "plant", "name": name},
            "spec": {"replicas": self._replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
        }
