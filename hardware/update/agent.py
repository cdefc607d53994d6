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
GLANCES: Final = 30
"""Turns without anything new after which all is looked at all the same: to ask RAUC costs more than to see a file."""


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
        self._wait_s = IDLE_S
        self._began = ""
        self._resting: object = None
        """What was there when there was nothing to do; None: there is something."""
        self._glances = 0

    def run(self) -> None:
        """Serve until another release than at the start is confirmed: whoever starts the service then starts that."""
        while not self._ends():
            self._sleep(self._wait_s)

    def _ends(self) -> bool:
        """Do what there is to do; whether that was the last. ``_wait_s`` is how long to wait else."""
        self._wait_s = IDLE_S
        try:
            if self._rests():
                return False
            with self._records.locked():
                return self._looked()
        except UpdateBusy:  # by the command line; what it leaves undone is found here
            self._updater.alive()
        except EdgetwinError as error:
            log.error("%s", error)
            self._wait_s += self._backoff.next_s()
        return False

    def _rests(self) -> bool:
        """Whether nothing was asked for and nobody else was at work since the last look."""
        self._glances += 1
        if self._resting is None or self._glances >= GLANCES or self._resting != self._signs():
            return False
        self._updater.alive()
        return True

    def _signs(self) -> object:
        return self._wanted(), self._records.stamp()

    def _looked(self) -> bool:
        self._resting, self._glances = None, 0
        self._began = self._began or self._backend.standing().version
        record, standing = self._once(), self._backend.standing()
        if standing.confirmed and standing.version != self._began:
            log.info("release %s is confirmed; the updater ends, to be started from it", standing.version)
            return True
        if record.state.settled:
            self._backoff.reset()
            self._resting = self._signs() if standing.confirmed else None
        else:
            self._wait_s += self._backoff.next_s()
        return False

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
