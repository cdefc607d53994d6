"""The composition root of a gateway: the only place that constructs its parts. Start is recovery: there is no other.

registry ──specs──> pods ──status──> engine (first of all, from disk alone)
registry ──specs──> engine <──reports── LocalTwins <── link <── mosquitto (child) <── mapper hosts (children)
    └────settings of connections────────────────────────────────> retained ──────────────────^
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from edgehub.alarming.documents import rules_of, subjects_of
from edgehub.alarming.facts import GatewayFacts
from edgehub.alarming.keeper import Alarming
from edgehub.alarming.looking import Looking
from edgehub.alarms import Alarms
from edgehub.applying import Applying
from edgehub.cloud_keys import CloudKeys
from edgehub.connections import connection_specs, connection_status
from edgehub.dialects import Dialects
from edgehub.documents import Documents, open_documents
from edgehub.health import HealthFile
from edgehub.history import HistoryKeeper
from edgehub.kubeapi.home import KubeApi
from edgehub.local_broker import BrokerAccess, open_broker
from edgehub.machine import Machine
from edgehub.mapper_hosts import MapperHosts, client_id
from edgehub.mesh.home import Mesh
from edgehub.mesh.home import Place as MeshPlace
from edgehub.mesh.home import Sources as MeshSources
from edgehub.own_twin import OwnTwin
from edgehub.peer_access import peer_access
from edgehub.pods.home import Place, Pods
from edgehub.push.door import PushDoor, PushPlace
from edgehub.release import ReleaseLeaf
from edgehub.settings import Settings
from edgehub.state import CliAccess, StateFolder
from edgehub.state_store import copier, keep_copies, open_state
from edgehub.sync.cloud import Cloud
from edgehub.sync.states import SyncState
from edgehub.system import system
from edgehub.twins import LocalTwins
from edgehub.web.home import Web, WebPlace
from twin.api import ApiServer, Caller, Served, TwinVerbs
from twin.client import TwinClient
from twin.clock import Clock
from twin.dialects.aws_names import device_of
from twin.engine import TwinEngine
from twin.envelope import EnvelopeError
from twin.errors import EdgetwinError, LinkError, StoreError
from twin.history_verb import HistoryVerb
from twin.link import LinkState, Message
from twin.link.mqtt import MqttLink
from twin.link.options import LOCAL_RETRY_BASE_S, LOCAL_RETRY_CAP_S, MqttOptions
from twin.model import Kind, Quality, Reason, TwinKey, Value
from twin.query.reader import SqliteReader
from twin.query.verb import QueryVerb
from twin.sqlite_drain import SqliteDrain
from twin.sqlite_history import SqliteHistory
from twin.supervisor import Supervisor
from twin.wire import topics
from twin.wire.api import ApplyRequest, StatusReply, StatusRequest, SyncBody, Verb
from twin.wire.codec import decode
from twin.wire.mesh import MeshReply, MeshRequest
from twin.wire.messages import MapperState

if TYPE_CHECKING:
    from edgehub.metering import Metering

log = logging.getLogger(__name__)

CONNECT_S: Final = 15.0
ANSWER_S: Final = 5.0


class Gateway:
    """A running gateway; ``running`` makes and ends it."""

    def __init__(
        self, settings: Settings, folder: StateFolder, clock: Clock, parts: _Parts, *, supervisor: Supervisor
    ) -> None:
        self.access = parts.access
        self._settings = settings
        self._folder = folder
        self._clock = clock
        self._parts = parts
        self._engine = parts.engine
        self._link = parts.link
        self._own = OwnTwin(parts.engine, settings.gateway_name, clock)
        parts.pods.on_removed = self._own.report
        self._applying = Applying(parts.documents, parts.engine, self._follow_documents)
        parts.mesh.on_own = self._own.report
        parts.mesh.publish = self._publish_of_mesh
        self._cloud = Cloud(settings, parts.keys, parts.engine, parts.drain, parts.executor, self._applying, clock)
        self._release = ReleaseLeaf(folder, parts.engine, self._own.key, self._own.report)
        self._version = version("edgetwin")
        broker = (parts.access.host, parts.access.port)
        place = WebPlace(settings.gateway_name, folder.path, broker, parts.access.web, settings.log.level)
        self.web = Web(settings.web, folder.web, place)
        facts = GatewayFacts(parts.engine, parts.history, parts.keys, folder.path, clock, self._sync_status)
        looking = Looking(parts.engine, parts.mesh)
        self._alarming = Alarming(parts.engine, looking, facts, clock, settings.gateway_name)
        self._alarming.publish = lambda topic, payload: parts.link.publish(topic, payload, qos=1, retain=True)
        self._metering: Metering | None = None
        self._system = system()
        self._started_at = clock.now_us() // 1000
        self._own.asks(
            *(self._said, Machine.here().reported, self._release.reported, self._reader_key),
            *(lambda: self._cloud.reported(parts.documents.refused()), parts.mesh.reported, self._alarming.reported),
        )
        self._twins = twins = LocalTwins(parts.engine, parts.link, clock, settings.gateway_name)
        self._hosts = MapperHosts(
            parts.access, parts.link, supervisor, lambda keys: twins.mark_down(keys, Reason.MAPPER_DOWN)
        )
        parts.mesh.runs_mapper = lambda name: self._hosts.runs(name, is_plugin=parts.documents.is_plugin(name))
        self._hosts.on_state = parts.mesh.endpoints_changed
        self._dialects = Dialects(parts.engine, parts.link, clock, settings, self._twins)
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
            parts = _Parts(*opened, link, documents, access, executor, keys, pods, kube, mesh, pushes)
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

    def status(self) -> StatusReply:
        """How the gateway is, as far as the hub knows without asking anyone."""
        devices = [key for key in self._engine if key.kind is Kind.DEVICE]
        counters = self._twins.counters
        return StatusReply(
            gateway=self._settings.gateway_name,
            version=self._version,
            pid=os.getpid(),
            started_at=self._started_at,
            state_folder=str(self._folder.path),
            broker=f"{self.access.host}:{self.access.port} ({self._link.state})",
            twins=len(self._engine),
            devices=len(devices),
            devices_bad=[str(key) for key in devices if self._is_bad(key)],
            devices_simulated=[str(key) for key in devices if self._is_simulated(key)],
            reports=counters.reports,
            updates=counters.updates,
            refused=counters.refused,
            children=list(self._hosts.status()),
            mappers_disabled=list(self._hosts.disabled()),
            connections=connection_status(self._engine),
            sync=self._sync_status(),
            web=self.web.url,
            alarms=[
                *self._parts.alarms.now(),
                *self._parts.kube.alarms(),
                *self.web.alarms(),
                *(self._metering.alarms() if self._metering is not None else ()),
                *self._parts.mesh.alarms(),
                *self._parts.pushes.alarms(),
                *self._cloud.alarms(self._parts.documents.refused()),
            ],
            firing=self._alarming.unseen(),
        )

    async def _open(self, stack: AsyncExitStack, rng: random.Random) -> None:
        # A disk that takes nothing must not keep the gateway from starting: the engine has logged it, status alarms.
        self._dialects.load()
        self._alarming.load()
        with suppress(StoreError):
            await self._project()
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
        health = HealthFile(self._folder.health, self.status, lambda: self._clock.now_us() // 1000)
        loop = asyncio.get_running_loop()
        stack.callback(loop.create_task(health.keep(), name="health file").cancel)
        stack.callback(loop.create_task(self._release.keep(), name="release").cancel)
        stack.callback(loop.create_task(self._alarming.keep(), name="alarms").cancel)
        login = self.access.hub
        asking = TwinClient(self._link, account=login.name, client="hub", timeout_s=ANSWER_S)
        self._asking = await stack.enter_async_context(asking)
        where = f"{self.access.host}:{self.access.port}"
        devices = sum(key.kind is Kind.DEVICE for key in self._engine)
        log.info("gateway %s is up, %d devices, broker on %s", self._settings.gateway_name, devices, where)

    def _metered(self) -> AbstractAsyncContextManager[None]:
        from edgehub.metering import Metering  # memory that only gateways which are scraped should pay

        parts = self._parts
        self._metering = Metering(
            *(self._settings.metrics, self._folder.path, parts.engine, self._alarming, self.status),
            verbs=lambda: self._api.verbs,
            session=lambda: self._cloud.session,
        )
        return self._metering.running()

    def _sync_status(self) -> SyncBody | None:
        return self._cloud.status(self._parts.documents.refused())

    def _cli_access(self) -> CliAccess:
        login = self.access.cli
        return CliAccess(
            host=self.access.host, port=self.access.port, account=login.name, password=login.password, pid=os.getpid()
        )

    # -- documents -----------------------------------------------------------------------------------------------

    async def _project(self) -> None:
        """Make the twins what the documents say. What they do not name is removed, but for shadows of named devices."""
        devices = self._parts.documents.specs()
        await self._parts.mesh.follow()
        await self._parts.pods.follow()
        await self._parts.pushes.follow(self._parts.documents.view(), devices)
        connections = connection_specs(self._parts.documents.host_settings(), self._settings.gateway_name)
        said = self._dialects.completed(
            (
                *devices,
                *connections,
                *self._parts.pods.specs(),
                *self._parts.mesh.specs(),
                *self._parts.pushes.specs(),
                self._own.spec(),
            )
        )
        specs = {spec.key: spec for spec in said}
        view = self._parts.documents.view()
        self._alarming.follow(rules_of(view), subjects_of(view, specs.values(), self._own.key.name))
        specs |= {spec.key: spec for spec in self._alarming.specs()}
        for key in list(self._engine):
            if key not in specs and device_of(key) not in specs:
                self._engine.remove(key)
        by_cloud = self._parts.documents.by_cloud()
        for spec in specs.values():
            self._engine.define(spec, theirs=spec.key in by_cloud)
        self._own.report()
        self._parts.pods.report_all()
        self._parts.mesh.report_all()
        self._parts.kube.documents_changed()
        self._twins.forget_topics()
        self._dialects.projected()
        await self._engine.settled()

    async def _follow_documents(self) -> None:
        try:
            await self._project()
        finally:
            await self._hosts.follow(self._parts.documents.placement())

    def _said(self) -> dict[str, Value]:
        return {
            "version": self._version,
            "broker": f"{self.access.host}:{self.access.port}",
            "started_at": self._started_at,
            "system": self._system,
            "pods": {"seen": self._parts.documents.seen_pods(), "there": self._parts.pods.there()},
        }

    def _reader_key(self) -> dict[str, Value]:
        """The public key for the cloud's Secrets, once there is a cloud."""
        reader, session = self._parts.documents.sealer.reader, self._cloud.session
        if reader is None or session is None or session.state is SyncState.OFF:
            return {}
        try:
            return {"secrets_key": reader.public()}
        except EnvelopeError as error:
            log.error("%s", error)
            return {}

    # -- what happens --------------------------------------------------------------------------------------------

    async def _answer_status(self, _: StatusRequest, __: Caller) -> StatusReply:
        return self.status()

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

    def _is_bad(self, key: TwinKey) -> bool:
        reported = self._engine.document(key).reported
        return any(slot.quality is Quality.BAD for slot in reported.values())

    def _is_simulated(self, key: TwinKey) -> bool:
        reported = self._engine.document(key).reported
        return any(topics.is_simulated(slot.by) for slot in reported.values())


@dataclass(frozen=True, slots=True)
class _Parts:
    engine: TwinEngine
    history: SqliteHistory
    drain: SqliteDrain
    alarms: Alarms
    link: MqttLink
    documents: Documents
    access: BrokerAccess
    executor: ThreadPoolExecutor
    keys: CloudKeys
    pods: Pods
    kube: KubeApi
    mesh: Mesh
    pushes: PushDoor


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
    copying = asyncio.create_task(keep_copies(opened.store, folder, executor), name="copies of the twins")
    stack.callback(copying.cancel)
    keeper = HistoryKeeper(history, settings.history.limits, clock, executor, folder.path)
    stack.callback(asyncio.create_task(keeper.keep(), name="history").cancel)
    return engine, history, drain, Alarms(engine, opened.store, folder.database, start=opened.alarms)
