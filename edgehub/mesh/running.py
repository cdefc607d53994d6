"""The mesh while it is loaded: sources in, a table to its process; what that says out to twins, alarms and the API."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from edgehub.mesh.begin import settings_of
from edgehub.mesh.carrier import Carrier
from edgehub.mesh.interest import Interest
from edgehub.mesh.notes import NOTES, notes_of
from edgehub.mesh.peers import Peers, peer_link
from edgehub.mesh.reports import Reports
from edgehub.mesh.tables import Tables
from edgehub.mesh.telling import reply_of, twin_of, variables
from edgehub.mesh.twins import specs, subjects
from edgehub.peer_access import NO_KEYS, lacks_keys
from mesh.frames import Alarms, Alerted, Asked, Callers, FromMesh, Health, Programmed, Reached, Ready, Refused, Tunnels
from mesh.model.services import Service, ServiceKey
from mesh.problems import Subject
from twin.clock import Clock
from twin.engine import TwinEngine
from twin.model import Kind, Section, TwinKey, TwinSpec, Value
from twin.supervisor import Supervisor
from twin.wire.mesh import Alert, MeshReply, MeshRequest

if TYPE_CHECKING:
    from edgehub.mesh.home import Mesh, Place, Sources

log = logging.getLogger(__name__)

TICK_S: Final = 1.0
JUDGED_S: Final = 15.0
"""How long the process sees what goes through before what it does not say counts: longer than its window."""
_ASKED: Final = "asked"


class Running:
    """One gateway's. Tables are made, sent and told of in its one task, which callers wake."""

    def __init__(self, place: Place, sources: Sources, engine: TwinEngine, clock: Clock, home: Mesh) -> None:
        self._place = place
        self._sources = sources
        self._engine = engine
        self._clock = clock
        self._home = home
        self._interest = Interest.read(notes_of(engine).get(_ASKED, ""))
        self._tables = Tables(place, sources, engine, lambda mapper: home.runs_mapper(mapper))
        self._carrier = Carrier(settings_of(place), place.run, clock, self._on_frame, self._touched)
        self._cloud = False
        self._reports = Reports(engine, place.gateway)
        self._dirty: set[Subject] = set()
        self._own: dict[str, Value] = {}
        self._doubted: set[ServiceKey] = set()
        """Services with an endpoint that some gateway voted against."""
        self._peers = self._known_peers()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stop_watching = engine.watch(self._on_twin)

    async def open(self, supervisor: Supervisor) -> None:
        """Start the process. What keeps it from that is an alarm, and keeps the gateway from nothing."""
        self._tell_who_is_reached()
        try:
            self._build()
        except Exception:  # a supervisor boundary: the gateway starts whatever a document does to the mesh
            log.exception("the mesh's table cannot be made")
        await self._carrier.open(supervisor)
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
        await self._carrier.close()

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
            self._tell_who_is_reached()
            self._changed.set()

    def broker_up(self) -> None:
        """The local broker is there, and has forgotten what it was told before."""
        if self._peers is not None:
            self._peers.tell_again()

    def _known_peers(self) -> Peers | None:
        """Those of the settings; None if there are none, or there is no certificate for them yet."""
        place = self._place
        if not place.settings.peers or lacks_keys(place.settings, place.keys):
            return None
        return Peers(
            place.gateway,
            os.urandom(8).hex(),
            [one for one in place.settings.peers if one.name != place.gateway],
            peer_link(place.gateway, place.keys, place.rng),
            lambda topic, payload, retain: self._home.publish(topic, payload, retain),
            self._peers_changed,
            self._vote,
            self._clock,
        )

    async def _meet(self) -> None:
        """Begin with the peers once the gateway has joined a cloud."""
        peers = self._known_peers() if self._place.settings.peers else None
        if peers is not None:
            try:
                await peers.open()
            except BaseException:
                await peers.close()
                raise
            self._peers = peers
            peers.tell_again()
            self._peers_changed()

    def _peers_changed(self) -> None:
        self._tell_who_is_reached()
        self._changed.set()

    def _tell_who_is_reached(self) -> None:
        self._carrier.tell(Reached(cloud=self._cloud, peers=self._peers.heard() if self._peers is not None else ()))

    def _touched(self, subjects: Iterable[Subject]) -> None:
        self._dirty.update(subjects)

    def _judged(self, service: Service) -> Service:
        return self._peers.judged(service) if self._peers is not None else service

    def _vote(self) -> None:
        if self._peers is not None:
            ballots = self._peers.ballots(self._carrier.table.services.values())
            self._carrier.vote(ballots)
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
        found = self._carrier.alarms()
        found += [NO_KEYS] if lacks_keys(self._place.settings, self._place.keys) else []
        found += self._peers.alarms() if self._peers is not None else []
        found += [f"{ref}: {one.text}" for ref, ones in self._tables.problems.items() for one in ones]
        return found

    def judged(self, rule: str, service: str) -> Alert | None:
        """What is said of an alarm rule that holds for a service."""
        namespace, _, name = service.partition("/")
        return self._carrier.state.firing.get((rule, ServiceKey(namespace, name)))

    def is_judging(self, for_s: float) -> bool:
        """Whether a rule that holds for so long would be known by now."""
        began_s = self._carrier.state.ready_s
        return began_s is not None and self._clock.monotonic_s() - began_s >= for_s + JUDGED_S

    def own(self) -> dict[str, Value]:
        """What the gateway's own twin says of it."""
        return dict(self._own)

    def answer(self, request: MeshRequest) -> MeshReply:
        """The verb mesh."""
        return reply_of(request, self._carrier, self._place.settings)

    def variables(self, namespace: str) -> dict[str, str]:
        """Kubernetes' variables for the Services of a namespace."""
        return variables(self._carrier.table.services.values(), namespace)

    # -- tables ----------------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._changed.wait()
            try:
                if self._peers is None:
                    await self._meet()
                if self._changed.is_set() or self._tables.has_moved():
                    self._changed.clear()
                    self._build()
                self._tell()
            except Exception:  # a supervisor boundary: the mesh goes on with what it has
                log.exception("the mesh's table cannot be brought up to date")

    def _build(self) -> None:
        """Bring the table up to date with all that is known, and send what is other."""
        others, told = (self._peers.said(), self._peers.shapes()) if self._peers is not None else ((), {})
        built = self._tables.built(others, told, cloud=self._cloud)
        self._carrier.follow(built.table)
        if self._peers is not None:
            self._peers.offer(built.own, self._tables.here.zone, built.shapes)
            self._peers.keep(built.table.services.values())
            self._vote()
        self._carrier.tell(Alarms(rules=built.rules))
        self._carrier.tell(Callers(names=dict(built.callers)))
        self._carrier.tell(Tunnels(places=self._tables.tunnels))
        self._notice(built.learnt)

    def _notice(self, learnt: Set[ServiceKey]) -> None:
        """Tell the gateway's own twin what the cloud has to know, where it is other."""
        tunnel = self._place.settings.tunnel
        now_ms = self._clock.now_us() // 1000
        own: dict[str, Value] = {
            "interest": list(self._interest.of(self._carrier.table, self._tables.by_cloud() | learnt, now_ms)),
            "address": self._tables.here.address,
            "tunnel": tunnel.advertise or tunnel.listen,
            "zone": self._tables.here.zone,
        }
        if own != self._own:
            self._own = own
            self._home.on_own()

    # -- the process -----------------------------------------------------------------------------------------------

    def _on_frame(self, frame: FromMesh) -> None:
        now_s, now_ms = self._clock.monotonic_s(), self._clock.now_us() // 1000
        match frame:
            case Ready():
                self._vote()
            case Programmed() if self._carrier.is_current():
                self._changed.set()
            case Refused():
                self._changed.set()
            case Asked():
                if self._interest.took(frame.services, now_ms):
                    self._engine.note(NOTES, _ASKED, self._interest.note())
                    self._changed.set()
            case Alerted():
                self._carrier.state.alerted(frame.alerts, now_s, now_ms)
                self._touched(one.about for one in frame.alerts if one.about in self._carrier.table.services)
                self._changed.set()
            case Health() if self._peers is not None:
                self._peers.found(frame.votes)
            case _:
                pass

    def _tell(self) -> None:
        """Report what is worth it; while the process has not caught up, what it will say is awaited."""
        if self._carrier.is_catching_up():
            return
        table, compiled, state = self._carrier.table, self._carrier.compiled, self._carrier.state
        rates = state.traffic.rates()
        names: dict[str, Subject] = {str(key): key for key in table.services}
        names |= {str(key): key for key in table.routes}
        now_s = self._clock.monotonic_s()
        due = self._reports.rates_due([names[name] for name in rates if name in names], now_s)
        told, self._dirty = {*self._dirty, *due}, set()
        self._reports.report(
            told,
            due,
            lambda subject: twin_of(subject, compiled, state, rates, self._tables.here, self._judged),
            now_s,
            self._clock.now_us() // 1000,
        )
