"""Serves the devices of one connection: reads what is due, reports it, writes what is desired.

    connecting ──connected──> serving: 1. writes that are due, then what was written and is to be read back
        ^                              2. reads that somebody asked for
        └───── NotConnected ──────┘    3. probes of silent devices, one twentieth of the time at most
                                       4. the poll class that is due longest, or its subscription

One task makes all calls of a driver, one at a time, and picks the next by that order, so nothing needs a lock. A driver
that makes several requests for one read gives way between them: 1 and 2 wait for the one request in flight, not for the
poll.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from math import inf
from random import Random
from typing import Final

from mappers.sdk.asking import Asking
from mappers.sdk.binding import BoundDevice, BoundPoint
from mappers.sdk.bus import AnyDriver, Budget, Bus, BusCounters
from mappers.sdk.convert import Sample
from mappers.sdk.device import PROBE_SHARE, PollClass, ServedDevice, poll_classes
from mappers.sdk.errors import DeviceTimeout, MapperError, NotConnected
from mappers.sdk.health import ConnectionState, Health
from mappers.sdk.outbox import Outbox
from mappers.sdk.schedule import Schedule
from mappers.sdk.subscription import Subscriptions
from mappers.sdk.writer import Writer
from twin.clock import Clock
from twin.errors import EdgetwinError
from twin.link import Link, Message
from twin.link.backoff import Backoff
from twin.model import TwinKey
from twin.wire import codec, topics
from twin.wire.messages import Delta

log = logging.getLogger(__name__)

_FIRST_RECONNECT_S: Final = 0.5
_LONGEST_RECONNECT_S: Final = 30.0
_LONGEST_WAIT_S: Final = 3600.0  # a wait ends at the next event anyway; this bounds it

_Slot = tuple[ServedDevice, PollClass]


class MapperRunner:
    """One connection. ``run`` is its one task; ``serve`` gives it the devices, also while it runs."""

    def __init__(
        self,
        name: str,
        driver: AnyDriver,
        *,
        link: Link,
        outbox: Outbox,
        clock: Clock,
        rng: Random,
        budget: Budget | None = None,
    ) -> None:
        self.name = name
        self._bus = Bus(f"connection {name}", driver, clock, budget or Budget())
        self._link = link
        self._outbox = outbox
        self._clock = clock
        self._rng = rng
        self._devices: dict[TwinKey, ServedDevice] = {}
        self._schedule: Schedule[_Slot] = Schedule()
        self._backoff = Backoff(_FIRST_RECONNECT_S, _LONGEST_RECONNECT_S, rng)
        self._wake = asyncio.Event()
        self._state = ConnectionState.CONNECTING
        self._outage: NotConnected | None = None
        self._writer = Writer(self._bus, clock)
        self._asking = Asking(name, self._poll)
        self._interrupting = False
        self._calm_until = -inf
        """Before then nothing is due that a poll would have to give way to."""
        self._probes_from = -inf
        self._subscriptions = Subscriptions(self._bus, clock, self._schedule, wake=self._woken, plan=self._part)

    async def serve(self, devices: Iterable[BoundDevice]) -> None:
        """Serve these devices and no others; those whose settings are the same are not touched."""
        wanted = {device.key: device for device in devices}
        for key, device in list(self._devices.items()):
            if key not in wanted or wanted[key].settings != device.bound.settings:
                self._remove(device)
        for key, bound in wanted.items():
            if key not in self._devices:
                await self._add(bound)
        self._woken()

    async def ask(self, key: TwinKey, name: str) -> Sample:
        """Read what one property is read with now, before any poll; what was read is reported, too.

        Raises MapperError: the device is silent or not here, or too many ask.
        """
        if self._outage is not None:
            raise self._outage
        answer = self._asking.add(self._devices.get(key), name)
        self._woken()
        return await answer  # no time-out: a read has one, and a loss of the connection fails it

    async def run(self) -> None:
        """Connect, serve, reconnect, until cancelled."""
        self._bus.interrupt_with(self._give_way)
        try:
            while True:
                await self._connect()
                try:
                    while True:
                        await self._step()
                except NotConnected as error:
                    await self._lose(error)
        finally:
            self._asking.fail(NotConnected(f"connection {self.name} is not served any more"))
            await self._bus.close()

    def close(self) -> None:
        """Let go of all devices; after ``run`` has ended."""
        for device in list(self._devices.values()):
            self._remove(device)

    def counters(self) -> BusCounters:
        """What the connection did so far."""
        return self._bus.counters(self._schedule.overruns)

    def health(self) -> Health:
        """How the connection is."""
        silent = sum(device.down is not None for device in self._devices.values())
        return Health(self._state, len(self._devices), silent, self.counters())

    async def _add(self, bound: BoundDevice) -> None:
        try:
            classes = poll_classes(bound, self._plan)
        except MapperError as error:
            log.warning("%s: %s", bound.key, error)
            bound = BoundDevice(bound.key, bound.settings, bound.address, (), bound.specs)
            classes = []
        device = ServedDevice(bound, classes, self._outbox.twin(bound.key, bound.specs), self._rng)
        self._devices[bound.key] = device
        device.mark_broken()
        if self._outage is not None:
            device.mark_all(self._outage.reason)
        now_s = self._clock.monotonic_s()
        for poll in device.classes:
            self._schedule.add((device, poll), poll.cycle_ms, now_s)

        def on_delta(message: Message) -> None:
            self._on_delta(device, message)

        stop = await self._link.subscribe(topics.delta(bound.key), on_delta)
        if self._devices.get(bound.key) is device:
            device.stop_following = stop
        else:
            stop()

    def _remove(self, device: ServedDevice) -> None:
        del self._devices[device.bound.key]
        self._subscriptions.leave(device)
        device.close()

    def _plan(self, bound: BoundDevice, points: list[BoundPoint]) -> object:
        assert bound.address is not None
        return self._bus.plan(bound.address, [point.source for point in points])

    def _part(self, device: ServedDevice, names: frozenset[str]) -> object:
        return self._plan(device.bound, [device.points[name] for name in sorted(names)])

    async def _connect(self) -> None:
        while True:
            try:
                await self._bus.connect()
            except NotConnected as error:
                await self._lose(error)
            else:
                break
        if self._outage is None:
            self._state = ConnectionState.CONNECTED
        now_s = self._clock.monotonic_s()
        self._subscriptions.forget(self._devices.values(), now_s)
        for device in self._devices.values():
            device.restart()
            self._hasten(device, now_s)

    async def _lose(self, error: NotConnected) -> None:
        if self._outage is None:
            log.warning("connection %s: %s; trying again until it stands", self.name, error)
        else:
            log.debug("connection %s: still %s", self.name, error.message)
        self._outage = error
        self._state = ConnectionState.LOST
        self._subscriptions.forget(self._devices.values(), self._clock.monotonic_s())
        self._asking.fail(error)
        for device in self._devices.values():
            device.writeback.forget_sent(self._clock.monotonic_s())
            device.mark_all(error.reason)
        await self._bus.close()
        await asyncio.sleep(self._backoff.next_s())

    def _stands(self) -> None:
        """Note that a device answered, or at least that the connection reached where it should be."""
        self._backoff.reset()
        if self._outage is not None:
            log.info("connection %s: is back", self.name)
            self._outage = None
            self._state = ConnectionState.CONNECTED

    def _hasten(self, device: ServedDevice, now_s: float) -> None:
        for poll in device.classes:
            self._schedule.hasten((device, poll), now_s)

    async def _step(self) -> None:
        """Make the most urgent call, or wait for one to be due."""
        now_s = self._clock.monotonic_s()
        self._wake.clear()
        await self._subscriptions.settle()
        if await self._urgent():
            await asyncio.sleep(0)
            return
        self._calm_until = self._next_urgent()
        probe = self._due_probe(now_s)
        slot = probe or self._schedule.pop(now_s)
        if slot is not None:
            if probe is not None:
                await self._poll(*slot)
            elif slot[0].down is None:
                await self._visit(*slot)
            await asyncio.sleep(0)  # a driver that answers from memory must not starve the loop
            return
        await self._rest(now_s)

    async def _urgent(self) -> bool:
        """Make the most urgent call that does not wait for a whole poll; false if there is none."""
        return await self._writer.turn(self._devices.values()) or await self._asking.turn()

    def _next_urgent(self) -> float:
        waiting = (one for one in self._devices.values() if one.writeback and (one.down is None or not one.classes))
        return min((max(self._writer.next_at(one), one.probe_at) for one in waiting), default=inf)

    async def _give_way(self) -> None:
        """Make what is more urgent than the poll that is under way."""
        if self._interrupting or self._clock.monotonic_s() < self._calm_until:
            return
        self._interrupting = True
        try:
            while await self._urgent():
                pass
            self._calm_until = self._next_urgent()
        finally:
            self._interrupting = False

    def _woken(self) -> None:
        self._calm_until = -inf
        self._wake.set()

    async def _rest(self, now_s: float) -> None:
        next_at = min(self._schedule.next_at(), self._calm_until)
        for device in self._devices.values():
            if device.down is not None:
                next_at = min(next_at, max(device.probe_at, self._probes_from))
        try:
            async with asyncio.timeout(min(_LONGEST_WAIT_S, max(0.0, next_at - now_s))):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _due_probe(self, now_s: float) -> _Slot | None:
        """The silent device to ask, not before the bus can spare the time; all its devices silent, it can."""
        due = [one for one in self._devices.values() if one.down is not None and one.probe_at <= now_s and one.classes]
        if not due or (now_s < self._probes_from and any(one.down is None for one in self._devices.values())):
            return None
        device = min(due, key=lambda one: one.probe_at)
        return device, device.classes[0]

    async def _visit(self, device: ServedDevice, poll: PollClass) -> None:
        """Read a poll class; or have the driver tell it from now on, and then look only whether it still does."""
        if self._subscriptions.rests(poll):
            return
        if not self._subscriptions.wanted(poll):
            await self._poll(device, poll)
            return
        began_s = self._clock.monotonic_s()
        try:
            await self._subscriptions.begin(device, poll)
        except DeviceTimeout as error:
            self._silent(device, error, began_s)
            return
        self._stands()

    async def _poll(self, device: ServedDevice, poll: PollClass) -> None:
        began_s = self._clock.monotonic_s()
        poll.reading = True
        poll.overtaken.clear()
        try:
            readings = await self._bus.read(poll.plan)
        except NotConnected:
            raise
        except MapperError as error:
            self._silent(device, error, began_s)
            return
        finally:
            poll.reading = False
        self._stands()
        if self._devices.get(device.bound.key) is not device:
            return  # it was taken out or changed during the read
        if device.answered(readings.faults, poll.names):
            self._hasten(device, self._clock.monotonic_s())
        sample = poll.whole(poll.converter.sample(readings))
        poll.replace(sample)
        self._subscriptions.was_read(poll)
        device.report(sample)

    def _silent(self, device: ServedDevice, error: MapperError, began_s: float) -> None:
        """Note that the device did not answer, though the connection stands."""
        self._stands()
        now_s = self._clock.monotonic_s()
        device.failed(error, now_s, now_s - began_s)
        self._probes_from = now_s + PROBE_SHARE * (now_s - began_s)

    def _on_delta(self, device: ServedDevice, message: Message) -> None:
        try:
            delta = codec.decode(Delta, message.payload, what=f"delta on {message.topic}") if message.payload else None
        except EdgetwinError as error:
            log.warning("a delta was not understood: %s", error)
            return
        cleared = device.writeback.follow(delta or Delta(version=0), self._clock.monotonic_s())
        good = {name: value for name in cleared if (value := device.last_read(name)[1]) is not None}
        if good and device.down is None and self._outage is None:
            device.outbox.offer(good, {})
        self._woken()
