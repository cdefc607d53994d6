"""Which address is named first: the nearest, and of those each as often as its weight says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mesh.model.services import Endpoint

HERE, NEAR, FAR, STALE = range(4)


def distance(endpoint: Endpoint, node: str, zone: str) -> int:
    """How far off an endpoint is: on this gateway, in its zone, elsewhere; behind all others where it is stale."""
    if endpoint.stale:
        return STALE
    if node and endpoint.node == node:
        return HERE
    return NEAR if zone and endpoint.zone == zone else FAR


class Turns:
    """Gives the order of records for one answer after the other. Groups keep their order; within one it goes round.

    In the first group the one that is named first is chosen by smooth weighted round robin, as nginx does it: weights
    5, 1, 1 give a a b a c a a, never the same five times in a row. Weight 0 is never first, unless all are.
    """

    def __init__(self, groups: Iterable[Sequence[int]]) -> None:
        self._sizes: list[int] = []
        self._weights: list[int] = []
        for weights in groups:
            if not self._sizes:
                self._weights = list(weights) if any(weights) else [1] * len(weights)
            self._sizes.append(len(weights))
        self._even = len(set(self._weights)) == 1
        self._current = [0] * len(self._weights)
        self._turn = -1

    def next(self) -> list[int]:
        """Places of the records in the order of this answer."""
        self._turn += 1
        order: list[int] = []
        begin = 0
        for size in self._sizes:
            first = self._first() if begin == 0 else self._turn % size
            order += range(begin + first, begin + size)
            order += range(begin, begin + first)
            begin += size
        return order

    def _first(self) -> int:
        if self._even:
            return self._turn % len(self._weights)
        current = self._current
        for place, weight in enumerate(self._weights):
            current[place] += weight
        first = max(range(len(current)), key=current.__getitem__)
        current[first] -= sum(self._weights)
        return first
