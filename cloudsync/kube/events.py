"""Events of the cluster: told once for each reason that something cannot be at its gateway."""

from __future__ import annotations

import hashlib
import logging
from typing import Final

from cloudsync.kube.client import MANAGER, KubeClient
from cloudsync.kube.errors import Absent, Conflict, Rejected
from cloudsync.kube.nodes import time_text
from cloudsync.kube.objects import EVENTS, KubeObject
from twin.model import Value

MAX_TOLD: Final = 10_000
_MESSAGE_CHARS: Final = 1024

log = logging.getLogger(__name__)


class Events:
    """What was told already, as far as it is remembered: the name of an Event says the rest."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._told: set[str] = set()

    async def warn(self, about: KubeObject, reason: str, message: str, now_ms: int) -> None:
        """Tell of a thing that somebody has to see to. Raises KubeError."""
        digest = hashlib.sha256(f"{about.uid} {reason} {message}".encode()).hexdigest()[:16]
        name = f"{about.place.name[:200]}.{digest}"
        if name in self._told:
            return
        at = time_text(now_ms)
        subject: Value = {
            "apiVersion": about.raw["apiVersion"],
            "kind": about.raw["kind"],
            "namespace": about.place.namespace,
            "name": about.place.name,
            "uid": about.uid,
        }
        body: dict[str, Value] = {
            "metadata": {"name": name, "namespace": about.place.namespace},
            "involvedObject": subject,
            "type": "Warning",
            "reason": reason,
            "message": message[:_MESSAGE_CHARS],
            "source": {"component": MANAGER},
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        try:
            await self._client.create(EVENTS, about.place.namespace, body)
        except (Conflict, Absent, Rejected) as error:
            log.debug("not told of %s: %s", about.place, error)
        if len(self._told) >= MAX_TOLD:
            self._told.clear()
        self._told.add(name)
