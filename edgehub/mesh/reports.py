"""What twins of services and routes are told: at once what changed, rates now and then, so that no sync is flooded."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from typing import Final

from edgehub.mesh.twins import changed, twin_key
from mesh.problems import Subject
from twin.engine import TwinEngine
from twin.model import TwinKey, Value
from twin.wire.mesh import RouteTwin

log = logging.getLogger(__name__)

REPORTER: Final = "hub"
RATES_EVERY_S: Final = 5.0
"""Of one twin."""
RATES_AT_ONCE: Final = 20
"""Rates that are reported in one round, of all twins."""


class Reports:
    """The reports of one gateway's services and routes."""

    def __init__(self, engine: TwinEngine, gateway: str) -> None:
        self._engine = engine
        self._gateway = gateway
        self._told: dict[TwinKey, _Told] = {}
        self._refused: set[TwinKey] = set()

    def keep(self, subjects: Iterable[Subject]) -> list[Subject]:
        """These are all that there are; returns those whose twins were told nothing yet."""
        keys = {twin_key(one, self._gateway): one for one in subjects}
        self._told = {key: told for key, told in self._told.items() if key in keys and self._is_same_life(key, told)}
        return [one for key, one in keys.items() if key not in self._told]

    def rates_due(self, subjects: Iterable[Subject], now_s: float) -> list[Subject]:
        """Of these the ones whose rates may be told now, those that have waited longest first; a few at a time."""
        waiting = []
        for one in subjects:
            told = self._told.get(twin_key(one, self._gateway))
            if told is not None and now_s - told.rates_s >= RATES_EVERY_S:
                waiting.append((told.rates_s, one))
        return [one for _, one in heapq.nsmallest(RATES_AT_ONCE, waiting, key=lambda pair: pair[0])]

    def report(
        self,
        subjects: Iterable[Subject],
        rates: Container[Subject],
        twin_of: Callable[[Subject], RouteTwin],
        now_s: float,
        at_ms: int,
    ) -> None:
        """Tell the twins of these what is worth it; the rates of those in ``rates`` too."""
        for subject in subjects:
            key = twin_key(subject, self._gateway)
            if key not in self._engine:
                continue  # it is made when the documents are projected, and everything is told then
            told = self._told.get(key)
            if told is None or not self._is_same_life(key, told):
                told = self._told[key] = _Told(self._engine.spec(key).uid, {}, now_s)
            new = changed(told.values, twin_of(subject), rates=subject in rates)
            if subject in rates:
                told.rates_s = now_s
            if not new:
                continue
            told.values.update(new)
            outcome = self._engine.report(key, new, {}, at=at_ms, by=REPORTER)
            if outcome.refused is not None and key not in self._refused:
                self._refused.add(key)
                log.error("what %s is told is refused: %s", key, outcome.refused.message)

    def _is_same_life(self, key: TwinKey, told: _Told) -> bool:
        return key in self._engine and self._engine.spec(key).uid == told.uid


@dataclass(slots=True)
class _Told:
    uid: str
    values: dict[str, Value]
    rates_s: float
