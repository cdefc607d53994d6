"""A mesh without an owner: its table comes from a store that is watched, what becomes of it goes to events."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random
from typing import Final

from mesh.difference import table_difference
from mesh.errors import InvalidTable
from mesh.frames import Alerted, Asked, FromMesh, Health, Programmed, Whole
from mesh.live import Live
from mesh.model.table import Table
from mesh.settings import Settings
from mesh.store import Events, RouteStore
from mesh.workers import Workers

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5


class Alone:
    """One mesh from one store."""

    def __init__(
        self, settings: Settings, store: RouteStore, events: Events, clock: Callable[[], float], rng: Random
    ) -> None:
        self._store = store
        self._events = events
        self._live = Live(settings, clock, rng, self._heard)
        self._workers = Workers(self._live, settings, clock)
        self._number = 0

    async def open(self) -> None:
        """Take the table, or the last good one, and be there for clients. Raises InvalidTable if there is neither."""
        try:
            table = self._store.load()
        except InvalidTable as error:
            good = self._store.last_good()
            if good is None:
                raise
            log.error("%s. The last good copy is used", error)
            table = good
        ready = await self._live.open()
        self._take(table)
        if ready.dns:
            log.info("Names are answered at %s", ", ".join(ready.dns))

    async def run(self) -> None:
        """Follow the store, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._live.run())
            tasks.create_task(self._workers.run())
            tasks.create_task(self._watch())

    async def close(self) -> None:
        """Let no more clients in, and end what is open after a moment."""
        await self._live.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._store.changed():
                try:
                    self._take(self._store.load())
                    log.info("The table was changed and is taken")
                except InvalidTable as error:
                    log.error("%s", error)

    def _take(self, table: Table) -> None:
        self._number += 1
        self._live.took(Whole(number=self._number, table=table_difference(Table(), table)))

    def _heard(self, frame: FromMesh) -> None:
        match frame:
            case Programmed(problems=problems) if problems is not None:
                self._events.programmed(problems)
            case Health(votes=votes):
                self._events.health(votes)
            case Alerted(alerts=alerts):
                self._events.alerted(alerts)
            case Asked(services=services):
                self._events.asked(services)
