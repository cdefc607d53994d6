"""Clients that stay with the endpoint they were at last (sessionAffinity: ClientIP). The longest unseen go first."""

from __future__ import annotations

from typing import Final

from mesh.upstream import Target, Upstream

_MAX_CLIENTS: Final = 10_000


class Affinity:
    """Who is where, of one frontend."""

    def __init__(self, stay_s: int) -> None:
        self.stay_s = stay_s
        self._kept: dict[tuple[Upstream, str], tuple[Target, float]] = {}

    def target(self, upstream: Upstream, client: str, key: int | None, now_s: float) -> Target | None:
        """The endpoint of a client: the one it was at, if that is in use still and it was there lately."""
        name = (upstream, client)
        kept = self._kept.pop(name, None)
        usual = kept is not None and now_s < kept[1] and kept[0] in upstream.in_use(now_s)
        target = kept[0] if kept is not None and usual else upstream.pick(now_s, key)
        if target is not None:
            if len(self._kept) >= _MAX_CLIENTS:
                del self._kept[next(iter(self._kept))]
            self._kept[name] = (target, now_s + self.stay_s)
        return target
