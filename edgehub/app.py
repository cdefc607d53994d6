"""The composition root of a gateway: the only place that constructs its parts. Start is recovery: there is no other.

registry ──specs──> pods ──status──> engine (first of all, from disk alone)
registry ──specs──> engine <──reports── LocalTwins <── link <── mosquitto (child) <── mapper hosts (children)
    └────settings of connections────────────────────────────────> retained ──────────────────^
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import Final

from edgehub.alarming.facts import GatewayFacts
from edgehub.alarming.keeper import Alarming
from edgehub.alarming.looking import Looking
from edgehub.alarms import Alarms
from edgehub.applying import Applying
from edgehub.beside import beside
from edgehub.cloud_keys import CloudKeys
from edgehub.dialects import Dialects
from edgehub.documents import open_documents
from edgehub.health import HealthFile
from edgehub.history import HistoryKeeper
from edgehub.identity import Identity
from edgehub.kubeapi.home import KubeApi
from edgehub.local_broker import open_broker
from edgehub.machine import Machine
from edgehub.mapper_hosts import MapperHosts, client_id
from edgehub.mesh.home import Mesh
from edgehub.mesh.home import Place as MeshPlace
from edgehub.mesh.home import Sources as MeshSources
from edgehub.own_twin import OwnTwin
from edgehub.parts import Parts
from edgehub.peer_access import peer_access
from edgehub.pods.home import Place, Pods
from edgehub.projection import Projection
from edgehub.push.door import PushDoor, PushPlace
from edgehub.release import ReleaseLeaf
from edgehub.settings import Settings
from edgehub.state import CliAccess, StateFolder
from edgehub.state_store import copier, keep_copies, open_state
from edgehub.status import GatewayStatus
from edgehub.sync.cloud import Cloud
from edgehub.sync.states import SyncState
from edgehub.twins import LocalTwins
from edgehub.web.home import Web, WebPlace
from twin.api import ApiServer, Caller, Served, TwinVerbs
from twin.client import TwinClient
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.errors import EdgetwinError, LinkError, StoreError
from twin.history_verb import HistoryVerb
from twin.link import LinkState, Message
from twin.link.mqtt import MqttLink
from twin.link.options import LOCAL_RETRY_BASE_S, LOCAL_RETRY_CAP_S, MqttOptions
from twin.model import Kind, Reason, Value
from twin.query.reader import SqliteReader
from twin.query.verb import QueryVerb
from twin.sqlite_drain import SqliteDrain
from twin.sqlite_history import SqliteHistory
from twin.supervisor import Supervisor
from twin.wire import topics
from twin.wire.api import ApplyRequest, StatusReply, StatusRequest, Verb
from twin.wire.codec import decode
from twin.wire.mesh import MeshReply, MeshRequest
from twin.wire.messages import MapperState

log = logging.getLogger(__name__)

CONNECT_S: Final = 15.0
ANSWER_S: Final = 5.0


class Gateway:
    """A running gateway; ``running`` makes and ends it."""

    def __init__(
        self, settings: Settings, folder: StateFolder, clock: Clock, parts: Parts, *, supervisor: Supervisor
    ) -> None:
        self.access = parts.access
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._parts = parts
        self._engine = parts.engine
        self._link = parts.link
        name = settings.gateway_name
        identity = Identity.here(name, folder.path, parts.access, clock.now_us() // 1000)
        self._own = OwnTwin(parts.engine, name, clock)
        parts.pods.on_removed = self._own.report
        parts.mesh.on_own = self._own.report
        parts.mesh.publish = self._publish_of_mesh
        self._applying = Applying(parts.documents, parts.engine, self._follow_documents)
        self._cloud = Cloud(
            *(settings, parts.documents, parts.keys, parts.engine, parts.drain, parts.executor, self._applying, clock)
        )
        self._release = ReleaseLeaf(folder, parts.engine, self._own.key, self._own.report)
        broker = (parts.access.host, parts.access.port)
        self.web = Web(
            settings.web, folder.web, WebPlace(name, folder.path, broker, parts.access.web, settings.log.level)
        )
        facts = GatewayFacts(parts.engine, parts.history, parts.keys, folder.path, clock, self._cloud.status)
        self._alarming = Alarming(parts.engine, Looking(parts.engine, parts.mesh), facts, clock, name)
        self._alarming.publish = lambda topic, payload: parts.link.publish(topic, payload, qos=1, retain=True)
        self._own.asks(
            *(identity.reported, Machine.here().reported, self._release.reported, self._cloud.reported),
            *(parts.mesh.reported, self._alarming.reported, self._pods_said),
        )
        self._twins = twins = LocalTwins(parts.engine, parts.link, clock, name)
        self._hosts = MapperHosts(
            parts.access, parts.link, supervisor, lambda keys: twins.mark_down(keys, Reason.MAPPER_DOWN)
        )
        parts.mesh.runs_mapper = lambda mapper: self._hosts.runs(mapper, is_plugin=parts.documents.is_plugin(mapper))
        self._hosts.on_state = parts.mesh.endpoints_changed
        self._dialects = Dialects(parts.engine, parts.link, clock, settings, twins)
        self._projection = Projection(parts, self._own, twins, self._dialects, self._alarming)
        self.status = GatewayStatus(
            *(identity, parts.engine, parts.link, twins.counters, self._hosts, self._cloud, self.web, self._alarming)
        )
        self.status.alarms += (parts.alarms.now, parts.kube.alarms, self.web.alarms)
        self.status.alarms += (parts.mesh.alarms, parts.pushes.alarms, self._cloud.alarms)
        self._api = ApiServer(
            parts.link,
            {
                **TwinVerbs(parts.engine, parts.link, clock).verbs(),
                **QueryVerb(SqliteReader(folder.database)).verbs(),
                **HistoryVerb(parts.engine, parts.history).verbs(),
                Verb.APPLY: Served(ApplyRequest, self._applying.apply),
                Verb.STATUS: Served(StatusRequest, self._answer_status),
                Verb.MESH: Served(MeshRequest, self._answer_mesh),
            },
        )

    @classmethod
    @asynccontextmanager
    async def running(
        cls, settings: Settings, folder: StateFolder, *, clock: Clock, rng: random.Random
    ) -> AsyncIterator[Gateway]:
        """Start everything, in the order of the drawing; end everything in reverse.

        Raises EdgetwinError naming what does not start, and the remedy.
        """
        folder.make()
        async with AsyncExitStack() as stack:
            documents = stack.enter_context(open_documents(folder.registry, settings.gateway_name))
            executor = stack.enter_context(ThreadPoolExecutor(1, "commit"))
            opened = await _open_engine(settings, folder, clock, executor, stack)
            # Before anything that a network or a broker could hold up.
            release = version("edgetwin")
            kube = KubeApi(settings.kube_api, folder.kube_api, settings.gateway_name, release, documents.view)
            await stack.enter_async_context(kube.running(opened[0], clock))
            supervisor = await stack.enter_async_context(Supervisor(clock=clock, rng=rng))
            keys = CloudKeys(folder.keys)
            own_mesh = Mesh(
                MeshPlace(settings.gateway_name, settings.mesh, folder.run, keys, rng),
                MeshSources(documents.view, documents.network_of_cloud),
                opened[0],
                clock,
            )
            mesh = await stack.enter_async_context(own_mesh.running(supervisor))
            place = Place(
                *(folder.pods, folder.podman, settings.gateway_name, settings.pods, kube.pods),
                dns=mesh.pod_dns,
                services=mesh.pod_services,
            )
            own_pods = Pods(place, documents.view, documents.sealer, opened[0], clock)
            pods = await stack.enter_async_context(own_pods.running())
            push_place = PushPlace(
                *(settings.gateway_name, folder, settings.log.level, settings.history.min_free_bytes),
                strict=settings.dialects.kubeedge.strict,
            )
            own_pushes = PushDoor(push_place, opened[0], clock, executor)
            pushes = await stack.enter_async_context(own_pushes.running(supervisor))
            names = settings.dialects.names()
            peers = partial(peer_access, settings.mesh, keys, settings.gateway_name)
            access = await stack.enter_async_context(
                open_broker(settings.broker, folder, supervisor, clock, names, peers)
            )
            options = MqttOptions(
                *(access.host, access.port, client_id("hub"), access.hub.name, access.hub.password),
                retry_base_s=LOCAL_RETRY_BASE_S,
                retry_cap_s=LOCAL_RETRY_CAP_S,
            )
            link = await stack.enter_async_context(MqttLink(options, rng=rng))
            await link.connected(CONNECT_S)
            parts = Parts(*opened, link, documents, access, executor, keys, pods, kube, mesh, pushes)
            gateway = cls(settings, folder, clock, parts, supervisor=supervisor)
            await gateway._open(stack, rng)
            await stack.enter_async_context(gateway.web.running(supervisor))
            if settings.metrics.listen:
                await stack.enter_async_context(gateway._metered())
            if settings.metrics.otlp.url:
                from edgehub.export.door import exporting

                own = (settings.metrics, settings.gateway_name, settings.log.level)
                await stack.enter_async_context(exporting(*own, supervisor))
            yield gateway

    async def answers(self) -> bool:
        """Whether the hub answers itself through its broker."""
        try:
            await self._asking.get(str(self._own.key))
        except EdgetwinError:
            return False
        return True

    async def _open(self, stack: AsyncExitStack, rng: random.Random) -> None:
        # A disk that takes nothing must not keep the gateway from starting: the engine has logged it, status alarms.
        self._dialects.load()
        self._alarming.load()
        with suppress(StoreError):
            await self._projection.renew()
        await self._twins.open()
        stack.callback(self._twins.close)
        await self._dialects.open(stack)
        await self._api.open()
        stack.push_async_callback(self._api.close)
        await self._link.subscribe(topics.ALL_MAPPER_STATES, self._on_mapper_state)
        stack.callback(self._link.on_state(self._on_link_state))
        stack.push_async_callback(self._hosts.close)
        await self._hosts.follow(self._parts.documents.placement())
        self._cli_access().write(self._folder)
        stack.callback(self._folder.cli.unlink, missing_ok=True)
        await stack.enter_async_context(self._cloud.running(rng, self._on_cloud_state))
        health = HealthFile(self._folder.health, self.status.reply, lambda: self._clock.now_us() // 1000)
        await stack.enter_async_context(beside(health.keep(), "health file"))
        await stack.enter_async_context(beside(self._release.keep(), "release"))
        await stack.enter_async_context(beside(self._alarming.keep(), "alarms"))
        login = self.access.hub
        asking = TwinClient(self._link, account=login.name, client="hub", timeout_s=ANSWER_S)
        self._asking = await stack.enter_async_context(asking)
        where = f"{self.access.host}:{self.access.port}"
        devices = sum(key.kind is Kind.DEVICE for key in self._engine)
        log.info("gateway %s is up, %d devices, broker on %s", self._settings.gateway_name, devices, where)

    def _metered(self) -> AbstractAsyncContextManager[None]:
        from edgehub.metering import Metering  # memory that only gateways which are scraped should pay

        parts = self._parts
        metering = Metering(
            *(self._settings.metrics, self._folder.path, parts.engine, self._alarming, self.status.reply),
            verbs=lambda: self._api.verbs,
            session=lambda: self._cloud.session,
        )
        self.status.alarms.append(metering.alarms)
        return metering.running()

    def _cli_access(self) -> CliAccess:
        login = self.access.cli
        return CliAccess(
            host=self.access.host, port=self.access.port, account=login.name, password=login.password, pid=os.getpid()
        )

    # -- what happens --------------------------------------------------------------------------------------------

    async def _follow_documents(self) -> None:
        try:
            await self._projection.renew()
        finally:
            await self._hosts.follow(self._parts.documents.placement())

    def _pods_said(self) -> dict[str, Value]:
        """What the own twin says of pods: the cloud sees by it what was taken."""
        return {"pods": {"seen": self._parts.documents.seen_pods(), "there": self._parts.pods.there()}}

    async def _answer_status(self, _: StatusRequest, __: Caller) -> StatusReply:
        return self.status.reply()

    async def _answer_mesh(self, request: MeshRequest, _: Caller) -> MeshReply:
        return await self._parts.mesh.answer(request)

    def _on_cloud_state(self) -> None:
        session = self._cloud.session
        reached = session is not None and session.state in (SyncState.RESYNC, SyncState.LIVE)
        self._parts.mesh.cloud_reached(reached)
        self._own.report()

    def _on_link_state(self, state: LinkState) -> None:
        """A broker that was away has lost what it retained."""
        if state is LinkState.UP:
            self._hosts.publish_settings()
            self._twins.publish_all_deltas()
            self._parts.mesh.broker_up()
            self._alarming.broker_up()

    def _publish_of_mesh(self, topic: str, payload: bytes, retain: bool) -> None:
        with suppress(LinkError):  # more waits already than a broker which is away may be owed
            self._link.publish(topic, payload, qos=1 if retain else 0, retain=retain)

    def _on_mapper_state(self, message: Message) -> None:
        if not message.payload:
            return  # it is served no more
        try:
            state = decode(MapperState, message.payload, what=f"state on {message.topic}")
            self._hosts.heard(topics.parse_mapper(message.topic), state)
        except EdgetwinError as error:
            log.warning("%s", error)


async def _open_engine(
    settings: Settings, folder: StateFolder, clock: Clock, executor: ThreadPoolExecutor, stack: AsyncExitStack
) -> tuple[TwinEngine, SqliteHistory, SqliteDrain, Alarms]:
    opened = open_state(folder)
    stack.callback(opened.store.close)
    stack.callback(copier(opened.store, folder))
    history = SqliteHistory(folder.database, clock)
    history.open()
    stack.callback(history.close)
    drain = SqliteDrain(folder.database)
    drain.open()
    stack.callback(drain.close)
    engine = TwinEngine(
        opened.store, clock=clock, executor=executor, commit_interval_s=settings.store.commit_interval_s
    )
    engine.open()
    stack.push_async_callback(engine.close)
    await stack.enter_async_context(beside(keep_copies(opened.store, folder, executor), "copies of the twins"))
    keeper = HistoryKeeper(history, settings.history.limits, clock, executor, folder.path)
    await stack.enter_async_context(beside(keeper.keep(), "history"))
    return engine, history, drain, Alarms(engine, opened.store, folder.database, start=opened.alarms)
