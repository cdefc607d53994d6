"""One device as a runner serves it: poll classes, what it reports, what it is to be set to, and whether it answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Final

from mappers.sdk.binding import BoundDevice, BoundPoint
from mappers.sdk.convert import Converter, Sample, bad
from mappers.sdk.driver import DeviceConfig, Fault, WriteKind
from mappers.sdk.errors import MapperError
from mappers.sdk.outbox import TwinOutbox
from mappers.sdk.writeback import Writeback
from twin.link import Unsubscribe
from twin.link.backoff import Backoff
from twin.model import Reason, Value
from twin.wire.messages import Mark

log = logging.getLogger(__name__)

_FIRST_PROBE_S: Final = 1.0
_LONGEST_PROBE_S: Final = 60.0
PROBE_SHARE: Final = 19
"""Silent devices wait 19 times what a probe took: 5 % of the bus at most."""


@dataclass(slots=True, eq=False)
class PollClass:
    """The points of one device that are read together, and what the last read gave."""

    cycle_ms: int
    plan: object
    converter: Converter
    names: frozenset[str]
    ask: bool = True
    """Whether a driver that can is asked to tell these points by itself."""
    values: dict[str, Value] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    was_read: bool = False
    """Read as a whole since the connection stands."""
    reread: bool = False
    """Whether a class that is told has to be read once, because what was known of it is forgotten."""
    confirmed_ms: dict[str, int] = field(default_factory=dict)
    """Source times of values that were read back after a write; what a subscription brings from before is not news."""
    reading: bool = False
    overtaken: set[str] = field(default_factory=set)
    """Points that were written and read back in the middle of a read, which may have read them before."""

    def forget(self) -> None:
        """Know no value any more."""
        self.values, self.marks, self.was_read, self.reread = {}, {}, False, True

    def replace(self, sample: Sample) -> None:
        """Know what was read, and no more."""
        self.values, self.marks, self.was_read, self.reread = sample.values, sample.marks, True, False

    def whole(self, sample: Sample) -> Sample:
        """What a read gave, but for points that were read back since."""
        if not self.overtaken:
            return sample
        values, marks = dict(sample.values), dict(sample.marks)
        for name in self.overtaken:
            values.pop(name, None)
            marks.pop(name, None)
            if name in self.values:
                values[name] = self.values[name]
            if name in self.marks:
                marks[name] = self.marks[name]
        return Sample(values, marks, sample.times_ms)

    def note(self, sample: Sample) -> None:
        """Keep what is known of some of the points."""
        self.values.update(sample.values)
        if self.marks:
            for name in sample.values:
                self.marks.pop(name, None)
        if sample.marks:
            self.marks.update(sample.marks)


class ServedDevice:
    """State of one device on a connection."""

    def __init__(self, bound: BoundDevice, classes: Iterable[PollClass], outbox: TwinOutbox, rng: Random) -> None:
        self.bound = bound
        self.bound_classes = self.classes = tuple(classes)
        self.points: dict[str, BoundPoint] = {point.spec.name: point for point in bound.points}
        pulses = (name for name, point in self.points.items() if point.write_back.kind is WriteKind.PULSE)
        self.writeback = Writeback(rng, frozenset(pulses))
        self.outbox = outbox
        self.probe_at = -inf
        self.down: MapperError | None = None
        self.stop_following: Unsubscribe | None = None
        self._backoff = Backoff(_FIRST_PROBE_S, _LONGEST_PROBE_S, rng)
        self._faulted: frozenset[str] = frozenset()

    @property
    def address(self) -> DeviceConfig:
        """The mapper's own address of the device; only a device with usable points has one."""
        assert self.bound.address is not None
        return self.bound.address

    def mark_broken(self) -> None:
        """Report the properties whose settings the mapper cannot use."""
        self.outbox.offer({}, {spec.name: bad(Reason.CONFIG_ERROR) for spec in self.bound.broken})

    def mark_all(self, reason: Reason) -> None:
        """Report that no usable property has a value."""
        for poll in self.classes:
            poll.forget()
        # What is only written has no other value than the one that was taken.
        self.outbox.offer({}, {name: bad(reason) for name, point in self.points.items() if point.is_read})

    def report(self, sample: Sample) -> None:
        """Report one cycle; a property whose desired value was refused stays marked while that value is desired."""
        marks: Mapping[str, Mark] = sample.marks
        if self.writeback:
            refused = [name for name in self.writeback.refused() if name in sample.values]
            marks = {**marks, **{name: bad(Reason.WRITE_REFUSED) for name in refused}}
        self.outbox.offer(sample.values, marks, sample.times_ms)

    def mark_refused(self, name: str) -> None:
        """Report that a desired value was not taken."""
        self.outbox.offer({}, {name: bad(Reason.WRITE_REFUSED)})

    def last_read(self, name: str) -> tuple[bool, Value]:
        """Whether the property was read since the connection stands, and its value then, None if a fault."""
        for poll in self.classes:
            if name in poll.names:
                return poll.was_read or name in poll.values or name in poll.marks, poll.values.get(name)
        return True, None

    def knows(self, name: str) -> bool:
        """Whether the property was read since the connection stands."""
        return self.last_read(name)[0]

    def confirm(self, name: str, sample: Sample) -> None:
        """Note what was read back."""
        for poll in self.classes:
            if name in poll.names:
                poll.values, poll.marks = dict(poll.values), dict(poll.marks)  # what was read is the driver's
                poll.note(sample)
                if poll.reading:
                    poll.overtaken.add(name)
                if name in sample.times_ms:
                    poll.confirmed_ms[name] = sample.times_ms[name]

    def failed(self, error: MapperError, now_s: float, took_s: float) -> None:
        """Note that the device as a whole did not answer; it is probed after a wait."""
        if self.down is None:
            log.warning("%s: %s; probing it until it answers", self.bound.key, error)
        else:
            log.debug("%s: still %s", self.bound.key, error.message)
        self.down = error
        self.probe_at = now_s + max(self._backoff.next_s(), PROBE_SHARE * took_s)
        self.writeback.forget_sent(now_s)
        self.mark_all(error.reason)

    def takes_writes(self, now_s: float) -> bool:
        """Whether a write is worth its time; one to a silent device that has nothing to read is its probe."""
        return self.down is None or (not self.classes and self.probe_at <= now_s)

    def took_write(self) -> None:
        """Note that the device answered to a write."""
        if self.down is not None and not self.classes:
            log.info("%s: answers again", self.bound.key)
            self.restart()

    @property
    def doubtful(self) -> bool:
        """Whether it did not answer, or one of its points cannot be read."""
        return self.down is not None or bool(self._faulted)

    def converter(self, names: Iterable[str]) -> Converter:
        """What turns readings of these points into samples."""
        return Converter({name: (self.points[name].source_scaling, self.points[name].rule) for name in names})

    def answered(self, faults: Mapping[str, Fault], read: frozenset[str]) -> bool:
        """Note that the device answered; true if it was down until now."""
        if faults or self._faulted:
            self._tell_faults(faults, read)
        if self.down is None:
            return False
        log.info("%s: answers again", self.bound.key)
        self.restart()
        return True

    def restart(self) -> None:
        """Forget that the device did not answer."""
        self.down = None
        self.probe_at = -inf
        self._backoff.reset()

    def close(self) -> None:
        """Follow no delta and report nothing any more."""
        if self.stop_following is not None:
            self.stop_following()
            self.stop_following = None
        self.outbox.close()

    def _tell_faults(self, faults: Mapping[str, Fault], read: frozenset[str]) -> None:
        for name in faults.keys() - self._faulted:
            log.warning("%s: %s cannot be read: %s %s", self.bound.key, name, faults[name].reason, faults[name].text)
        for name in self._faulted & read - faults.keys():
            log.info("%s: %s can be read again", self.bound.key, name)
        self._faulted = (self._faulted - read) | faults.keys()


def poll_classes(bound: BoundDevice, plan: Callable[[BoundDevice, list[BoundPoint]], object]) -> list[PollClass]:
    """Group a device's points by cycle; ``plan`` is the driver's."""
    by_cycle: dict[int, list[BoundPoint]] = {}
    for point in filter(lambda point: point.is_read, bound.points):
        by_cycle.setdefault(point.cycle_ms, []).append(point)
    return [
        PollClass(
            cycle_ms,
            plan(bound, points),
            Converter({point.spec.name: (point.source_scaling, point.rule) for point in points}),
            frozenset(point.spec.name for point in points),
        )
        for cycle_ms, points in sorted(by_cycle.items())
    ]
