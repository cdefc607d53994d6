"""How the gateway is, as far as the hub knows without asking anyone: the verb status, health file, metrics, page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from edgehub.alarming.keeper import Alarming
from edgehub.connections import connection_status
from edgehub.identity import Identity
from edgehub.mapper_hosts import MapperHosts
from edgehub.sync.cloud import Cloud
from edgehub.twins import Counters
from edgehub.web.home import Web
from twin.engine import TwinEngine
from twin.link import Link
from twin.model import Kind, Quality, TwinKey
from twin.wire import topics
from twin.wire.api import StatusReply

AlarmSource = Callable[[], Iterable[str]]


class GatewayStatus:
    """Of one gateway."""

    def __init__(
        self,
        identity: Identity,
        engine: TwinEngine,
        link: Link,
        counters: Counters,
        hosts: MapperHosts,
        cloud: Cloud,
        web: Web,
        alarming: Alarming,
    ) -> None:
        self._identity = identity
        self._engine = engine
        self._link = link
        self._counters = counters
        self._hosts = hosts
        self._cloud = cloud
        self._web = web
        self._alarming = alarming
        self.alarms: list[AlarmSource] = []
        """What tells the user what to see to."""

    def reply(self) -> StatusReply:
        """How it is now."""
        devices = [key for key in self._engine if key.kind is Kind.DEVICE]
        return StatusReply(
            gateway=self._identity.gateway,
            version=self._identity.release,
            pid=os.getpid(),
            started_at=self._identity.started_ms,
            state_folder=str(self._identity.folder),
            broker=f"{self._identity.broker} ({self._link.state})",
            twins=len(self._engine),
            devices=len(devices),
            devices_bad=[str(key) for key in devices if self._is_bad(key)],
            devices_simulated=[str(key) for key in devices if self._is_simulated(key)],
            reports=self._counters.reports,
            updates=self._counters.updates,
            refused=self._counters.refused,
            children=list(self._hosts.status()),
            mappers_disabled=list(self._hosts.disabled()),
            connections=connection_status(self._engine),
            sync=self._cloud.status(),
            web=self._web.url,
            alarms=[text for alarms in self.alarms for text in alarms()],
            firing=self._alarming.unseen(),
        )

    def _is_bad(self, key: TwinKey) -> bool:
        reported = self._engine.document(key).reported
        return any(slot.quality is Quality.BAD for slot in reported.values())

    def _is_simulated(self, key: TwinKey) -> bool:
        reported = self._engine.document(key).reported
        return any(topics.is_simulated(slot.by) for slot in reported.values())
