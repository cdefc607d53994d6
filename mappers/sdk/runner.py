"""Serves the devices of one connection: reads what is due, reports it, writes what is desired.

    connecting ──connected──> serving: 1. writes that are due   (write, read back, report)
        ^                              2. probes of silent devices
        └───── NotConnected ──────┘    3. the poll class that is due longest, or its subscription

One task makes all calls of a driver, one at a time, and picks the next by that order. So a write waits for one call at
most, and nothing needs a lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from random import Random
from typing import Final

from mappers.sdk.binding import BoundDevice, BoundPoint
from mappers.sdk.bus import AnyDriver, Budget, Bus, BusCounters
from mappers.sdk.convert import Converter, Sample
from mappers.sdk.device import PollClass, ServedDevice, poll_classes
from mappers.sdk.errors import DeviceTimeout, MapperError, NotConnected, WriteRefused
from mappers.sdk.health import ConnectionState, Health
from mappers.sdk.outbox import Outbox
from mappers.sdk.schedule import Schedule
from mappers.sdk.subscription import Subscriptions
from mappers.sdk.writeback import Wish, agrees, objection
from twin.clock import Clock
from twin.errors import EdgetwinError
from twin.link import Link, Message
from twin.link.backoff import Backoff
from twin.model import TwinKey, Value
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
        self._subscriptions = Subscriptions(self._bus, clock, self._schedule, wake=self._wake.set, plan=self._part)

    async def serve(self, devices: Iterable[BoundDevice]) -> None:
        """Serve these devices and no others; those whose settings are the same are not touched."""
        wanted = {device.key: device for device in devices}
        for key, device in list(self._devices.items()):
            if key not in wanted or wanted[key].settings != device.bound.settings:
                self._remove(device)
        for key, bound in wanted.items():
            if key not in self._devices:
                await self._add(bound)
        self._wake.set()

    async def run(self) -> None:
        """Connect, serve, reconnect, until cancelled."""
        try:
            while True:
                await self._connect()
                try:
                    while True:
                        await self._step()
                except NotConnected as error:
                    await self._lose(error)
        finally:
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
        return self._bus.plan(bound.address, [point.point for point in points])

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
        for device in self._devices.values():
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
        write = self._due_write(now_s)
        if write is not None:
            await self._write(*write)
            return
        probe = self._due_probe(now_s)
        slot = probe or self._schedule.pop(now_s)
        if slot is not None:
            if probe is not None:
                await self._poll(*slot)
            elif slot[0].probe_at <= now_s:
                await self._visit(*slot)
            await asyncio.sleep(0)  # a driver that answers from memory must not starve the loop
            return
        await self._rest(now_s)

    async def _rest(self, now_s: float) -> None:
        next_at = self._schedule.next_at()
        for device in self._devices.values():
            if device.down is not None:
                next_at = min(next_at, device.probe_at)
            elif device.writeback:
                next_at = min(next_at, device.writeback.next_at(device.knows))
        try:
            async with asyncio.timeout(min(_LONGEST_WAIT_S, max(0.0, next_at - now_s))):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _due_write(self, now_s: float) -> tuple[ServedDevice, Wish] | None:
        for device in self._devices.values():
            if device.writeback and device.down is None:
                for wish in device.writeback.due(now_s):
                    if device.knows(wish.name):
                        return device, wish
        return None

    def _due_probe(self, now_s: float) -> _Slot | None:
        for device in self._devices.values():
            if device.down is not None and device.probe_at <= now_s and device.classes:
                return device, device.classes[0]
        return None

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
        try:
            readings = await self._bus.read(poll.plan)
        except NotConnected:
            raise
        except MapperError as error:
            self._silent(device, error, began_s)
            return
        self._stands()
        if self._devices.get(device.bound.key) is not device:
            return  # it was taken out or changed during the read
        if device.answered(readings.faults, poll.names):
            self._hasten(device, self._clock.monotonic_s())
        sample = poll.converter.sample(readings)
        poll.replace(sample)
        self._subscriptions.was_read(poll)
        device.report(sample)

    def _silent(self, device: ServedDevice, error: MapperError, began_s: float) -> None:
        """Note that the device did not answer, though the connection stands."""
        self._stands()
        now_s = self._clock.monotonic_s()
        device.failed(error, now_s, now_s - began_s)

    async def _write(self, device: ServedDevice, wish: Wish) -> None:
        point = device.points.get(wish.name)
        now_s = self._clock.monotonic_s()
        text = "the device has no such usable property"
        if point is not None:
            text = objection(point.spec, point.rule, wish.value)
        if point is None or text:
            self._refuse(device, wish, text, for_good=True)
            return
        if self._agrees(point, wish.value, device.last_read(wish.name)[1]):
            device.writeback.wrote(wish)
            return
        try:
            await self._bus.write(device.address, point.point, point.scaling.raw(wish.value))
            sample = await self._read_back(device, point)
        except NotConnected:
            raise
        except WriteRefused as error:
            self._refuse(device, wish, error.message)
            return
        except MapperError as error:
            ended_s = self._clock.monotonic_s()
            device.failed(error, ended_s, ended_s - now_s)
            return
        read_back = sample.values.get(wish.name)
        if self._agrees(point, wish.value, read_back):
            device.writeback.wrote(wish)
        else:
            self._refuse(device, wish, f"the device holds {read_back!r} after {wish.value!r} was written", mark=False)
        device.report(sample)

    async def _read_back(self, device: ServedDevice, point: BoundPoint) -> Sample:
        """Read one property after it was written."""
        name = point.spec.name
        readings = await self._bus.read(self._bus.plan(device.address, [point.point]))
        sample = Converter({name: (point.scaling, point.rule)}).sample(readings)
        device.confirm(name, sample)
        return sample

    def _refuse(
        self, device: ServedDevice, wish: Wish, text: str, *, for_good: bool = False, mark: bool = True
    ) -> None:
        if not device.writeback.stands(wish):
            return  # a newer delta has come; it is written next
        level = logging.DEBUG if wish.refused else logging.WARNING
        log.log(level, "%s: %s is not set to %r: %s", device.bound.key, wish.name, wish.value, text)
        device.writeback.refuse(wish, self._clock.monotonic_s(), for_good=for_good)
        if mark and wish.name in device.points:
            device.mark_refused(wish.name)

    def _agrees(self, point: BoundPoint, desired: Value, read: Value) -> bool:
        return read is not None and agrees(desired, read, point.spec.tolerance, point.scaling)

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
        self._wake.set()
