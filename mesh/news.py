"""What of everything that was counted is other than the last time. Pure."""

from __future__ import annotations

from mesh.model.services import PortKey
from mesh.snapshot import EdgeCounts, EdgeKey, ShareCounts, ShareKey, Snapshot, UpstreamView


class News:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._shares: dict[ShareKey, ShareCounts] = {}
        self._edges: dict[EdgeKey, EdgeCounts] = {}
        self._upstreams: dict[PortKey, UpstreamView] = {}

    def since(self, seen: Snapshot) -> Snapshot:
        """Of everything what was not told yet."""
        shares = {one.key: one for one in seen.shares}
        edges = {one.key: one for one in seen.edges}
        upstreams = {one.port: one for one in seen.upstreams}
        news = Snapshot(
            seen.at_s,
            tuple(one for key, one in shares.items() if self._shares.get(key) != one),
            tuple(one for key, one in edges.items() if self._edges.get(key) != one),
            tuple(one for key, one in upstreams.items() if self._upstreams.get(key) != one),
            tuple(key for key in self._upstreams if key not in upstreams),
            seen.dropped_log_lines,
        )
        self._shares, self._edges, self._upstreams = shares, edges, upstreams
        return news


def says_something(snapshot: Snapshot) -> bool:
    """Whether there is anything in it."""
    return bool(snapshot.shares or snapshot.edges or snapshot.upstreams or snapshot.gone)
