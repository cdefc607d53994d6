"""The cluster and the cloud, kept in agreement: what changes on either side marks gateways and names to look at.

watches ──> view ──────┐                      ┌─> Settling: documents of a gateway
twins ───> Follower ───┼─> marks ──> rounds ──┼─> Telling:  status of pods and devices
presence ──> store ────┘                      └─> Nodes:    nodes and leases
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from cloudsync.api.following import Follower
from cloudsync.kube.client import KubeClient
from cloudsync.kube.errors import Busy, KubeError, OtherCluster
from cloudsync.kube.events import Events
from cloudsync.kube.following import Following
from cloudsync.kube.keeping import Nodes
from cloudsync.kube.nodes import GATEWAY
from cloudsync.kube.objects import (
    CONFIG_MAPS,
    DEVICE_MODELS,
    DEVICE_STATUSES,
    DEVICES,
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    KubeObject,
    Place,
    Resource,
)
from cloudsync.kube.pod_status import UNSUPPORTED
from cloudsync.kube.presence import Presence
from cloudsync.kube.settling import Settling
from cloudsync.kube.telling import Telling
from cloudsync.kube.view import ClusterView, asks
from cloudsync.placing import Placing
from cloudsync.settings import KubeSettings
from cloudsync.store import CloudStore
from twin.clock import Clock
from twin.errors import StoreError
from twin.link.backoff import Backoff
from twin.manifest.document import Ref
from twin.model import Kind, TwinKey

ROUND_S: Final = 2.0
RESYNC_S: Final = 300.0
"""How often everything is compared anew, whatever was or was not told."""
IDENTITY: Final = Place("", "kube-system")
"""The namespace whose uid tells one cluster from another."""
_KINDS: Final = {"Pod": PODS, "Device": DEVICES}

log = logging.getLogger(__name__)


class Bridge:
    """One cluster and one cloud. ``run`` until cancelled."""

    def __init__(
        self,
        client: KubeClient,
        store: CloudStore,
        placing: Placing,
        follower: Follower,
        settings: KubeSettings,
        *,
        known: Callable[[str], Awaitable[bool]],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._client = client
        self._store = store
        self._placing = placing
        self._follower = follower
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._cluster = ""
        self._view = ClusterView(settings.node_prefix)
        self._presence = Presence(store, known, clock)
        self._nodes = Nodes(client, self._view, prefix=settings.node_prefix, taint=settings.taint)
        self._events = Events(client)
        self._settling: Settling
        self._telling = Telling(
            *(client, self._view, store),
            rate_hz=settings.writes_per_second,
            clock=clock,
            rng=rng,
            gateways=lambda: self._presence.gateways,
            refused=lambda ref, gateway: self._why(ref, gateway),
        )
        self._unknown: KubeError | None = None
        """Why it is not known yet which cluster this is."""
        self._followed: list[Following] = []
        self._waits: dict[str, KubeError | StoreError] = {}
        self._marked: set[str] = set()
        self._resync_s = 0.0
        self._for_gateways = asyncio.Event()
        self._for_nodes = asyncio.Event()

    def trouble(self) -> str:
        """What keeps it from agreeing with the cluster just now; empty if nothing does."""
        if self._unknown is not None:
            return f"the cluster cannot be asked yet: {self._unknown.message}"
        wrong = [f"{one}: {one.trouble.message}" for one in self._followed if one.trouble is not None and one.needed]
        wrong += [f"{what} wait: {error.message}" for what, error in self._waits.items()]
        return f"{wrong[0]}{f' (and {len(wrong) - 1} more)' if len(wrong) > 1 else ''}" if wrong else ""

    async def run(self) -> None:
        """Serve. Raises KubeError if the cluster cannot be known, OtherCluster if it becomes another."""
        self._cluster = await self._identified()
        log.info("the cluster is %s", self._cluster)
        self._settling = Settling(self._client, self._view, self._store, self._placing, self._cluster)
        stop = await self._follower.listen(self._on_twins)
        try:
            async with asyncio.TaskGroup() as group:
                self._followed = self._followings()
                for one in self._followed:
                    group.create_task(one.run(), name=f"kube: {one}")
                group.create_task(self._telling.run(), name="kube: status")
                group.create_task(
                    self._every_round("gateways", self._settle_marked, self._for_gateways), name="kube: gateways"
                )
                group.create_task(self._every_round("nodes", self._keep_nodes, self._for_nodes), name="kube: nodes")
        finally:
            stop()

    # -- what is followed ----------------------------------------------------------------------------------------

    def _followings(self) -> list[Following]:
        secrets = (SECRETS,) if self._settings.secrets else ()
        spaced = (PODS, CONFIG_MAPS, *secrets, SERVICES, ENDPOINT_SLICES, DEVICE_MODELS, DEVICES, DEVICE_STATUSES)
        wanted = [(NODES, "")]
        wanted += [(resource, space) for resource in spaced for space in self._settings.namespaces or ("",)]
        return [
            Following(
                self._client,
                resource,
                space,
                self._view.mirror(resource, space),
                on_change=self._on_object,
                on_listed=self._on_listed,
                check=self._check,
                rng=self._rng,
                fields="spec.nodeName!=" if resource == PODS else "",
                labels=GATEWAY if resource == NODES else "",
                optional=resource in (DEVICE_MODELS, DEVICES, DEVICE_STATUSES),
            )
            for resource, space in wanted
        ]

    async def _identified(self) -> str:
        """The id of the cluster, as soon as it answers."""
        backoff = Backoff(0.5, 30.0, self._rng)
        while True:
            try:
                uid = (await self._client.get(NAMESPACES, IDENTITY)).uid
            except KubeError as error:
                level = logging.ERROR if self._unknown is None else logging.DEBUG
                log.log(level, "the cluster cannot be asked yet: %s", error)
                self._unknown = error
                wait_s = error.retry_after_s if isinstance(error, Busy) else 0.0
                await asyncio.sleep(wait_s + backoff.next_s())
            else:
                self._unknown = None
                return uid

    async def _check(self) -> None:
        found = (await self._client.get(NAMESPACES, IDENTITY)).uid
        if found != self._cluster:
            message = f"the API server is that of another cluster, {found}, and was that of {self._cluster}"
            raise OtherCluster(message, remedy="What the former one placed stays at the gateways until it is deleted.")

    # -- what happens --------------------------------------------------------------------------------------------

    def _on_listed(self) -> None:
        self._resync_s = 0.0
        self._for_gateways.set()
        self._for_nodes.set()

    def _on_object(self, resource: Resource, before: KubeObject | None, after: KubeObject | None) -> None:
        one = after or before
        assert one is not None, "a change is of something"
        if resource == PODS:
            self._telling.pod(one.place)
        elif resource in (DEVICES, DEVICE_STATUSES):
            self._telling.device(one.place)
        if resource == DEVICE_STATUSES or asks(before) == asks(after):
            return
        if resource == NODES:
            self._for_nodes.set()
            return
        for side in (before, after):
            self._marked |= self._view.gateways_near(resource, side) if side is not None else set()
        self._for_gateways.set()

    def _on_twins(self, gateway: str, keys: Collection[TwinKey], all_: bool) -> None:  # a Listener
        for key in keys:
            if key.kind is Kind.GATEWAY:
                self._presence.changed(gateway)
                self._for_nodes.set()
            else:
                self._tell(key)
        if all_:
            self._tell_all(gateway)

    def _tell(self, key: TwinKey) -> None:
        place = Place(key.namespace, key.name)
        if key.kind is Kind.POD and self._view.get(PODS, place) is not None:
            self._telling.pod(place)
        elif key.kind is Kind.DEVICE and self._view.get(DEVICES, place) is not None:
            self._telling.device(place)

    def _tell_all(self, gateway: str) -> None:
        for pod in self._view.of_gateway(PODS, gateway):
            self._telling.pod(pod.place)
        for device in self._view.of_gateway(DEVICES, gateway):
            self._telling.device(device.place)

    # -- rounds --------------------------------------------------------------------------------------------------

    async def _every_round(self, what: str, work: Callable[[], Awaitable[None]], news: asyncio.Event) -> None:
        """Do it every other second, each part on its own: pods that wait must not let leases run out."""
        backoff = Backoff(0.5, 30.0, self._rng)
        while True:
            if self._view.listed:
                try:
                    await work()
                except (KubeError, StoreError) as error:
                    log.log(logging.DEBUG if what in self._waits else logging.WARNING, "%s wait: %s", what, error)
                    self._waits[what] = error
                    wait_s = error.retry_after_s if isinstance(error, Busy) else 0.0
                    await asyncio.sleep(wait_s + backoff.next_s())
                    continue
                self._waits.pop(what, None)
                backoff.reset()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await news.wait()
            news.clear()

    async def _keep_nodes(self) -> None:
        seen = await self._presence.look()
        for name in seen.turned:
            self._tell_all(name)
        if seen.turned or seen.reread:
            self._marked |= seen.turned | seen.reread
            self._for_gateways.set()
        now_s, now_ms = self._clock.monotonic_s(), self._clock.now_us() // 1000
        await self._nodes.keep(self._presence.gateways, now_ms=now_ms, now_s=now_s)

    async def _settle_marked(self) -> None:
        gateways = self._presence.gateways
        if (now_s := self._clock.monotonic_s()) >= self._resync_s:
            self._resync_s = now_s + RESYNC_S
            self._marked |= gateways.keys()
            for gateway in gateways:
                self._tell_all(gateway)
        wrong: KubeError | None = None
        for gateway in sorted(self._marked & gateways.keys()):
            self._marked.discard(gateway)
            try:
                await self._settle(gateway)
            except KubeError as error:  # of one gateway; the others go on
                wrong = error
        if wrong is not None:
            raise wrong

    async def _settle(self, gateway: str) -> None:
        done = False
        before = dict(self._settling.refused(gateway))
        try:
            done = await self._settling.settle(gateway)
            for ref, why in self._settling.refused(gateway).items():
                if before.get(ref) != why:
                    await self._warn(ref, why)
            for ref in before.keys() | self._settling.refused(gateway).keys():
                self._tell(TwinKey(Kind.POD, ref.namespace, ref.name))
            for ref in self._presence.refused(gateway):
                await self._warn(ref, self._why(ref, gateway))
                self._tell(TwinKey(Kind.POD, ref.namespace, ref.name))
            await self._settling.end_deleted(gateway)
        finally:
            if not done:
                self._marked.add(gateway)

    async def _warn(self, ref: Ref, why: str) -> None:
        resource = _KINDS.get(ref.kind)
        one = self._view.get(resource, Place(ref.namespace, ref.name)) if resource is not None else None
        if one is not None:
            await self._events.warn(one, UNSUPPORTED, why, self._clock.now_us() // 1000)
        else:
            log.warning("%s cannot be sent to its gateway: %s", ref, why)

    def _why(self, ref: Ref, gateway: str) -> str:
        """Why something cannot be at its gateway, by what is known here or what the gateway says; empty if it can."""
        return self._settling.refused(gateway).get(ref, "") or self._presence.refused(gateway).get(ref, "")
