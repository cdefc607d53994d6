"""The updater as a service: does what the cloud wants, and goes on with what was begun and not finished."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from hardware.errors import UpdateBusy
from hardware.update import machine
from hardware.update.backend import Backend
from hardware.update.machine import Record, Wanted
from hardware.update.records import Records
from hardware.update.updater import Updater
from twin.errors import EdgetwinError
from twin.release import Release, ReleaseState

log = logging.getLogger(__name__)

IDLE_S: Final = 2.0


class Backoff(Protocol):
    """How long to wait after what went wrong."""

    def next_s(self) -> float:
        """Seconds to wait now."""

    def reset(self) -> None:
        """It went well."""


class Agent:
    """One service. ``wanted`` is what the cloud wants; ``sleep`` waits."""

    def __init__(
        self,
        backend: Backend,
        updater: Updater,
        records: Records,
        wanted: Callable[[], Release | None],
        sleep: Callable[[float], None],
        backoff: Backoff,
    ) -> None:
        self._backend = backend
        self._updater = updater
        self._records = records
        self._wanted = wanted
        self._sleep = sleep
        self._backoff = backoff

    def run(self) -> None:
        """Serve until another release than at the start is confirmed: whoever starts the service then starts that."""
        began = self._backend.standing().version
        while True:
            wait_s = self._turn()
            standing = self._backend.standing()
            if standing.confirmed and standing.version != began:
                log.info("release %s is confirmed; the updater ends, to be started from it", standing.version)
                return
            self._sleep(wait_s)

    def _turn(self) -> float:
        """Do what there is to do; how long to wait then."""
        try:
            with self._records.locked():
                record = self._once()
        except UpdateBusy:
            return IDLE_S  # by the command line; what it leaves undone is found here
        except EdgetwinError as error:
            log.error("%s", error)
            return IDLE_S + self._backoff.next_s()
        if not record.state.settled:
            return IDLE_S + self._backoff.next_s()
        self._backoff.reset()
        return IDLE_S

    def _once(self) -> Record:
        record = self._updater.look()
        release = self._wanted()
        if release is None:
            if record.state is ReleaseState.DOWNLOADING and record.wanted and record.wanted.url:
                return self._updater.give_up("it is wanted no more")
        elif machine.may_want(record) and machine.is_new(record, wanted := wanted_of(release)):
            self._updater.want(wanted)
        return self._updater.run()


def wanted_of(release: Release) -> Wanted:
    """What the cloud wants, as the machine says it."""
    return Wanted(release.version, release.sha256, release.size, url=release.url, order=release.order)
