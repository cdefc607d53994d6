"""What twins of services and routes are told: at once what changed, rates now and then, so that no sync is flooded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
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
        self._told: dict[TwinKey, dict[str, Value]] = {}
        self._rates_s: dict[TwinKey, float] = {}
        self._refused: set[TwinKey] = set()

    def forget(self) -> None:
        """Twins were made anew: all of them are told everything again."""
        self._told.clear()

    def keep(self, subjects: Iterable[Subject]) -> None:
        """These are all that there are."""
        kept = {twin_key(one, self._gateway) for one in subjects}
        for gone in self._told.keys() - kept:
            del self._told[gone]
            self._rates_s.pop(gone, None)

    def report(
        self, subjects: Iterable[Subject], twin_of: Callable[[Subject], RouteTwin], now_s: float, at_ms: int
    ) -> None:
        """Tell the twins of these what is worth it."""
        left = RATES_AT_ONCE
        for subject in subjects:
            key = twin_key(subject, self._gateway)
            if key not in self._engine:
                continue  # it is made when the documents are projected, and everything is told then
            told = self._told.get(key, {})
            due = left > 0 and now_s - self._rates_s.get(key, 0.0) >= RATES_EVERY_S
            new = changed(told, twin_of(subject), rates=due)
            if not new:
                continue
            if "rates" in new:
                left -= 1
                self._rates_s[key] = now_s
            self._told[key] = {**told, **new}
            outcome = self._engine.report(key, new, {}, at=at_ms, by=REPORTER)
            if outcome.refused is not None and key not in self._refused:
                self._refused.add(key)
                log.error("what %s is told is refused: %s", key, outcome.refused.message)
