"""Makes the writes of one connection: what is desired, the read that confirms it, the end of a pulse.

desired ──too late, or against the model──> refused
   └──> written ──confirmed──> read back, at once or after delayMs ──> reported; refused if it differs
               ├──writeOnly──> reported as taken
               └──pulse──────> ended after pulseMs, reported as done
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from mappers.sdk.binding import BoundPoint
from mappers.sdk.bus import Bus
from mappers.sdk.convert import Converter, Sample
from mappers.sdk.device import ServedDevice
from mappers.sdk.driver import Readings, WriteKind
from mappers.sdk.errors import MapperError, NotConnected, WriteRefused
from mappers.sdk.writeback import Wish, agrees, objection, overdue
from twin.clock import Clock
from twin.model import Value

log = logging.getLogger(__name__)


class Writer:
    """Writes to the devices of one connection; each call is one turn on the bus."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    def next_at(self, device: ServedDevice) -> float:
        """When something of this device is due that ``turn`` would do; infinite when nothing is."""
        return device.writeback.next_at(device.knows)

    async def turn(self, devices: Iterable[ServedDevice]) -> bool:
        """Make the most urgent one of all that are due; false if none is. Raises NotConnected."""
        now_s = self._clock.monotonic_s()
        waiting = [device for device in devices if device.writeback and device.takes_writes(now_s)]
        for device in waiting:
            for name in device.writeback.due_ends(now_s):
                await self._end_pulse(device, name)
                return True
        for device in waiting:
            for wish in device.writeback.due(now_s):
                if device.knows(wish.name):
                    await self._write(device, wish)
                    return True
        for device in waiting:
            for wish in device.writeback.due_confirms(now_s):
                await self._confirm(device, wish)
                return True
        return False

    async def _write(self, device: ServedDevice, wish: Wish) -> None:
        point = device.points.get(wish.name)
        text = "the device has no such usable property"
        if point is not None:
            text = objection(point.spec, point.rule, wish.value)
            text = text or overdue(wish, point.write_back.expires_s, self._clock.now_us())
        if point is None or text:
            self._refuse(device, wish, text, for_good=True)
            return
        if point.is_read and self._agrees(point, wish.value, device.last_read(wish.name)[1]):
            device.writeback.wrote(wish)
            return
        began_s = self._clock.monotonic_s()
        is_pulse = point.write_back.kind is WriteKind.PULSE
        if is_pulse and wish.value is not True:  # it is false already, as far as anybody knows
            device.writeback.wrote(wish)
            device.report(Sample({wish.name: wish.value}))
            return
        try:
            readings = await self._bus.write(device.address, point.point, point.scaling.raw(wish.value))
            device.took_write()
            if is_pulse:
                device.writeback.pulse(wish, self._clock.monotonic_s() + point.write_back.pulse_ms / 1000)
            elif not point.is_read:
                device.writeback.wrote(wish)
                device.report(Sample({wish.name: wish.value}))
            elif point.write_back.delay_ms:
                device.writeback.sent(wish, self._clock.monotonic_s() + point.write_back.delay_ms / 1000)
            else:
                self._judge(device, point, wish, await self._read_back(device, point, readings))
        except WriteRefused as error:
            self._refuse(device, wish, error.message)
        except NotConnected:
            raise
        except MapperError as error:
            self._silent(device, error, began_s)

    async def _confirm(self, device: ServedDevice, wish: Wish) -> None:
        began_s = self._clock.monotonic_s()
        point = device.points[wish.name]
        try:
            self._judge(device, point, wish, await self._read_back(device, point))
        except NotConnected:
            raise
        except MapperError as error:
            self._silent(device, error, began_s)

    async def _end_pulse(self, device: ServedDevice, name: str) -> None:
        began_s = self._clock.monotonic_s()
        point = device.points[name]
        try:
            await self._bus.write(device.address, point.point, False)
        except NotConnected:
            raise
        except WriteRefused as error:
            log.error("%s: the pulse of %s could not be ended: %s", device.bound.key, name, error)
            device.writeback.ended(name)
            device.mark_refused(name)
            return
        except MapperError as error:
            self._silent(device, error, began_s)
            return
        device.took_write()
        device.writeback.ended(name)
        device.report(Sample({name: True}))

    async def _read_back(self, device: ServedDevice, point: BoundPoint, readings: Readings | None = None) -> Sample:
        """Read one property after it was written, if the write did not bring it with it."""
        name = point.spec.name
        if readings is None or point.read_from:
            readings = await self._bus.read(self._bus.plan(device.address, [point.source]))
        sample = Converter({name: (point.source_scaling, point.rule)}).sample(readings)
        device.confirm(name, sample)
        return sample

    def _judge(self, device: ServedDevice, point: BoundPoint, wish: Wish, sample: Sample) -> None:
        read = sample.values.get(wish.name)
        if self._agrees(point, wish.value, read):
            device.writeback.wrote(wish)
        else:
            self._refuse(device, wish, f"the device holds {read!r} after {wish.value!r} was written", mark=False)
        device.report(sample)

    def _silent(self, device: ServedDevice, error: MapperError, began_s: float) -> None:
        ended_s = self._clock.monotonic_s()
        device.failed(error, ended_s, ended_s - began_s)

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
        step = max(point.scaling.step, point.source_scaling.step)
        return read is not None and agrees(desired, read, point.spec.tolerance, step)
