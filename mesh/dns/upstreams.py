"""Whom we ask for other people's names: who they are, and which of them answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mesh.dns.places import Place, nameservers

log = logging.getLogger(__name__)

MAX_UPSTREAMS: Final = 8
FAILURES: Final = 3
"""So many time-outs one after the other, and a server counts as down."""
RETRY_S: Final = 1.0
"""A server that is down gets one question in this time, so that it is used again as soon as it is back."""
FIRST_TIMEOUT_S: Final = 0.6
MIN_TIMEOUT_S: Final = 0.6
MAX_TIMEOUT_S: Final = 1.5
LOOK_S: Final = 1.0
"""How often resolv.conf is looked at, when there is a question."""


@dataclass(slots=True)
class Upstream:
    """One server. Times are seconds of the monotonic clock."""

    place: Place
    failures: int = 0
    down: bool = False
    loops: bool = False
    """Its questions come back to us."""
    smoothed_s: float = 0
    _next_try_s: float = field(default=0, repr=False)

    def timeout_s(self) -> float:
        """How long to wait for it: a few times what it usually takes."""
        if not self.smoothed_s:
            return FIRST_TIMEOUT_S
        return min(max(4 * self.smoothed_s, MIN_TIMEOUT_S), MAX_TIMEOUT_S)

    def answered(self, took_s: float) -> None:
        """It is there."""
        if self.down:
            log.info("DNS server %s answers again", self.place)
        self.failures, self.down = 0, False
        self.smoothed_s = took_s if not self.smoothed_s else 0.75 * self.smoothed_s + 0.25 * took_s

    def failed(self, now_s: float, reason: str, *, unreachable: bool) -> None:
        """It did not answer. ``unreachable``: the network or the machine said so, and there is nothing to wait for."""
        self.failures += 1
        if not self.down and (unreachable or self.failures >= FAILURES):
            self.down = True
            log.warning("DNS server %s does not answer: %s", self.place, reason)
        self._next_try_s = now_s + RETRY_S

    def is_due(self, now_s: float) -> bool:
        """Whether it may be tried though it is down."""
        return now_s >= self._next_try_s

    def try_now(self, now_s: float) -> None:
        """Somebody tries it: all others wait for what comes of it."""
        self._next_try_s = now_s + RETRY_S


class Upstreams:
    """The servers, best first; those of a resolv.conf follow the file."""

    def __init__(self, fixed: Iterable[Place], resolv_conf: Path, ourselves: Callable[[], Collection[Place]]) -> None:
        self._fixed = tuple(fixed)
        self._resolv_conf = resolv_conf
        self._ourselves = ourselves
        self._seen: object = None
        self._looked_s = float("-inf")
        self._all: dict[Place, Upstream] = {}

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._all.values())

    def refresh(self, now_s: float) -> bool:
        """Look whether the servers are others now; a file that was written again counts, for the network is new."""
        if now_s - self._looked_s < LOOK_S:
            return False
        self._looked_s = now_s
        seen = self._fixed or self._stamp()
        if seen == self._seen:
            return False
        self._seen = seen
        places = [place for place in self._fixed or self._read() if place not in self._ourselves()]
        self._all = {place: Upstream(place) for place in places[:MAX_UPSTREAMS]}
        log.info("names that are not ours are asked of %s", ", ".join(map(str, self._all)) or "nobody")
        return True

    def order(self, now_s: float) -> list[Upstream]:
        """Whom to ask one after the other. Where all are down: those whose turn it is to be tried; perhaps none."""
        usable = [one for one in self._all.values() if not one.loops]
        return [one for one in usable if not one.down] or [one for one in usable if one.is_due(now_s)]

    def _stamp(self) -> object:
        try:
            stat = self._resolv_conf.stat()
        except OSError:
            return "missing"
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self) -> list[Place]:
        try:
            return nameservers(self._resolv_conf.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            log.warning("%s cannot be read: %s. Name servers may be given in the settings", self._resolv_conf, error)
            return []
