"""Poll classes whose values the driver tells by itself: who listens, what is polled instead, when silence is stale.

not asked ──subscribe──> told ──silent──> uncertain ──silent──> bad
    ^  └──refused──> polled ^──any word──────┴────────────────────┘
    └──────────────── connection lost
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Final

from mappers.sdk.bus import Bus
from mappers.sdk.convert import Sample, mark
from mappers.sdk.device import PollClass, ServedDevice
from mappers.sdk.driver import Readings
from mappers.sdk.errors import DeviceTimeout, MapperError, NotConnected
from mappers.sdk.schedule import Schedule
from twin.clock import Clock
from twin.model import Quality, Reason
from twin.wire.messages import Mark

log = logging.getLogger(__name__)

_CHECKS: Final = 2  # looks at a silent subscription in the time that it may be silent


class Freshness(IntEnum):
    """How long a subscription has been silent."""

    FRESH = 0
    UNCERTAIN = 1
    BAD = 2


class Subscriptions:
    """The subscriptions of one connection. Its calls to the driver are made by the runner's one task."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        schedule: Schedule[tuple[ServedDevice, PollClass]],
        *,
        wake: Callable[[], None],
        plan: Callable[[ServedDevice, frozenset[str]], object],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._schedule = schedule
        self._wake = wake
        self._plan = plan
        self._open: dict[PollClass, ClassListener] = {}
        self._unwanted: list[object] = []
        self._lost: NotConnected | None = None

    def wanted(self, poll: PollClass) -> bool:
        """Whether this class is to be told by the driver, and is not yet."""
        return self._bus.subscribes and poll.ask

    def rests(self, poll: PollClass) -> bool:
        """Whether nothing is to be asked of this class, because it is told; a silent one is marked as stale."""
        listener = self._open.get(poll)
        if listener is None or (poll.reread):
            return False
        listener.check()
        return True

    def was_read(self, poll: PollClass) -> None:
        """Note that a class was read, told or not: its values are fresh."""
        listener = self._open.get(poll)
        if listener is not None:
            listener.refresh()

    async def settle(self) -> None:
        """End what nobody serves any more. Raises NotConnected, also when the driver has told of a loss."""
        if self._lost is not None:
            raise self._lost
        while self._unwanted:
            try:
                await self._bus.unsubscribe(self._unwanted.pop())
            except NotConnected:
                raise
            except MapperError as error:
                log.debug("%s: a subscription could not be ended: %s", self._bus.name, error)

    async def begin(self, device: ServedDevice, poll: PollClass) -> None:
        """Subscribe; what is refused is polled from now on. Raises NotConnected or DeviceTimeout."""
        told = PollClass(poll.cycle_ms, poll.plan, poll.converter, poll.names, ask=False)
        listener = ClassListener(device, told, self._clock, self._on_lost, self._on_answer, self._wake)
        try:
            agreed = await self._bus.subscribe(poll.plan, poll.cycle_ms, listener)
        except (NotConnected, DeviceTimeout):
            listener.close()
            raise
        except MapperError as error:
            listener.close()
            log.info("%s: is polled, for it takes no subscription: %s", device.bound.key, error)
            poll.ask = False
            if poll in device.classes:
                self._schedule.hasten((device, poll), self._clock.monotonic_s())
            return
        if poll not in device.classes:  # it was taken out during the call
            listener.close()
            self._unwanted.append(poll.plan)
            return
        refused = agreed.refused & poll.names
        if refused:
            log.info("%s: %d of %d points are polled, for they take no subscription",
                     device.bound.key, len(refused), len(poll.names))  # fmt: skip
        self._split(device, poll, told, refused)
        listener.agreed(agreed.alive_s)
        self._open[told] = listener
        now_s = self._clock.monotonic_s()
        self._schedule.add((device, told), max(1, round(agreed.alive_s * 1000 / _CHECKS)), now_s)

    def leave(self, device: ServedDevice) -> None:
        """Forget a device that is served no more; its subscriptions end with the next ``settle``."""
        for poll in device.classes:
            self._schedule.remove((device, poll))
            listener = self._open.pop(poll, None)
            if listener is not None:
                listener.close()
                self._unwanted.append(poll.plan)
                self._wake()
        device.classes = ()

    def forget(self, devices: Iterable[ServedDevice], now_s: float) -> None:
        """Go back to the classes as they were bound: the connection is gone, and its subscriptions with it."""
        self._lost = None
        self._unwanted.clear()
        for listener in self._open.values():
            listener.close()
        self._open.clear()
        for device in devices:
            if device.classes != device.bound_classes:
                for poll in device.classes:
                    self._schedule.remove((device, poll))
                device.classes = device.bound_classes
                for poll in device.classes:
                    self._schedule.add((device, poll), poll.cycle_ms, now_s)
            for poll in device.classes:
                poll.ask = True

    def _split(self, device: ServedDevice, poll: PollClass, told: PollClass, refused: frozenset[str]) -> None:
        now_s = self._clock.monotonic_s()
        classes = [one for one in device.classes if one is not poll]
        self._schedule.remove((device, poll))
        if refused:
            rest = PollClass(poll.cycle_ms, self._plan(device, refused), device.converter(refused), refused, ask=False)
            told.names -= refused
            told.converter = device.converter(told.names)
            classes.append(rest)
            self._schedule.add((device, rest), rest.cycle_ms, now_s)
        device.classes = (told, *classes)

    def _on_lost(self, error: NotConnected) -> None:
        if self._lost is None:
            self._lost = error
        self._wake()

    def _on_answer(self, device: ServedDevice) -> None:
        for poll in device.classes:
            self._schedule.hasten((device, poll), self._clock.monotonic_s())
        self._wake()


class ClassListener:
    """Takes what the driver tells of one poll class."""

    def __init__(
        self,
        device: ServedDevice,
        poll: PollClass,
        clock: Clock,
        on_lost: Callable[[NotConnected], None],
        on_answer: Callable[[ServedDevice], None],
        on_news: Callable[[], None],
    ) -> None:
        self._device = device
        self._poll = poll
        self._clock = clock
        self._on_lost = on_lost
        self._on_answer = on_answer
        self._on_news = on_news
        self._heard_at = clock.monotonic_s()
        self._alive_s = 0.0
        self._freshness = Freshness.FRESH
        self._open = True

    def agreed(self, alive_s: float) -> None:
        """Note for how long silence is fine."""
        self._alive_s = alive_s

    def close(self) -> None:
        """Take nothing any more."""
        self._open = False

    def tell(self, readings: Readings) -> None:
        """Report what came."""
        if not self._open:
            return
        device, poll = self._device, self._poll
        self._hear()
        faults = readings.faults
        if faults or device.doubtful:
            read = frozenset(readings.values.keys() | faults.keys())
            if device.answered(faults, read):
                self._on_answer(device)
        sample = poll.converter.sample(readings, whole=False)
        if poll.confirmed_ms:
            _drop_older(sample, poll.confirmed_ms)
        poll.note(sample)
        device.report(sample)
        if device.writeback:
            self._on_news()

    def alive(self) -> None:
        """Note that nothing has changed."""
        if self._open:
            self._hear()

    def lost(self, error: NotConnected) -> None:
        """Have the runner connect anew."""
        if self._open:
            self._on_lost(error)

    def refresh(self) -> None:
        """Count silence from now."""
        self._heard_at = self._clock.monotonic_s()
        self._freshness = Freshness.FRESH

    def check(self) -> None:
        """Report values as stale that may have changed without a word."""
        silent_s = self._clock.monotonic_s() - self._heard_at
        freshness = Freshness(min(Freshness.BAD, int(silent_s / self._alive_s)))
        if freshness <= self._freshness:
            return
        self._freshness = freshness
        self._poll.was_read = True  # there is no better knowledge to wait for before a write
        log.warning("%s: no word from its subscription for %.1f s", self._device.bound.key, silent_s)
        quality = Quality.BAD if freshness is Freshness.BAD else Quality.UNCERTAIN
        worse = {name for name, known in self._poll.marks.items() if known.quality is Quality.BAD}
        marks = dict.fromkeys(self._poll.names - worse, mark(quality, Reason.STALE))
        self._device.report(Sample({}, marks))

    def _hear(self) -> None:
        self._heard_at = self._clock.monotonic_s()
        if self._freshness is not Freshness.FRESH:
            self._freshness = Freshness.FRESH
            log.info("%s: its subscription speaks again", self._device.bound.key)
            self._device.report(Sample(dict(self._poll.values), dict(self._poll.marks)))


def _drop_older(sample: Sample, confirmed_ms: dict[str, int]) -> None:
    """Leave out what the device sent before it was written; that was read back since."""
    times_ms: Mapping[str, int] = sample.times_ms
    for name in [name for name in confirmed_ms if name in sample.values]:
        if times_ms.get(name, confirmed_ms[name]) < confirmed_ms[name]:
            sample.values = {other: value for other, value in sample.values.items() if other != name}
            marks: dict[str, Mark] = {other: one for other, one in sample.marks.items() if other != name}
            sample.marks = marks
        else:
            del confirmed_ms[name]
