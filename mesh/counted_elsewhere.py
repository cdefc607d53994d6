"""What a plane counts outside this process, brought into the monitor, so that it is shown like all the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mesh.model.services import PortKey
from mesh.monitor import Monitor
from mesh.planes import Traffic
from mesh.upstream import Upstreams

_NONE: Final = (0, 0, 0)


class CountedElsewhere:
    """Adds to the monitor's counters by how much those of a plane have moved."""

    def __init__(self, monitor: Monitor, upstreams: Upstreams) -> None:
        self._monitor = monitor
        self._upstreams = upstreams
        self._last: dict[tuple[PortKey, str, PortKey, str], tuple[int, int, int]] = {}

    def took(self, traffic: Iterable[Traffic]) -> None:
        """Take what a plane says now; all of it, for what is not said is forgotten."""
        last, self._last = self._last, {}
        for one in traffic:
            key = one.frontend, one.route, one.port, one.place
            now = self._last[key] = one.connections, one.bytes_in, one.bytes_out
            before = last.get(key, _NONE)
            upstream = self._upstreams.get(one.port)
            target = upstream.targets.get(one.place) if upstream else None
            if now == before or target is None:
                continue
            tally = self._monitor.share(one.frontend, one.route, one.port).of(target)
            connections, bytes_in, bytes_out = (max(0, new - old) for new, old in zip(now, before, strict=True))
            tally.by_class[0] += connections
            tally.bytes_in += bytes_in
            tally.bytes_out += bytes_out
