"""Takes the steps that the machine names, one after another, and keeps the record on disk between them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from hardware.errors import BundleRefused, InvalidKey, UpdateBusy, UpdateFailed
from hardware.update import gate, machine
from hardware.update.backend import Backend, Standing, Told
from hardware.update.gate import Facts, Trial, Verdict
from hardware.update.machine import Record, Stage, Step, Wanted
from twin.clock import Clock
from twin.errors import LinkError
from twin.release import ReleaseReport, ReleaseState

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0


class Bundles(Protocol):
    """Where bundles come from."""

    def fetch(self, wanted: Wanted, told: Told) -> Path:
        """The bundle, whole and with the hash that was asked for; from where an earlier try ended.

        Raises LinkError if it cannot be had now, UpdateFailed if it never can.
        """

    def path(self, wanted: Wanted) -> Path:
        """Where a bundle that was fetched lies."""

    def clear(self) -> None:
        """Remove all bundles and parts of them."""


class Kept(Protocol):
    """Where the record is kept."""

    def load(self) -> Record:
        """The record."""

    def save(self, record: Record) -> None:
        """Put it on disk. Raises UpdateFailed."""

    def tell(self, record: Record, standing: Standing) -> None:
        """Say it to whoever asks."""

    def told(self) -> ReleaseReport | None:
        """What was said last."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a new release has to be well, and for how long it must be so."""

    trial_s: float
    settle_s: float


@dataclass(frozen=True, slots=True)
class World:
    """What an updater needs of the world besides its back end."""

    records: Kept
    bundles: Bundles
    probe: Callable[[], Facts]
    clock: Clock
    sleep: Callable[[float], None]
    told: Callable[[Record, int, int], None]
    """Of each state, and of bytes done and their number where there are any."""
    alive: Callable[[], None] = lambda: None
    """A sign of life, for what leaves a release on trial whose own updater does not work."""


class Updater:
    """One update at a time; the caller holds the lock. Whatever ends it, the next one goes on."""

    def __init__(self, backend: Backend, world: World, patience: Patience) -> None:
        self._backend = backend
        self._world = world
        self._patience = patience
        self._seen: Standing | None = None
        """What runs, as far as it was asked for since the last step."""

    def alive(self) -> None:
        """Give a sign of life."""
        self._world.alive()

    def look(self) -> Record:
        """The record, with what happened while nobody looked."""
        record = self._world.records.load()
        self._seen = None
        now = machine.seen(record, self._standing(), self._now_ms())
        self._world.alive()
        return self._keep(now) if now != record else self._tell(record)

    def want(self, wanted: Wanted) -> Record:
        """Begin an update; ``run`` carries it out. Raises UpdateBusy while one is being laid out or tried."""
        record = self.look()
        if not machine.may_want(record):
            assert record.wanted is not None
            message = f"{record.wanted.version} is being installed or tried"
            raise UpdateBusy(message, remedy="`edgetwin hardware update status` shows how far it is.")
        return self._keep(machine.want(record, wanted, self._standing(), self._now_ms()))

    def go_back(self) -> Record:
        """Begin to go back to the release from before; ``run`` carries it out. Raises UpdateFailed if there is none."""
        record, standing = self.look(), self._standing()
        if record.state.settled and not standing.before:
            message = "there is no release from before to go back to"
            raise UpdateFailed(message, remedy="Install one with `edgetwin hardware update install --older VERSION`.")
        return self._keep(machine.back_asked(record, standing, self._now_ms()))

    def give_up(self, why: str) -> Record:
        """End what is only being fetched."""
        record = self.look()
        if record.state is ReleaseState.DOWNLOADING:
            record = self._keep(machine.ended(record, ReleaseState.FAILED, why, self._now_ms()))
            self._world.bundles.clear()
        return record

    def run(self) -> Record:
        """Go on until there is nothing to do, or the bundle cannot be had now: then the record is not settled.

        Raises UpdateFailed for what may go better later, such as a full disk. The record stands then.
        """
        record = self.look()
        while (step := machine.next_step(record, self._standing())) is not Step.REST:
            if step is Step.CONFIRM:
                self._backend.confirm()
                self._seen = None
                return self._tell(record)
            try:
                record = self._after(step, record)
            except LinkError as error:
                return self._keep(machine.waits(record, error.message))
            self._seen = None
            self._keep(record)
            if record.state.settled:
                self._world.bundles.clear()
        return record

    def _after(self, step: Step, record: Record) -> Record:
        """Take a step; what the record is then. Raises LinkError if the bundle cannot be had now."""
        assert record.wanted is not None
        match step:
            case Step.FETCH | Step.INSTALL:
                try:
                    return self._fetched(record, record.wanted) if step is Step.FETCH else self._laid_out(record)
                except (BundleRefused, InvalidKey) as error:
                    return machine.ended(record, ReleaseState.REFUSED, error.message, self._now_ms())
                except UpdateFailed as error:
                    return machine.ended(record, ReleaseState.FAILED, error.message, self._now_ms())
            case Step.SWITCH:
                return self._switched(record, record.wanted)
            case Step.RESTART:
                try:
                    self._backend.restart()
                except UpdateFailed as error:  # the gate sees what came of it
                    log.warning("%s", error)
                return machine.restarted(record)
            case Step.AGAIN:
                try:
                    self._backend.again()
                except UpdateFailed as error:  # as above
                    log.warning("%s", error)
                return machine.restarted(record)
            case Step.BACK:
                self._backend.activate(record.back_to)
                return machine.back_switched(record)
            case Step.BACK_RESTART:
                self._backend.restart()
                return machine.went_back(record, self._backend.standing(), self._now_ms())
            case _:
                return self._judged(record, record.wanted)

    def _fetched(self, record: Record, wanted: Wanted) -> Record:
        path = self._world.bundles.fetch(wanted, lambda done, of: self._world.told(record, done, of))
        manifest = self._backend.check(path, wanted.older)
        if manifest.version != wanted.version:
            message = f"the bundle is of {manifest.version}, {wanted.version} was asked for"
            raise BundleRefused(message, remedy="Name the version that the bundle has.")
        return machine.fetched(record, self._world.probe().before, self._now_ms())

    def _laid_out(self, record: Record) -> Record:
        assert record.wanted is not None
        path = self._world.bundles.path(record.wanted)
        self._backend.install(path, lambda done, of: self._world.told(record, done, of))
        return machine.installed(record, self._backend.standing(), self._now_ms())

    def _switched(self, record: Record, wanted: Wanted) -> Record:
        try:
            self._backend.activate(wanted.version)
        except UpdateFailed as error:  # perhaps half of it was done
            return machine.gives_up(record, error.message)
        return machine.switched(record, self._backend.standing())

    def _judged(self, record: Record, wanted: Wanted) -> Record:
        standing = self._standing()
        if standing.version != wanted.version:
            return machine.not_started(record, f"{standing.version} runs, it was not started")
        now_s = self._world.clock.monotonic_s()
        trial = Trial(standing.program, record.before, now_s + self._patience.trial_s, self._patience.settle_s)
        while True:
            self._world.alive()
            trial, verdict = gate.looked(trial, self._world.probe(), self._world.clock.monotonic_s())
            if verdict is Verdict.WELL:
                try:
                    self._backend.confirm()
                except UpdateFailed as error:
                    return machine.judged_bad(record, error.message)
                return machine.judged_well(record, self._now_ms())
            if verdict is Verdict.BAD:
                return machine.judged_bad(record, trial.why)
            self._world.sleep(LOOK_S)

    def _keep(self, record: Record) -> Record:
        self._world.records.save(record)
        if record.state is not ReleaseState.TRYING or record.stage is not Stage.JUDGE:
            log.info("%s", _line(record))
        self._world.told(record, 0, 0)
        return self._tell(record)

    def _tell(self, record: Record) -> Record:
        self._world.records.tell(record, self._standing())
        return record

    def _standing(self) -> Standing:
        """What runs, asked for once a step: of images that is a process each time, which a slow board has to start."""
        if self._seen is None:
            self._seen = self._backend.standing()
        return self._seen

    def _now_ms(self) -> int:
        return self._world.clock.now_us() // 1000


def _line(record: Record) -> str:
    words = [f"release {record.wanted.version}: {record.state}" if record.wanted else str(record.state)]
    if record.state is ReleaseState.TRYING:
        words.append(f"{record.stage}, try {record.tries}")
    return ", ".join([*words, *([record.reason] if record.reason else [])])
