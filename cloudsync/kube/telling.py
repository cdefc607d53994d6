"""Tells the cluster how pods and devices are, no faster than it may be written to.

twins ──changed──> names that wait ──turn──> what is true now ──differs──> one write
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping
from typing import Final

from cloudsync.kube.client import KubeClient
from cloudsync.kube.device_status import device_status, with_desired
from cloudsync.kube.errors import Absent, Busy, Conflict, KubeError, Rejected
from cloudsync.kube.nodes import Gateway
from cloudsync.kube.objects import DEVICE_STATUSES, DEVICES, PODS, KubeObject, Place, Resource
from cloudsync.kube.pod_status import Reported, differs, refused_status, reported_status
from cloudsync.kube.view import ClusterView
from cloudsync.kube.writes import Lane, Writes
from cloudsync.store import CloudStore
from twin.clock import Clock
from twin.document import TwinDocument
from twin.errors import StoreError, UnknownTwin
from twin.link.backoff import Backoff
from twin.manifest.document import DocumentKind, Ref
from twin.model import Kind, TwinKey, Value

RETRY_BASE_S: Final = 0.2
RETRY_CAP_S: Final = 30.0

log = logging.getLogger(__name__)


class Telling:
    """Writes status. ``run`` until cancelled; ``refused`` and ``gateways`` say what is so just now."""

    def __init__(
        self,
        client: KubeClient,
        view: ClusterView,
        store: CloudStore,
        *,
        rate_hz: float,
        clock: Clock,
        rng: random.Random,
        gateways: Callable[[], Mapping[str, Gateway]],
        refused: Callable[[Ref, str], str],
    ) -> None:
        self._client = client
        self._view = view
        self._store = store
        self._clock = clock
        self._gateways = gateways
        self._refused = refused
        self._writes: Writes[Place] = Writes(rate_hz=rate_hz, burst=max(1, int(rate_hz)))
        self._backoff = Backoff(RETRY_BASE_S, RETRY_CAP_S, rng)
        self._news = asyncio.Event()
        self._apart: bool | None = None
        self._sub = ""
        self._failing = False

    def pod(self, place: Place) -> None:
        """A pod may have another status."""
        self._want(Lane.PODS, place)

    def device(self, place: Place) -> None:
        """A device may have another status."""
        self._want(Lane.DEVICES, place)

    async def run(self) -> None:
        """Write what is due, for ever."""
        while True:
            now_s = self._clock.monotonic_s()
            due = self._writes.due(now_s)
            if due is None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._writes.wait_s(now_s)):
                        await self._news.wait()
                self._news.clear()
                continue
            lane, place = due
            try:
                if await (self._write_pod(place) if lane is Lane.PODS else self._write_device(place)):
                    self._writes.spend()
                self._well()
            except Absent:
                self._apart = None  # it is gone, or the cluster keeps status elsewhere now
            except Conflict:
                self._writes.spend()
                self._want(lane, place)
                await asyncio.sleep(self._backoff.next_s())  # the watch tells of the other write meanwhile
            except Rejected as error:
                log.warning("the status of %s cannot be written: %s", place, error)
            except (KubeError, StoreError) as error:
                self._want(lane, place)
                await self._rest(error)

    async def _write_pod(self, place: Place) -> bool:
        """Whether there was something to write."""
        pod = self._view.get(PODS, place)
        gateway = self._gateways().get(self._view.gateway_of(pod)) if pod is not None else None
        if pod is None or gateway is None:
            return False
        now_ms = self._clock.now_us() // 1000
        why = self._refused(Ref(DocumentKind.POD, *place), gateway.name)
        if why:
            status = refused_status(pod, why, now_ms)
        else:
            twin = await self._twin(TwinKey(Kind.POD, *place))
            reported = Reported.of(twin, pod.uid)
            if reported is None or (twin is not None and twin.spec.gateway != gateway.name):
                return False
            status = reported_status(pod, reported, next(iter(gateway.addresses), ""), now_ms)
        if not differs(pod, status):
            return False
        about: Value = {"uid": pod.uid, "resourceVersion": pod.version}
        written = await self._client.merge(PODS, place, {"metadata": about, "status": status}, "status")
        self._view.written(PODS, written)
        return True

    async def _write_device(self, place: Place) -> bool:
        """Whether there was something to write."""
        device = self._view.get(DEVICES, place)
        gateway = self._gateways().get(self._view.gateway_of(device)) if device is not None else None
        twin = await self._twin(TwinKey(Kind.DEVICE, *place)) if gateway is not None else None
        if device is None or gateway is None or twin is None or twin.spec.gateway != gateway.name:
            return False
        if self._apart is None:
            await self._discover()
        resource = DEVICE_STATUSES if self._apart else DEVICES
        status = device_status(twin, alive=gateway.alive)
        if not self._apart:
            status = with_desired(status, device)
        there = self._view.get(resource, place)
        if there is None:
            await self._create(device, status)
            return True
        if all(there.status.get(name) == value for name, value in status.items()):
            return False
        written = await self._client.merge(resource, place, {"status": status}, self._sub)
        self._view.written(resource, written)
        return True

    async def _create(self, device: KubeObject, status: dict[str, Value]) -> None:
        owner: Value = {
            "apiVersion": DEVICES.api_version, "kind": DEVICES.kind, "name": device.place.name, "uid": device.uid
        }  # fmt: skip
        about: Value = {"name": device.place.name, "ownerReferences": [owner]}
        body: dict[str, Value] = {"metadata": about, "status": status}
        await self._client.create(DEVICE_STATUSES, device.place.namespace, body)
        if self._sub:
            await self._client.merge(DEVICE_STATUSES, device.place, {"status": status}, self._sub)

    async def _discover(self) -> None:
        """Where the cluster keeps the status of devices: apart since KubeEdge 1.23, in the Device before."""
        apart = await self._client.serves(DEVICE_STATUSES)
        resource: Resource = DEVICE_STATUSES if apart else DEVICES
        self._sub = "status" if await self._client.serves(resource, "status") else ""
        self._apart = apart

    async def _twin(self, key: TwinKey) -> TwinDocument | None:
        try:
            return await self._store.twin(key)
        except UnknownTwin:
            return None

    def _want(self, lane: Lane, place: Place) -> None:
        self._writes.want(lane, place)
        self._news.set()

    def _well(self) -> None:
        if self._failing:
            log.info("status is written again")
        self._failing = False
        self._backoff.reset()

    async def _rest(self, error: KubeError | StoreError) -> None:
        log.log(logging.DEBUG if self._failing else logging.WARNING, "status waits: %s", error)
        self._failing = True
        wait_s = error.retry_after_s if isinstance(error, Busy) else 0.0
        await asyncio.sleep(wait_s + self._backoff.next_s())
