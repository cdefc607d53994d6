"""How the next one is chosen. A balancer is built for one set of targets, and again whenever that set changes.

Choosing is the hot path of every plane; all that can be worked out beforehand is: turns are laid out as one sequence,
a ring as one sorted array.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import cycle, islice
from math import gcd
from random import Random
from typing import Final, Generic, Protocol, TypeVar

from mesh.model.policies import Balance, LoadBalancer
from mesh.target import Target

T = TypeVar("T")

MOST_TURNS: Final = 4096
"""Longest sequence of turns; weights that would need a longer one are rounded to it (by 0.02 % of all requests)."""
_GOLDEN: Final = 0.6180339887498949
_POINTS_A_DIGEST: Final = struct.Struct("<8Q")


class Balancer(Protocol):
    """Chooses among the targets that it was built with."""

    def choose(self, key: int | None) -> Target:
        """The next one; ``key`` counts for consistent hashing alone."""

    def order(self, key: int | None) -> Iterator[Target]:
        """All of them, that which would be chosen next first."""


def balancer(rule: LoadBalancer, targets: Sequence[Target], rng: Random) -> Balancer:
    """The balancer that a policy asks for. ``targets`` is not empty, and each weighs more than nothing."""
    match rule.balance:
        case Balance.ROUND_ROBIN:
            return RoundRobin(targets, rng)
        case Balance.RANDOM:
            return RandomChoice(targets, rng)
        case Balance.LEAST_REQUEST:
            return LeastRequest(targets, rng)
        case Balance.CONSISTENT_HASH:
            return Ring(targets, rule.ring_size, rng)


def key_hash(text: str | bytes) -> int:
    """The key of a source address, header, cookie or parameter: alike in all processes and after each start."""
    content = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


# -- turns -------------------------------------------------------------------------------------------------------------


def turns(weights: Sequence[float]) -> tuple[int, ...]:
    """Who is on, by weight, evenly spread: 3, 1 gives 0 0 1 0 in some rotation. Weight 0 gets no turn."""
    counts = _whole(weights)
    if len({count for count in counts if count}) <= 1:
        return tuple(place for place, count in enumerate(counts) if count)
    # Each has its turns at equal distances; the golden ratio sets them off against each other.
    laid_out = [
        ((turn + (place * _GOLDEN + 0.5) % 1.0) / count, place)
        for place, count in enumerate(counts)
        for turn in range(count)
    ]
    return tuple(place for _, place in sorted(laid_out))


def _whole(weights: Sequence[float]) -> list[int]:
    if all(weight == int(weight) for weight in weights):
        whole = [int(weight) for weight in weights]
        unit = gcd(*whole) or 1
        if sum(whole) // unit <= MOST_TURNS:
            return [weight // unit for weight in whole]
    scale = MOST_TURNS / sum(weights)
    return [max(1, round(weight * scale)) if weight else 0 for weight in weights]


class Turns(Generic[T]):
    """Weighted round robin over anything, as the backends of a rule. Empty if nothing has a weight."""

    __slots__ = ("_next", "sequence")

    def __init__(self, items: Sequence[tuple[T, float]], rng: Random) -> None:
        sequence = [items[place][0] for place in turns([weight for _, weight in items])]
        # A start of one's own, or all workers of a gateway would go to the same one after each change.
        start = int(rng.random() * len(sequence))
        self.sequence: tuple[T, ...] = tuple(sequence[start:] + sequence[:start])
        self._next = cycle(self.sequence)

    def __bool__(self) -> bool:
        return bool(self.sequence)

    def next(self) -> T:
        """Who is on. Raises StopIteration if nobody ever is."""
        return next(self._next)

    def round(self) -> Iterator[T]:
        """A whole round of turns from here on; the turns stay where they are once it is used up."""
        return islice(self._next, len(self.sequence))


class RoundRobin:
    """In turn, by weight."""

    __slots__ = ("_next", "_turns")

    def __init__(self, targets: Sequence[Target], rng: Random) -> None:
        self._turns = Turns([(target, target.weight) for target in targets], rng)
        self._next = self._turns.next

    def choose(self, key: int | None) -> Target:
        del key
        return self._next()

    def order(self, key: int | None) -> Iterator[Target]:
        del key
        return iter(dict.fromkeys(self._turns.round()))


class RandomChoice:
    """By chance, by weight."""

    __slots__ = ("_random", "_rng", "_sequence")

    def __init__(self, targets: Sequence[Target], rng: Random) -> None:
        self._sequence = Turns([(target, target.weight) for target in targets], rng).sequence
        self._rng = rng
        self._random = rng.random

    def choose(self, key: int | None) -> Target:
        del key
        return self._sequence[int(self._random() * len(self._sequence))]

    def order(self, key: int | None) -> Iterator[Target]:
        del key
        return iter(dict.fromkeys(self._rng.sample(self._sequence, len(self._sequence))))


class LeastRequest:
    """Of that which is on and another by chance, the one with fewer requests for its weight.

    Two choices are nearly as good as looking at all, and do not send everyone to the same idle one. While all are idle
    it is round robin, so that weights hold.
    """

    __slots__ = ("_random", "_sequence", "_turns")

    def __init__(self, targets: Sequence[Target], rng: Random) -> None:
        self._turns = Turns([(target, target.weight) for target in targets], rng)
        self._sequence = self._turns.sequence
        self._random = rng.random

    def choose(self, key: int | None) -> Target:
        del key
        first = self._turns.next()
        if not first.active:
            return first
        sequence = self._sequence
        at = int(self._random() * len(sequence))
        other = sequence[at]
        if other is first:
            other = sequence[at - 1]
        return other if (other.active + 1) * first.weight < (first.active + 1) * other.weight else first

    def order(self, key: int | None) -> Iterator[Target]:
        del key
        return iter(sorted(dict.fromkeys(self._turns.round()), key=lambda target: target.active / target.weight))


# -- the ring ----------------------------------------------------------------------------------------------------------


class Ring:
    """Consistent hashing (ketama): a key goes to the first point after it.

    The heaviest target has a quarter of ``ring_size`` points, the others fewer by weight. That number does not depend
    on how many targets there are: one that comes or goes moves its own keys only.
    """

    __slots__ = ("_owners", "_points", "_rng")

    def __init__(self, targets: Sequence[Target], ring_size: int, rng: Random) -> None:
        most = max(ring_size // 4, 64)
        heaviest = max(target.weight for target in targets)
        placed = []
        for target in targets:
            if len(target.points) < most:
                target.points = _points(target.place, most)
            placed += [(point, target) for point in target.points[: max(1, round(most * target.weight / heaviest))]]
        placed.sort(key=lambda one: one[0])
        self._points = array("Q", [point for point, _ in placed])
        self._owners = [target for _, target in placed]
        self._rng = rng

    def choose(self, key: int | None) -> Target:
        return self._owners[self._at(key)]

    def order(self, key: int | None) -> Iterator[Target]:
        at = self._at(key)
        return iter(dict.fromkeys(self._owners[at:] + self._owners[:at]))

    def _at(self, key: int | None) -> int:
        at = bisect_left(self._points, self._rng.getrandbits(64) if key is None else key)
        return at if at < len(self._points) else 0


def _points(place: str, count: int) -> tuple[int, ...]:
    points: list[int] = []
    for number in range(-(-count // 8)):
        points += _POINTS_A_DIGEST.unpack(blake2b(f"{place} {number}".encode()).digest())
    return tuple(points[:count])
