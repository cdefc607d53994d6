"""What the user has to know and see to, as one list; each alarm is logged once when it comes and once when it goes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from twin.engine import TwinEngine
from twin.sqlite_store import SqliteStore

log = logging.getLogger(__name__)

_SHOWN: Final = 5


class Alarms:
    """The alarms of a running gateway; ``start`` are those of its start, which stand until the next."""

    def __init__(self, engine: TwinEngine, store: SqliteStore, database: Path, *, start: tuple[str, ...]) -> None:
        self._engine = engine
        self._store = store
        self._database = database
        self._start = start
        self._clock_alarms: list[str] = []

    def now(self) -> list[str]:
        """All that stand now."""
        found = list(self._start)
        if self._store.lost:
            found.append(_damage(self._database, self._store.lost))
        if (failure := self._engine.failure) is not None:
            found.append(f"the store takes no changes: {failure.message}")
        return [*found, *self._of_the_clock()]

    def _of_the_clock(self) -> list[str]:
        alarms = self._engine.replica.clock_alarms()
        if alarms and not self._clock_alarms:
            log.warning("%s", "; ".join(alarms))  # the text says all
        elif self._clock_alarms and not alarms:
            log.info("the clock fits the ticks again")
        self._clock_alarms = alarms
        return alarms


def _damage(database: Path, lost: list[str]) -> str:
    named = ", ".join(lost[:_SHOWN]) + (f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else "")
    return (
        f"the disk has damaged {database.name}, which does without: {named}; set desired values again,"
        " reported ones come by themselves; look at the disk's health"
    )
