"""A mesh that lives: takes what its owner says, keeps planes, DNS and probes in step, and says what became of it.

frames ──> State ──step──┬─> DNS            services as they are judged
                         ├─> Carrying       upstreams at once, planes as soon as they can
                         └─> Prober ──found──> State
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from random import Random, SystemRandom
from typing import Final

from mesh.alerts import Alerts
from mesh.carrying import Carrying
from mesh.compile import Compiled
from mesh.difference import applied
from mesh.dns import DnsServer, DnsSettings, DnsUnavailable
from mesh.errors import PlaneError
from mesh.frames import (
    Alarms,
    Alerted,
    Asked,
    Callers,
    Carry,
    Changed,
    Counted,
    FromMesh,
    FromOwner,
    Health,
    PlaneState,
    Programmed,
    Reached,
    Ready,
    Said,
    Tunnels,
    Vote,
    Votes,
    Whole,
)
from mesh.health import Prober
from mesh.metrics_server import MetricsServer
from mesh.model.routes import RouteKey
from mesh.model.services import Plane, ServiceKey
from mesh.model.table import Table
from mesh.news import News, says_something
from mesh.probes import Finding
from mesh.problems import Problem, Problems, Reason
from mesh.settings import Settings
from mesh.snapshot import Collected
from mesh.state import State, Step
from mesh.wire import check

log = logging.getLogger(__name__)

TICK_S: Final = 1.0
FIRST: Final = "0"
"""The name of this process among the workers."""
_MOST_ASKED: Final = 1024
_RETRY_KERNEL_S: Final = 60.0


class Live:
    """The mesh of one process. ``tell`` is given all that its owner is to know.

    ``listens``: whether the owner takes what it is told; while it does not, counters are not told.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Callable[[], float],
        rng: Random,
        tell: Callable[[FromMesh], None],
        listens: Callable[[], bool] = lambda: True,
    ) -> None:
        plane = Plane.USERSPACE if settings.plane is Plane.USERSPACE else Plane.NFTABLES
        self.settings = settings
        self._clock = clock
        self._rng = rng
        self._tell = tell
        self._listens = listens
        self._state = State(Compiled(settings.node, plane), self._now_ms())
        self.collected = Collected()
        self.carrying = Carrying(settings, clock, rng, self._is_offline, self._carried)
        self._prober = Prober(self._found, clock, rng)
        self._dns: DnsServer | None = None
        self._metrics: MetricsServer | None = None
        self._alerts = Alerts()
        self._watches = False
        self._miscounted = ""
        self._asked: dict[ServiceKey, None] = {}
        self._number = self._told_number = -1
        self._tidied = False
        """Whether it is certain that the kernel carries nothing that nobody asks for."""
        self._problems: Problems | None = None
        self._kernel_at_s = 0.0
        self._news = News() if settings.workers > 1 else None
        self.said: dict[str, Said] = {}
        """What workers are told beside the programme, by its kind."""
        self.on_frame: Callable[[Carry | Said], None] = lambda _: None
        """Given what workers are to do."""

    async def open(self) -> Ready:
        """Be ready for a table; what of the settings cannot be had is said, and the rest works."""
        problems: list[str] = []
        await self.carrying.open()
        problems += self._open_network()
        problems += [why for why in [await self.carrying.leading.open()] if why]
        problems += await self._open_dns()
        problems += await self._open_metrics()
        why_not = await self._open_kernel()
        return Ready(
            pid=os.getpid(),
            planes=(PlaneState(plane=Plane.USERSPACE), PlaneState(plane=Plane.NFTABLES, why_not=why_not)),
            dns=tuple(str(place) for place in self._dns.places) if self._dns else (),
            problems=tuple(problems),
        )

    def took(self, frame: FromOwner) -> None:
        """Do as the owner says. Raises InvalidTable; then nothing has changed."""
        now_ms = self._now_ms()
        match frame:
            case Whole(number=number, table=whole):
                check(whole)
                self._number = number
                self._follow(self._state.whole(applied(Table(), whole), now_ms), always=True)
            case Changed(number=number, change=change):
                check(change)
                self._number = number
                self._follow(self._state.change(change, now_ms), always=True)
            case Votes(node=node, votes=votes, age_ms=age_ms):
                found = {(one.port, one.place): one.healthy for one in votes}
                self._follow(self._state.voted(node, found, now_ms - age_ms, now_ms))
            case Reached(cloud=cloud, peers=peers):
                self._pass_on(frame)
                self._follow(self._state.reached(set(peers), now_ms, cloud=cloud))
            case Callers(names=names):
                self._pass_on(frame)
                self.carrying.monitor.callers(names)
            case Tunnels(places=places):
                self._pass_on(frame)
                self.carrying.leading.peers(places)
            case Alarms(rules=rules):
                self._alerts.follow(rules)
                self._watches = bool(rules)

    async def run(self) -> None:
        """Live, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.carrying.run())
            tasks.create_task(self._prober.run())
            tasks.create_task(self._tick())

    async def close(self) -> None:
        """Let no more clients in, end what is open after a moment, and say nothing more."""
        if self._dns is not None:
            await self._dns.close()
        if self._metrics is not None:
            await self._metrics.close()
        await self.carrying.close()

    # -- one step ------------------------------------------------------------------------------------------------------

    def _follow(self, step: Step, *, always: bool = False) -> None:
        """Carry out what was learnt; ``always``: the owner waits to hear that it was."""
        if self._dns is not None:
            self._dns.apply(step.services, step.gone)
        delta = step.delta
        if always or delta.frontends or delta.gone_frontends or delta.backends or delta.gone_backends:
            self.carrying.take(delta)
            self.collected.forget(delta.gone_frontends)
            self._prober.follow(delta.backends, delta.gone_backends)
            self.on_frame(Carry(delta=delta))

    def _pass_on(self, frame: Said) -> None:
        self.said[frame.kind] = frame
        self.on_frame(frame)

    def _carried(self) -> None:
        """The planes have the programme; what is wrong is said if it is other than before."""
        problems = dict(self._state.compiled.problems)
        for key, why in self.carrying.failed.items():
            problem = Problem(Reason.PLANE_FAILED, f"{key}: {why}")
            frontend = self._state.compiled.programme.frontends.get(key)
            routes = {rule.route for rule in frontend.rules if rule.route} if frontend else set()
            about: Iterable[RouteKey | ServiceKey] = (key.service, *sorted(routes))
            for subject in about:
                problems[subject] = (*problems.get(subject, ()), problem)
        told, self._problems = self._problems, problems
        if problems != told or self._number != self._told_number:
            self._told_number = self._number
            self._tell(Programmed(number=self._number, problems=None if problems == told else problems))

    def _found(self, findings: Iterable[Finding]) -> None:
        found = tuple(findings)
        now_s = self._clock()
        for one in found:
            upstream = self.carrying.upstreams.get(one.port)
            if upstream is not None:
                upstream.probed(one.place, now_s, alive=one.alive)
        self._follow(self._state.found({(one.port, one.place): one.alive for one in found}, self._now_ms()))
        self._tell(Health(votes=tuple(Vote(port=one.port, place=one.place, healthy=one.alive) for one in found)))

    # -- now and then --------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._follow(self._state.passed(self._now_ms()))
            if self._listens():
                self._try_to_count()
            if self._asked:
                self._tell(Asked(services=tuple(self._asked)))
                self._asked.clear()
            if self._state.compiled.no_kernel and self._clock() >= self._kernel_at_s and self._wants_kernel():
                await self._open_kernel()
            if not self._tidied and self._number >= 0 and not os.geteuid():
                self._tidied = True
                if not self._wants_kernel():
                    await self._remove_leftover()

    def _try_to_count(self) -> None:
        try:
            self._count()
        except Exception as error:  # what is shown must not end what is carried
            level = logging.ERROR if repr(error) != self._miscounted else logging.DEBUG
            log.log(level, "Counters are not told this time", exc_info=True)
            self._miscounted = repr(error)

    def _count(self) -> None:
        now_s = self._clock()
        self.carrying.count()
        snapshot = self.carrying.monitor.snapshot(now_s)
        self.collected.took(FIRST, snapshot)
        if self._news is not None:
            snapshot = self._news.since(self.collected.all())
        if says_something(snapshot):
            self._tell(Counted(snapshot=snapshot))
        watched = self._watches or self._alerts.firing()
        alerts = self._alerts.look(self.collected.all(), now_s) if watched else []
        if alerts := [*alerts, *self.carrying.mended.look(now_s)]:
            self._tell(Alerted(alerts=tuple(alerts)))

    # -- what is opened ------------------------------------------------------------------------------------------------

    def _open_network(self) -> list[str]:
        """Make the network of the virtual addresses local, unless it is so anyway."""
        network = ip_network(self.settings.network)
        if network.is_loopback:
            return []
        from mesh.anyip import add_route, present

        try:
            if not present(network):
                add_route(network)
        except PlaneError as error:
            log.warning("%s", error)
            return [str(error)]
        return []

    async def _open_dns(self) -> list[str]:
        if not self.settings.dns_listen:
            return []
        about = self.settings
        dns = DnsSettings(
            listen=about.dns_listen,
            domain=about.domain,
            node=about.node,
            zone=about.zone,
            networks=(about.network,),
            upstreams=about.dns_upstreams,
        )
        try:
            self._dns = DnsServer(dns, clock=self._clock, rng=SystemRandom(), asked=self._was_asked)
            await self._dns.open()
        except DnsUnavailable as error:
            self._dns = None
            log.warning("%s", error)
            return [str(error)]
        return []

    async def _open_metrics(self) -> list[str]:
        if not self.settings.metrics_listen:
            return []
        host, _, port = self.settings.metrics_listen.rpartition(":")
        self._metrics = MetricsServer(self.collected.all)
        try:
            await self._metrics.open(host.strip("[]"), int(port))
        except (OSError, ValueError) as error:
            self._metrics = None
            problem = f"metrics cannot listen on {self.settings.metrics_listen}: {error}"
            log.warning("%s", problem)
            return [problem]
        return []

    async def _open_kernel(self) -> str:
        """Have nftables ready if it is wanted and this process may; returns why not, and says so to the state."""
        if os.geteuid():
            why_not = "nftables needs root"
        elif self._wants_kernel():
            why_not = await self.carrying.open_kernel()
        else:
            why_not = "nftables is opened when it is asked for"
        self._kernel_at_s = self._clock() + (_RETRY_KERNEL_S if self._wants_kernel() else 0)
        self._follow(self._state.no_kernel(why_not))
        return why_not

    async def _remove_leftover(self) -> None:
        """What the kernel was told by an earlier process would come before what this one listens at."""
        from mesh.planes.nft.plane import remove_leftover

        try:
            if await remove_leftover():
                log.info("The nftables table of an earlier run is gone: nobody asks for it any more")
        except PlaneError as error:
            log.debug("%s", error)

    def _wants_kernel(self) -> bool:
        """Whether anybody asked for nftables; a table in the kernel that nobody wants is not made."""
        services, routes = self._state.listed.services.values(), self._state.listed.routes.values()
        return (
            self.settings.plane is not Plane.USERSPACE
            or any(one.plane is Plane.NFTABLES for one in services)
            or any(one.plane is Plane.NFTABLES for one in routes)
        )

    # -- small ---------------------------------------------------------------------------------------------------------

    def _is_offline(self) -> bool:
        return self._state.known.cloud_lost_ms is not None

    def _was_asked(self, service: ServiceKey) -> None:
        if len(self._asked) < _MOST_ASKED:
            self._asked[service] = None

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)
