"""The connections of one account, kept as the newest settings say; what did not change keeps running untouched."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from random import Random
from typing import Final, cast

from mappers.sdk.binding import Binding, bind_connection, bind_devices
from mappers.sdk.bus import AnyDriver
from mappers.sdk.cancelled import check_cancelled
from mappers.sdk.config import ConnectionSettings, HostSettings
from mappers.sdk.connection_twin import SIMULATED
from mappers.sdk.convert import bad
from mappers.sdk.driver import ConnectionConfig, Mapper
from mappers.sdk.errors import InvalidSettings
from mappers.sdk.health import ConnectionState, Health, HealthTwin, misconfigured
from mappers.sdk.outbox import Outbox, TwinOutbox
from mappers.sdk.registry import Registry
from mappers.sdk.runner import MapperRunner
from mappers.sdk.simulate import halves, is_simulated, simulated, simulator
from twin.clock import Clock
from twin.errors import EdgetwinError
from twin.link import Link, Message
from twin.link.backoff import Backoff
from twin.model import Reason
from twin.wire import codec, topics

log = logging.getLogger(__name__)

_END_S: Final = 1.5  # for the runners to close; the goodbye to the broker gets what is left of two seconds
_HEALTH_S: Final = 1.0
_FIRST_RESTART_S: Final = 1.0
_LONGEST_RESTART_S: Final = 60.0


class Connections:
    """Connections of one account, kept as the newest settings say."""

    def __init__(self, account: str, link: Link, registry: Registry, clock: Clock, rng: Random) -> None:
        self._account = account
        self._link = link
        self._registry = registry
        self._clock = clock
        self._rng = rng
        self._outbox = Outbox(link, account, clock, rng)
        self._simulated_outbox = Outbox(link, topics.simulated_reporter(account), clock, rng)
        self._served: dict[str, _Served | _Broken] = {}
        self._health: dict[str, HealthTwin] = {}
        self._newest: HostSettings | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Follow the settings until cancelled, then close every connection."""
        await self._outbox.open()
        await self._simulated_outbox.open()
        stop = await self._link.subscribe(topics.mapper_config(self._account), self._on_settings)
        telling = asyncio.create_task(self._tell_health(), name="health of connections")
        try:
            while True:
                await self._changed.wait()  # no time-out: without settings there is nothing to serve
                self._changed.clear()
                if self._newest is not None:
                    await self._apply(self._newest)
        finally:
            stop()
            telling.cancel()
            await asyncio.wait({telling})
            await self._end(list(self._served.values()))
            self._outbox.close()
            self._simulated_outbox.close()

    async def _tell_health(self) -> None:
        while True:
            for name, served in self._served.items():
                if is_simulated(served.settings) and name.removesuffix(SIMULATED) in self._served:
                    continue  # the half that is there is what the connection is
                if name not in self._health:
                    self._health[name] = HealthTwin(self._outbox, name)
                self._health[name].tell(served.settings.mapper, served.how())
            await asyncio.sleep(_HEALTH_S)

    def _on_settings(self, message: Message) -> None:
        try:
            what = f"settings on {message.topic}"
            self._newest = codec.decode(HostSettings, message.payload, what=what) if message.payload else HostSettings()
        except EdgetwinError as error:
            log.error("%s; the settings before it stay in force", error)  # the text says it all
            return
        self._changed.set()

    async def _apply(self, settings: HostSettings) -> None:
        wanted = {half.name: half for connection in settings.connections for half in halves(connection)}
        gone = [name for name, served in self._served.items() if not served.fits(wanted.get(name))]
        await self._end([self._served.pop(name) for name in gone])
        for name in gone:
            if name in self._health:
                self._health.pop(name).close()
        for name, connection in wanted.items():
            served = self._served.get(name)
            if served is None:
                self._served[name] = await self._start(connection)
            elif isinstance(served, _Served) and served.settings != connection:
                served.settings = connection
                await served.runner.serve(self._bound(connection, served.mapper).devices)
        self._outbox.repeat()  # settings come when the hub starts, perhaps with an older store
        self._simulated_outbox.repeat()

    async def _start(self, settings: ConnectionSettings) -> _Served | _Broken:
        try:
            mapper = self._registry.find(settings.mapper)
            config = bind_connection(settings, mapper)
            if is_simulated(settings):
                driver: object = simulator(self._clock)
            else:
                driver = _driver(mapper, config)
            runner = self._runner(settings, cast("AnyDriver", driver))
        except InvalidSettings as error:
            log.error("connection %s is not served: %s", settings.name, error)  # the text says it all
            return self._broken(settings, str(error))
        await runner.serve(self._bound(settings, mapper).devices)
        task = asyncio.create_task(self._supervise(runner), name=f"connection {settings.name}")
        return _Served(settings, mapper, runner, task)

    def _runner(self, settings: ConnectionSettings, driver: AnyDriver) -> MapperRunner:
        outbox = self._simulated_outbox if is_simulated(settings) else self._outbox
        return MapperRunner(settings.name, driver, link=self._link, outbox=outbox, clock=self._clock, rng=self._rng)

    def _bound(self, settings: ConnectionSettings, mapper: Mapper | None) -> Binding:
        binding = bind_devices(settings, mapper)
        for problem in binding.problems:
            log.error("%s", problem)
        if is_simulated(settings):
            return Binding(tuple(map(simulated, binding.devices)), binding.problems)
        return binding

    def _broken(self, settings: ConnectionSettings, why: str) -> _Broken:
        outboxes = []
        for device in self._bound(settings, None).devices:
            outbox = self._outbox.twin(device.key, device.specs)
            outbox.offer({}, {spec.name: bad(Reason.CONFIG_ERROR) for spec in device.specs})
            outboxes.append(outbox)
        return _Broken(settings, tuple(outboxes), misconfigured(len(outboxes), why, self._clock.now_us() // 1000))

    async def _supervise(self, runner: MapperRunner) -> None:
        backoff = Backoff(_FIRST_RESTART_S, _LONGEST_RESTART_S, self._rng)
        while True:
            try:
                await runner.run()
            # A supervisor: one connection's fault must not end the others, nor itself.
            except (Exception, asyncio.CancelledError):
                check_cancelled()  # else a library has raised it by itself
                log.exception("connection %s failed and is started again", runner.name)
                await asyncio.sleep(backoff.next_s())

    async def _end(self, ended: list[_Served | _Broken]) -> None:
        tasks = [served.task for served in ended if isinstance(served, _Served)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END_S)
        for served in ended:
            served.close()


@dataclass(slots=True)
class _Served:
    settings: ConnectionSettings
    mapper: Mapper
    runner: MapperRunner
    task: asyncio.Task[None]

    def fits(self, settings: ConnectionSettings | None) -> bool:
        """Whether the connection can stay open under these settings."""
        ours = self.settings
        return settings is not None and (settings.mapper, settings.config) == (ours.mapper, ours.config)

    def how(self) -> Health:
        """How it is; a simulated one has no bus to tell of."""
        if is_simulated(self.settings):
            return Health(ConnectionState.SIMULATED, len(self.settings.devices))
        return self.runner.health()

    def close(self) -> None:
        self.runner.close()


@dataclass(slots=True)
class _Broken:
    settings: ConnectionSettings
    outboxes: tuple[TwinOutbox, ...]
    health: Health

    def how(self) -> Health:
        """Why it is not served."""
        return self.health

    def fits(self, settings: ConnectionSettings | None) -> bool:
        return settings == self.settings

    def close(self) -> None:
        for outbox in self.outboxes:
            outbox.close()


def _driver(mapper: Mapper, config: ConnectionConfig) -> AnyDriver:
    try:
        return mapper.driver(config)
    except Exception as error:  # the boundary to plugins: a driver's import or constructor may raise anything
        log.debug("driver of mapper %s failed", mapper.name, exc_info=True)
        message = f"mapper {mapper.name} has no driver for it: {type(error).__name__}: {error}"
        raise InvalidSettings(message, remedy="Install what the mapper needs, or mend its settings.") from error
