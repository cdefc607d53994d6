"""The mesh while it is loaded: sources in, a table to its process; what that says out to twins, alarms and the API."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from edgehub.kubeapi.home import own_address
from edgehub.mesh import alarms, here
from edgehub.mesh.addresses import Addresses
from edgehub.mesh.child import MeshChild
from edgehub.mesh.interest import Interest
from edgehub.mesh.notes import NOTES, notes_of
from edgehub.mesh.peers import Peers, peer_link
from edgehub.mesh.reports import Reports
from edgehub.mesh.state import State
from edgehub.mesh.tables import Tables
from edgehub.mesh.telling import reply_of, twin_of
from edgehub.mesh.twins import specs, subjects
from edgehub.mesh_settings import PlaneChoice
from edgehub.peer_access import NO_KEYS, lacks_keys
from mesh.compile import Compiled, change, compile_table
from mesh.difference import table_difference
from mesh.frames import (
    Alarms,
    Alerted,
    Asked,
    Begin,
    Callers,
    Changed,
    FromMesh,
    Health,
    Programmed,
    Reached,
    Ready,
    Refused,
    Tunnels,
    Whole,
)
from mesh.model.alarms import AlarmRule
from mesh.model.services import Plane, Service, ServiceKey
from mesh.model.table import Table
from mesh.problems import Subject
from mesh.settings import Settings, TunnelFiles
from twin.clock import Clock
from twin.document import Slot
from twin.engine import TwinEngine
from twin.model import Kind, Section, TwinKey, TwinSpec, Value
from twin.supervisor import ChildError, Supervisor
from twin.wire import topics
from twin.wire.codec import encode
from twin.wire.mesh import Alert, MeshReply, MeshRequest

if TYPE_CHECKING:
    from edgehub.mesh.home import Mesh, Place, Sources

log = logging.getLogger(__name__)

TICK_S: Final = 1.0
PATIENCE_S: Final = 5.0
"""How long the process may take to carry out a table before twins and alarms say so."""
_ASKED: Final = "asked"
_ADDRESSES: Final = "addresses"
_NOTHING: Final[Mapping[str, Slot]] = MappingProxyType({})
_PLANES: Final = {PlaneChoice.USERSPACE: Plane.USERSPACE, PlaneChoice.NFTABLES: Plane.NFTABLES}


class Running:
    """One gateway's. Tables are made, sent and told of in its one task, which callers wake."""

    def __init__(self, place: Place, sources: Sources, engine: TwinEngine, clock: Clock, home: Mesh) -> None:
        self._place = place
        self._sources = sources
        self._engine = engine
        self._clock = clock
        self._home = home
        notes = notes_of(engine)
        dns = place.settings.dns_address
        self._addresses = Addresses.read(notes.get(_ADDRESSES, ""), place.settings.network, {dns[0]} if dns else set())
        self._interest = Interest.read(notes.get(_ASKED, ""))
        self._tables = Tables(place.gateway, self._addresses.of)
        self._here = here.Place(place.gateway, own_address(), place.settings.zone)
        self._compiled = Compiled(place.gateway)
        self._table = Table()
        self._rules: tuple[AlarmRule, ...] = ()
        self._callers: dict[str, str] = {}
        self._tunnels: dict[str, str] = {}
        self._number = 0
        self._whole_sent = False
        self._cloud = False
        self._state = State()
        self._reports = Reports(engine, place.gateway)
        self._dirty: set[Subject] = set()
        self._own: dict[str, Value] = {}
        self._alarm = ""
        self._behind_s: float | None = None
        """Since when the process has not carried out the newest table."""
        self._child = MeshChild(place.run, self._on_up, self._on_frame, self._on_down)
        self._doubted: set[ServiceKey] = set()
        """Services with an endpoint that some gateway voted against."""
        self._peers: Peers | None = None
        if place.settings.peers and not lacks_keys(place.settings, place.keys):
            self._peers = Peers(
                place.gateway,
                os.urandom(8).hex(),
                [one for one in place.settings.peers if one.name != place.gateway],
                peer_link(place.gateway, place.keys, place.rng),
                lambda topic, payload, retain: home.publish(topic, payload, retain),
                self._peers_changed,
                self._vote,
                clock,
            )
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stop_watching = engine.watch(self._on_twin)

    async def open(self, supervisor: Supervisor) -> None:
        """Start the process. What keeps it from that is an alarm, and keeps the gateway from nothing."""
        try:
            self._build()
        except Exception:  # a supervisor boundary: the gateway starts whatever a document does to the mesh
            log.exception("the mesh's table cannot be made")
        try:
            await self._child.open(supervisor)
        except (ChildError, OSError) as error:
            self._alarm = f"the mesh does not run: {error}"
            log.error("%s", self._alarm)
        if self._peers is not None:
            await self._peers.open()
        self._task = asyncio.create_task(self._keep(), name="mesh")

    async def close(self) -> None:
        """End the process."""
        self._stop_watching()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        if self._peers is not None:
            await self._peers.close()
        await self._child.close()

    # -- what happens around it ------------------------------------------------------------------------------------

    def documents_changed(self) -> None:
        """Documents are others now."""
        self._changed.set()

    def endpoints_changed(self) -> None:
        """A pod or a mapper is other than before."""
        self._changed.set()

    def cloud_reached(self, reached: bool) -> None:
        """Whether the cloud is reached from now on."""
        if reached is not self._cloud:
            self._cloud = reached
            self._child.send(self._reached())
            self._changed.set()

    def broker_up(self) -> None:
        """The local broker is there, and has forgotten what it was told before."""
        if self._peers is not None:
            self._peers.tell_again()

    def _peers_changed(self) -> None:
        self._child.send(self._reached())
        self._changed.set()

    def _reached(self) -> Reached:
        return Reached(cloud=self._cloud, peers=self._peers.heard() if self._peers is not None else ())

    def _judged(self, service: Service) -> Service:
        return self._peers.judged(service) if self._peers is not None else service

    def _vote(self) -> None:
        if self._peers is not None:
            ballots = self._peers.ballots(self._table.services.values())
            for ballot in ballots:
                self._child.send(ballot)
            doubted = {one.port.service for ballot in ballots for one in ballot.votes if not one.healthy}
            self._dirty |= doubted | self._doubted
            self._doubted = doubted

    def _on_twin(self, key: TwinKey, _: frozenset[tuple[Section, str]]) -> None:
        if key.kind is Kind.POD:
            self._changed.set()

    # -- what is asked of it ---------------------------------------------------------------------------------------

    def specs(self) -> list[TwinSpec]:
        """The specs of the twins of all services and routes."""
        return list(specs(self._sources.view(), self._place.gateway))

    def report_all(self) -> None:
        """Tell every twin how its service is, after twins were made."""
        self._dirty.update(self._reports.keep([subject for subject, _ in subjects(self._sources.view())]))
        self._changed.set()

    def alarms(self) -> list[str]:
        """What the user has to see to."""
        found = [self._alarm] if self._alarm else []
        if self._behind_s is not None and self._clock.monotonic_s() - self._behind_s >= PATIENCE_S:
            found.append("the mesh's process does not carry out what is wanted; the hub's log says why")
        if self._state.refused:
            found.append(f"the mesh goes on with an older table: {self._state.refused}")
        found += [NO_KEYS] if lacks_keys(self._place.settings, self._place.keys) else []
        found += self._peers.alarms() if self._peers is not None else []
        found += [f"the mesh: {problem}" for problem in (self._state.ready.problems if self._state.ready else ())]
        found += [f"{ref}: {one.text}" for ref, ones in self._tables.problems.items() for one in ones]
        return [*found, *(f"alarm {key} of {about}: {one.text}" for (key, about), one in self._state.firing.items())]

    def own(self) -> dict[str, Value]:
        """What the gateway's own twin says of it."""
        return dict(self._own)

    def answer(self, request: MeshRequest) -> MeshReply:
        """The verb mesh."""
        settings, dns, ready = self._place.settings, self._place.settings.dns_address, self._state.ready
        basic = MeshReply(
            state="running" if ready is not None else "starting",
            pid=self._child.pid,
            restarts=self._child.restarts,
            network=settings.network,
            dns=joined(*dns) if dns is not None else "",
            domain=settings.dns.domain,
            metrics=settings.metrics.listen,
            tunnel=settings.tunnel.listen,
            problems=list(ready.problems) if ready is not None else [],
        )
        return reply_of(request, self._state, basic)

    def variables(self, namespace: str) -> dict[str, str]:
        """Kubernetes' variables for the Services of a namespace."""
        found: dict[str, str] = {}
        for key, service in self._table.services.items():
            if key.namespace == namespace and service.address and service.ports:
                name = key.name.upper().replace("-", "_").replace(".", "_")
                found[f"{name}_SERVICE_HOST"] = service.address
                found[f"{name}_SERVICE_PORT"] = str(service.ports[0].port)
                named = ((one.name.upper().replace("-", "_"), one.port) for one in service.ports if one.name)
                found |= {f"{name}_SERVICE_PORT_{port}": str(number) for port, number in named}
        return found

    # -- tables ----------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._changed.wait()
            try:
                if self._changed.is_set() or own_address() != self._here.address:
                    self._changed.clear()
                    self._build()
                self._tell()
            except Exception:  # a supervisor boundary: the mesh goes on with what it has
                log.exception("the mesh's table cannot be brought up to date")

    def _build(self) -> None:
        """Bring the table up to date with all that is known, and send what is other."""
        view = self._sources.view()
        self._tables.documents(view, self._sources.by_cloud())
        self._here = here.Place(self._place.gateway, own_address(), self._place.settings.zone)
        offered = list(here.offers(view, self._here, self._reported, self._home.runs_mapper))
        own = here.endpoints(view, offered, self._here)
        others = self._peers.said() if self._peers is not None else ()
        table = self._tables.table(own, others, cloud=self._cloud)
        self._follow(table)
        if self._peers is not None:
            self._peers.offer(own, self._here.zone)
            self._peers.keep(table.services.values())
            self._vote()
        rules = alarms.rules_of(view)
        if rules != self._rules:
            self._rules = rules
            self._child.send(Alarms(rules=rules))
        callers = {one.address: f"{one.namespace}/{one.name}" for one in offered if one.address != self._here.address}
        if callers != self._callers:
            self._callers = callers
            self._child.send(Callers(names=callers))
        tunnels = {gateway: place for gateway, place in self._tables.tunnels.items() if place}
        if tunnels != self._tunnels:
            self._tunnels = tunnels
            self._child.send(Tunnels(places=tunnels))
        if self._addresses.forget(table.services):
            self._engine.note(NOTES, _ADDRESSES, self._addresses.note())
        self._notice()

    def _follow(self, table: Table) -> None:
        difference = table_difference(self._table, table)
        if difference == NO_CHANGE:
            return
        self._compiled, _ = change(self._compiled, difference)
        self._table = table
        self._number += 1
        self._dirty.update(one.key for one in difference.services)
        self._dirty.update(one.key for one in difference.routes)
        if self._whole_sent:
            self._whole_sent = self._child.send(Changed(number=self._number, change=difference))
        elif self._state.ready is not None:
            self._send_whole()

    def _send_whole(self) -> None:
        self._whole_sent = self._child.send(Whole(number=self._number, table=table_difference(Table(), self._table)))

    def _notice(self) -> None:
        """Tell the gateway's own twin what the cloud has to know, where it is other."""
        tunnel = self._place.settings.tunnel
        now_ms = self._clock.now_us() // 1000
        own: dict[str, Value] = {
            "interest": list(self._interest.of(self._table, self._tables.by_cloud(), now_ms)),
            "address": self._here.address,
            "tunnel": tunnel.advertise or tunnel.listen,
            "zone": self._here.zone,
        }
        if own != self._own:
            self._own = own
            self._home.on_own()

    def _reported(self, key: TwinKey, uid: str) -> Mapping[str, Slot]:
        if key not in self._engine or self._engine.spec(key).uid != uid:
            return _NOTHING
        return self._engine.document(key).reported

    # -- the process -----------------------------------------------------------------------------------------------

    def _on_up(self) -> None:
        self._state.began_anew()
        self._child.send(Begin(settings=settings_of(self._place)))

    def _on_down(self) -> None:
        self._whole_sent = False
        self._state.began_anew()
        self._dirty.update(self._table.services)
        self._dirty.update(self._table.routes)

    def _on_frame(self, frame: FromMesh) -> None:
        now_s = self._clock.monotonic_s()
        self._dirty |= self._state.took(frame, now_s)
        match frame:
            case Ready():
                self._begin(frame)
            case Programmed() if frame.number == self._number:
                self._dirty.update(self._table.services)
                self._dirty.update(self._table.routes)
                self._changed.set()
            case Refused():
                self._whole_sent = False  # it goes on with the table before, to which no change fits
                log.error("the mesh refuses its table, and goes on with the one before: %s", frame.why)
                self._changed.set()
            case Asked():
                if self._interest.took(frame.services, self._clock.now_us() // 1000):
                    self._engine.note(NOTES, _ASKED, self._interest.note())
                    self._changed.set()
            case Alerted():
                for body in self._state.alerted(frame.alerts, now_s, self._clock.now_us() // 1000):
                    self._publish(body)
                self._dirty.update(one.about for one in frame.alerts if one.about in self._table.services)
                self._changed.set()
            case Health() if self._peers is not None:
                self._peers.found(frame.votes)
            case _:
                pass

    def _begin(self, ready: Ready) -> None:
        """A process is there: tell it everything."""
        for problem in ready.problems:
            log.warning("the mesh: %s", problem)
        anew = Compiled(self._place.gateway, self._state.default_plane, self._state.no_kernel)
        if (anew.default_plane, anew.no_kernel) != (self._compiled.default_plane, self._compiled.no_kernel):
            self._compiled = compile_table(self._table, anew)
        self._number += 1
        self._child.send(self._reached())
        self._child.send(Callers(names=self._callers))
        self._child.send(Tunnels(places=self._tunnels))
        self._child.send(Alarms(rules=self._rules))
        self._send_whole()
        self._vote()

    def _tell(self) -> None:
        """Report what is worth it; while the process has not caught up, what it will say is awaited."""
        if self._is_catching_up():
            return
        rates = self._state.traffic.rates()
        names: dict[str, Subject] = {str(key): key for key in self._table.services}
        names |= {str(key): key for key in self._table.routes}
        now_s = self._clock.monotonic_s()
        due = self._reports.rates_due([names[name] for name in rates if name in names], now_s)
        told, self._dirty = {*self._dirty, *due}, set()
        self._reports.report(
            told,
            due,
            lambda subject: twin_of(subject, self._compiled, self._state, rates, self._here, self._judged),
            now_s,
            self._clock.now_us() // 1000,
        )

    def _is_catching_up(self) -> bool:
        behind = self._number not in (self._state.programmed, self._state.refused_number)
        if not behind:
            self._behind_s = None
            return False
        now_s = self._clock.monotonic_s()
        self._behind_s = now_s if self._behind_s is None else self._behind_s
        return now_s - self._behind_s < PATIENCE_S

    def _publish(self, body: Alert) -> None:
        level = logging.WARNING if body.firing else logging.INFO
        log.log(level, "alarm %s of %s %s: %s", body.rule, body.about, "holds" if body.firing else "is over", body.text)
        namespace, _, service = body.about.partition("/")
        about = ServiceKey(namespace, service)
        watched = any(rule.key == body.rule and about in rule.services for rule in self._rules)
        payload = encode(body) if body.firing or watched else b""  # nothing stays of a rule that is gone
        self._home.publish(topics.alert(namespace, service, body.rule.partition("/")[2]), payload, True)


def settings_of(place: Place) -> Settings:
    """What the process is told of the gateway's settings."""
    said, dns = place.settings, place.settings.dns_address
    keys = place.keys
    return Settings(
        node=place.gateway,
        zone=said.zone,
        domain=said.dns.domain,
        dns_listen=(joined(*dns),) if dns is not None else (),
        dns_upstreams=tuple(joined(*one) for one in said.dns.servers),
        network=said.network,
        plane=_PLANES.get(said.plane),
        workers=said.workers,
        metrics_listen=said.metrics.listen,
        access_log=said.access_log.sample,
        tunnel=TunnelFiles(
            listen=said.tunnel.listen,
            certificate=str(keys.pair),
            key=str(keys.pair),
            authority=str(keys.ca),
            relay=said.relay,
        ),
    )


def joined(host: str, port: int) -> str:
    """``host:port``, as settings have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


NO_CHANGE: Final = table_difference(Table(), Table())
