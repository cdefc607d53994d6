"""Which endpoint is asked next whether it lives, and what to make of the answers. Pure; health.py asks.

An endpoint that several ports have, with the same check, is asked once for all of them. Nothing is said of one until
its answers have reached a threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random
from typing import Final

from mesh.model.policies import HealthCheck
from mesh.model.programme import BackendGroup
from mesh.model.services import Endpoint, PortKey, Transport

JITTER: Final = 0.1
"""Intervals are longer or shorter by up to this share, so that probes do not go in step."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked, and how."""

    address: str
    port: int
    check: HealthCheck


@dataclass(frozen=True, slots=True)
class Finding:
    """An endpoint of a port that was found to live, or not."""

    port: PortKey
    place: str
    alive: bool


class _Asked:
    __slots__ = ("alive", "bad", "due_s", "good", "ports", "running")

    def __init__(self) -> None:
        self.ports: dict[PortKey, str] = {}
        self.alive: bool | None = None
        self.good = 0
        self.bad = 0
        self.due_s = 0.0
        self.running = False


class Probes:
    """All probes: when each is due, and what was found."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._asked: dict[Probe, _Asked] = {}
        self._by_port: dict[PortKey, dict[Probe, str]] = {}
        self._due: list[tuple[float, int, Probe]] = []
        self._number = 0

    def __len__(self) -> int:
        return len(self._asked)

    def follow(self, changed: Iterable[BackendGroup], gone: Iterable[PortKey], now_s: float) -> list[Finding]:
        """Take what is new or other. Returns what is known of it already, and what is no more held to be dead."""
        findings: list[Finding] = []
        for group in changed:
            wanted = dict(_wanted(group))
            places = {endpoint.place for endpoint in group.endpoints}
            before = self._by_port.get(group.key, {})
            left = self._leave(group.key, [probe for probe in before if probe not in wanted])
            told = {finding.place: finding for finding in left if finding.place in places}
            for probe, place in wanted.items():
                told |= {
                    one.place: one for one in self._join(group.key, probe, place, now_s) if before.get(probe) is None
                }
            findings += told.values()
            if wanted:
                self._by_port[group.key] = wanted
            else:
                self._by_port.pop(group.key, None)
        for key in gone:
            self._leave(key, list(self._by_port.pop(key, {})))
        return findings

    def due(self, now_s: float, most: int) -> list[Probe]:
        """What is to be asked now, no more than so many; what is over that is late, not lost."""
        found: list[Probe] = []
        while self._due and len(found) < most and self._due[0][0] <= now_s:
            at_s, _, probe = heappop(self._due)
            asked = self._asked.get(probe)
            if asked is not None and asked.due_s == at_s and not asked.running:
                asked.running = True
                found.append(probe)
        return found

    def next_s(self) -> float | None:
        """When the next one is due; None: there is none."""
        return self._due[0][0] if self._due else None

    def answered(self, probe: Probe, good: bool, now_s: float) -> list[Finding]:
        """What an answer changes."""
        asked = self._asked.get(probe)
        if asked is None or not asked.running:
            return []  # it was asked before it went away and came back
        asked.running = False
        spread = 1 + JITTER * (2 * self._rng.random() - 1)
        self._push(now_s + probe.check.interval_ms / 1000 * spread, probe, asked)
        if good:
            asked.good, asked.bad = asked.good + 1, 0
        else:
            asked.good, asked.bad = 0, asked.bad + 1
        # The first good answer is enough for one of which nothing is known yet: it is in use anyway.
        enough = asked.good >= probe.check.healthy or (asked.good and asked.alive is None)
        if enough or asked.bad >= probe.check.unhealthy:
            alive = bool(asked.good)
            if alive is not asked.alive:
                asked.alive = alive
                return [Finding(port, place, alive) for port, place in asked.ports.items()]
        return []

    def findings(self) -> list[Finding]:
        """All that is known."""
        return [
            Finding(port, place, asked.alive)
            for asked in self._asked.values()
            if asked.alive is not None
            for port, place in asked.ports.items()
        ]

    def _join(self, key: PortKey, probe: Probe, place: str, now_s: float) -> list[Finding]:
        asked = self._asked.get(probe)
        if asked is None:
            asked = self._asked[probe] = _Asked()
            self._push(now_s + self._rng.random() * probe.check.interval_ms / 1000, probe, asked)
        asked.ports[key] = place
        return [] if asked.alive is None else [Finding(key, place, asked.alive)]

    def _leave(self, key: PortKey, probes: Iterable[Probe]) -> list[Finding]:
        """Ask no more for this port. What was held to be dead is so no longer, for nobody will see it come back."""
        freed = []
        for probe in probes:
            asked = self._asked[probe]
            place = asked.ports.pop(key)
            if asked.alive is False:
                freed.append(Finding(key, place, True))
            if not asked.ports:
                del self._asked[probe]
        return freed

    def _push(self, at_s: float, probe: Probe, asked: _Asked) -> None:
        self._number += 1
        asked.due_s = at_s
        heappush(self._due, (at_s, self._number, probe))
        if len(self._due) > 2 * len(self._asked) + 64:  # mostly of probes that are gone
            self._due = [one for one in self._due if one[2] in self._asked]
            heapify(self._due)


def _wanted(group: BackendGroup) -> Iterator[tuple[Probe, str]]:
    """The endpoints that are asked: those reached directly, for what is behind a tunnel its own gateway looks after."""
    check = group.policy.health_check
    if check is None or group.key.transport is Transport.UDP:
        return
    for endpoint in group.endpoints:
        if not endpoint.via:
            yield _probe(endpoint, check), endpoint.place


def _probe(endpoint: Endpoint, check: HealthCheck) -> Probe:
    return Probe(endpoint.address, endpoint.port, check)
