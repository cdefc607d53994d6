"""What endpoints have carried, added up from counters that begin anew whenever the kernel forgets them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from mesh.planes import Traffic
from mesh.planes.nft.doors import Carried, Spot

K = TypeVar("K", bound=Hashable)


class Sums(Generic[K]):
    """Adds up how far counters moved; one that is lower than before has begun anew."""

    def __init__(self) -> None:
        self._last: dict[K, int] = {}

    def moved(self, readings: Mapping[K, int]) -> Iterator[tuple[K, int]]:
        """By how much each moved since it was read last; what is not read now is forgotten."""
        last, self._last = self._last, dict(readings)
        for key, value in readings.items():
            before = last.get(key, 0)
            if moved := value - before if value >= before else value:
                yield key, moved


class Meter:
    """The traffic of each endpoint since the plane was opened."""

    def __init__(self) -> None:
        self._opened: Sums[tuple[str, bytes]] = Sums()
        self._moved: Sums[tuple[int, int]] = Sums()
        self._connections: defaultdict[Spot, int] = defaultdict(int)
        self._carried: defaultdict[Spot, list[int]] = defaultdict(lambda: [0, 0, 0])

    def opened(self, readings: Mapping[tuple[str, bytes], int], owners: Mapping[tuple[str, bytes], Spot]) -> None:
        """Take the counts of connections, by set and key."""
        for key, moved in self._opened.moved(readings):
            if spot := owners.get(key):
                self._connections[spot] += moved

    def carried(self, flows: Mapping[int, Carried]) -> None:
        """Take packets and bytes of each connection, by the kernel's number for it."""
        readings = {
            (number, at): value
            for number, flow in flows.items()
            for at, value in enumerate((flow.packets, flow.bytes_in, flow.bytes_out))
        }
        for (number, at), moved in self._moved.moved(readings):
            self._carried[flows[number].spot][at] += moved

    def keep(self, spots: Iterable[Spot]) -> None:
        """Forget all others."""
        wanted = set(spots)
        for known in (self._connections, self._carried):
            for spot in [one for one in known if one not in wanted]:
                del known[spot]

    def traffic(self) -> list[Traffic]:
        """All of it."""
        spots = sorted({*self._connections, *self._carried}, key=lambda spot: (spot.frontend, spot.port, spot.place))
        none = [0, 0, 0]
        return [
            Traffic(
                one.frontend,
                one.route,
                one.port,
                one.place,
                self._connections.get(one, 0),
                *self._carried.get(one, none),
            )
            for one in spots
        ]
