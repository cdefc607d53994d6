"""Counters of one kind of traffic, and how long answers took. Recording is a few integer adds.

bucket  0  1  2  3 | 4  5  6  7 | 8      9       10 ...
us      0  1  2  3 | 4  5  6  7 | 8..9   10..11  12..13 ...     four to each power of two: 19 % wide at most
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

BUCKETS: Final = 108
"""The last one begins at 235 s; what took longer is in it too."""
CLASSES: Final = 6
"""0: no status (raw connections), 1 to 5: 1xx to 5xx."""
_NO_TIMES: Final[tuple[int, ...]] = (0,) * BUCKETS


def bucket_of(took_us: int) -> int:
    """The bucket of a time."""
    if took_us < 4:
        return max(took_us, 0)
    bits = took_us.bit_length()
    bucket = ((bits - 2) << 2) + ((took_us >> (bits - 3)) & 3)
    return bucket if bucket < BUCKETS else BUCKETS - 1


def bucket_begins_us(bucket: int) -> int:
    """The least time of a bucket; that of the next one is its end."""
    if bucket < 4:
        return bucket
    return (4 + (bucket & 3)) << ((bucket >> 2) - 1)


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted, as a value: absolute numbers since the process began.

    ``times`` are pairs of bucket and number, of the buckets that have any.
    """

    by_class: tuple[int, ...] = (0,) * CLASSES
    failed: int = 0
    """Tries that came to nothing: no connection, time-out, reset."""
    bytes_in: int = 0
    bytes_out: int = 0
    active: int = 0
    times: tuple[tuple[int, int], ...] = ()
    times_us: int = 0

    @property
    def requests(self) -> int:
        """What was answered, with any status."""
        return sum(self.by_class)

    @property
    def errors(self) -> int:
        """5xx, and what came to nothing."""
        return self.by_class[5] + self.failed

    def plus(self, other: Counts) -> Counts:
        """Both together."""
        return self._with(other, 1)

    def minus(self, before: Counts) -> Counts:
        """What has been added since; a number that went back began anew, and ``active`` is as it is."""
        if before.requests > self.requests or before.failed > self.failed or before.times_us > self.times_us:
            return self
        return self._with(before, -1)

    def quantile_s(self, share: float) -> float:
        """The time that this share of the answers was faster than: the end of its bucket. 0 without answers."""
        left = share * sum(number for _, number in self.times)
        for bucket, number in self.times:
            left -= number
            if left <= 1e-9:
                return bucket_begins_us(bucket + 1) / 1e6
        return 0.0

    def _with(self, other: Counts, sign: int) -> Counts:
        times = dict(self.times)
        for bucket, number in other.times:
            times[bucket] = times.get(bucket, 0) + sign * number
        return Counts(
            by_class=tuple(one + sign * two for one, two in zip(self.by_class, other.by_class, strict=True)),
            failed=self.failed + sign * other.failed,
            bytes_in=self.bytes_in + sign * other.bytes_in,
            bytes_out=self.bytes_out + sign * other.bytes_out,
            active=self.active + other.active if sign > 0 else self.active,
            times=tuple(sorted((bucket, number) for bucket, number in times.items() if number)),
            times_us=self.times_us + sign * other.times_us,
        )


_NOTHING: Final = Counts()


def total(counts: Iterable[Counts]) -> Counts:
    """All together."""
    so_far = Counts()
    for one in counts:
        so_far = so_far.plus(one)
    return so_far


class Tally:
    """The counters themselves. Planes may add to ``bytes_in``, ``bytes_out`` and ``failed`` directly."""

    __slots__ = ("_before", "_state", "_times", "active", "by_class", "bytes_in", "bytes_out", "failed", "times_us")

    def __init__(self) -> None:
        self.by_class = [0] * 10  # room for statuses that nobody has defined
        self.failed = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.active = 0
        self.times_us = 0
        self._times: array[int] | None = None
        self._state: tuple[int, ...] = ()
        self._before = _NOTHING

    def answered(self, status: int, took_s: float) -> None:
        """An answer began after so long; status 0: a raw connection stood."""
        self.by_class[status // 100] += 1
        took_us = int(took_s * 1e6)
        if took_us < 0:
            took_us = 0  # a clock that was asked twice in the wrong order
        self.times_us += took_us
        times = self._times
        if times is None:
            times = self._times = array("Q", _NO_TIMES)
        # bucket_of, written out: this line is passed for each request.
        bits = took_us.bit_length()
        bucket = took_us if bits < 3 else ((bits - 2) << 2) + ((took_us >> (bits - 3)) & 3)
        times[bucket if bucket < BUCKETS else BUCKETS - 1] += 1

    def passed(self, status_class: int, bucket: int, took_us: int, bytes_in: int, bytes_out: int) -> None:
        """The same for who has worked out the bucket, and counts the request as a whole."""
        self.by_class[status_class] += 1
        self.times_us += took_us
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        times = self._times
        if times is None:
            times = self._times = array("Q", _NO_TIMES)
        times[bucket] += 1

    def counts(self) -> Counts:
        """As a value, the same one as the last time if nothing has changed."""
        state = (self.times_us, self.failed, self.bytes_in, self.bytes_out, self.active, *self.by_class)
        if state == self._state:
            return self._before
        self._state = state
        times = self._times
        self._before = Counts(
            by_class=(*self.by_class[: CLASSES - 1], sum(self.by_class[CLASSES - 1 :])),
            failed=self.failed,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            active=self.active,
            times=tuple([(at, number) for at, number in enumerate(times) if number]) if times else (),
            times_us=self.times_us,
        )
        return self._before

    def absorb(self, other: Tally) -> None:
        """Take over what another has counted."""
        self.by_class = [one + two for one, two in zip(self.by_class, other.by_class, strict=True)]
        self.failed += other.failed
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.active += other.active
        self.times_us += other.times_us
        if other._times is not None:
            mine = self._times or array("Q", _NO_TIMES)
            self._times = array("Q", [one + two for one, two in zip(mine, other._times, strict=True)])
