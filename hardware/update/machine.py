"""What comes next in an update. Pure: the record, what runs, and the time go in; the next record or step comes out.

    idle ──wanted──> downloading ──> installing ──> trying: switch ─> restart ─> judge ──> healthy
                          │               │                                ^       │
                          ├─> refused <───┤                                └ again ┤
                          └─> failed  <───┘        rolled_back <─ back_restart <─ back

What nobody asked this for, a slot that somebody switched to by other means, is judged as if it had just been started.

The record is on disk before the step that it names is taken, and each step may be taken twice. So whatever ends the
updater, at any moment, the next one goes on from the record and from what it sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from hardware.update.backend import Standing
from twin.release import ReleaseState

MAX_TRIES: Final = 3
"""Starts of a new release, between its installation and its confirmation: of the machine, or of its hub alone."""


class Stage(StrEnum):
    """Where a trial is."""

    SWITCH = "switch"
    RESTART = "restart"
    AGAIN = "again"
    JUDGE = "judge"
    BACK = "back"
    BACK_RESTART = "back_restart"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The bundle that is to be installed: of the cloud with an address, or a file of this machine."""

    version: str
    sha256: str
    size_bytes: int
    url: str = ""
    file: str = ""
    older: str = ""
    """An older version that somebody on the gateway has named, to go back to it."""
    order: str = ""
    """The cloud's name of its wish; the same release wished again has another."""


@dataclass(frozen=True, slots=True)
class Before:
    """What worked before the update, and so must work after it."""

    mappers: tuple[str, ...] = ()
    cloud: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """All that is remembered of an update. ``at`` is the last change of state, milliseconds since 1970."""

    state: ReleaseState = ReleaseState.IDLE
    wanted: Wanted | None = None
    reason: str = ""
    at: int = 0
    stage: Stage = Stage.SWITCH
    tries: int = 0
    boot: str = ""
    """The start of the machine in which the stage began."""
    back_to: str = ""
    before: Before = Before()
    runs: Wanted | None = None
    """The last release that was ordered and proved itself."""


class Step(StrEnum):
    """What is to be done next."""

    FETCH = "fetch"
    INSTALL = "install"
    SWITCH = "switch"
    RESTART = "restart"
    AGAIN = "again"
    JUDGE = "judge"
    BACK = "back"
    BACK_RESTART = "back_restart"
    CONFIRM = "confirm"
    """What runs needs no trial, and is not what starts next; or there is nothing else that could run."""
    REST = "rest"


_STEPS: Final = {ReleaseState.DOWNLOADING: Step.FETCH, ReleaseState.INSTALLING: Step.INSTALL}


def next_step(record: Record, standing: Standing) -> Step:
    """What is to be done."""
    if record.state is ReleaseState.TRYING:
        return Step(record.stage)
    if record.state in _STEPS:
        return _STEPS[record.state]
    return Step.REST if standing.confirmed else Step.CONFIRM


def seen(record: Record, standing: Standing, now_ms: int) -> Record:
    """Take in what happened while no updater ran: the machine was started anew, or the boot loader went back."""
    runs = record.wanted is not None and standing.version == record.wanted.version
    if record.state is ReleaseState.INSTALLING and runs:
        trying = _to(record, ReleaseState.TRYING, now_ms, record.reason)
        return replace(trying, stage=Stage.JUDGE, tries=1, boot=standing.boot)
    if record.state.settled:
        return _unasked(record, standing, now_ms)
    if record.state is not ReleaseState.TRYING or standing.boot == record.boot:
        return record
    if record.stage in (Stage.BACK, Stage.BACK_RESTART):
        return replace(record, boot=standing.boot) if runs else went_back(record, standing, now_ms)
    if not runs:
        if record.stage is Stage.SWITCH:
            return replace(record, boot=standing.boot)
        silent = f"it, or its updater, did not come up in {MAX_TRIES} starts, the boot loader took the other release"
        return went_back(replace(record, reason=record.reason or silent), standing, now_ms)
    if record.stage in (Stage.RESTART, Stage.AGAIN):  # the start that was asked for; its try is counted already
        return replace(record, stage=Stage.JUDGE, boot=standing.boot)
    why = record.reason or "the machine was started anew before it was well"
    return _tried(replace(record, stage=Stage.JUDGE, boot=standing.boot), why)


def want(record: Record, wanted: Wanted, standing: Standing, now_ms: int) -> Record:
    """Begin an update, or take the new wish instead of one that is still being fetched. Later it has to wait."""
    if not may_want(record):
        return record
    if wanted.version == standing.version and standing.confirmed:
        runs = wanted if wanted.url else record.runs
        return Record(ReleaseState.HEALTHY, wanted, at=now_ms, runs=runs)  # it runs already
    return Record(ReleaseState.DOWNLOADING, wanted, at=now_ms, runs=record.runs)


def may_want(record: Record) -> bool:
    """Whether another release may be wanted now."""
    return record.state.settled or record.state is ReleaseState.DOWNLOADING


def is_new(record: Record, wanted: Wanted) -> bool:
    """Whether a wish of the cloud is another one than what was done last; what went wrong is not tried for ever."""
    last = record.wanted
    return last is None or (last.version, last.sha256, last.order) != (wanted.version, wanted.sha256, wanted.order)


def waits(record: Record, why: str) -> Record:
    """The bundle cannot be had right now."""
    return replace(record, reason=why)


def fetched(record: Record, before: Before, now_ms: int) -> Record:
    """The bundle is here and proven; ``before`` is what works now."""
    return replace(_to(record, ReleaseState.INSTALLING, now_ms), before=before)


def installed(record: Record, standing: Standing, now_ms: int) -> Record:
    """The release lies beside what runs."""
    trying = _to(record, ReleaseState.TRYING, now_ms)
    return replace(trying, stage=Stage.SWITCH, tries=0, boot=standing.boot, back_to=standing.version)


def switched(record: Record, standing: Standing) -> Record:
    """The next start takes the new release; that start is counted before it happens."""
    return replace(record, stage=Stage.RESTART, tries=record.tries + 1, boot=standing.boot)


def restarted(record: Record) -> Record:
    """The new release was started, and this process lives on."""
    return replace(record, stage=Stage.JUDGE)


def judged_bad(record: Record, why: str) -> Record:
    """The new release runs and is not well: its hub once more, or back."""
    return _tried(replace(record, stage=Stage.AGAIN), why)


def not_started(record: Record, why: str) -> Record:
    """The new release does not run at all: the whole restart once more, or back."""
    return _tried(replace(record, stage=Stage.RESTART), why)


def gives_up(record: Record, why: str) -> Record:
    """No more tries."""
    return replace(record, stage=Stage.BACK, reason=why)


def judged_well(record: Record, now_ms: int) -> Record:
    """The new release has proven itself, and is confirmed."""
    ordered = record.wanted is not None and record.wanted.url
    return replace(_to(record, ReleaseState.HEALTHY, now_ms), runs=record.wanted if ordered else None)


def back_asked(record: Record, standing: Standing, now_ms: int) -> Record:
    """Somebody wants what ran before. What is only being fetched or laid out is given up; nothing was switched then."""
    why = "somebody asked for the release from before"
    if record.state is ReleaseState.TRYING:
        return gives_up(record, why)
    if not record.state.settled:
        return ended(record, ReleaseState.FAILED, "somebody gave it up", now_ms)
    wanted = record.wanted if record.wanted and record.wanted.version == standing.version else None
    going = wanted or Wanted(standing.version, "", 0)
    back = Record(ReleaseState.TRYING, going, why, now_ms, boot=standing.boot, back_to=standing.before)
    return replace(back, stage=Stage.BACK, runs=record.runs)


def back_switched(record: Record) -> Record:
    """The next start takes what ran before."""
    return replace(record, stage=Stage.BACK_RESTART)


def went_back(record: Record, standing: Standing, now_ms: int) -> Record:
    """What ran before runs again."""
    return replace(_to(record, ReleaseState.ROLLED_BACK, now_ms, record.reason), back_to=standing.version)


def ended(record: Record, state: ReleaseState, why: str, now_ms: int) -> Record:
    """It ends here: refused or failed, nothing was switched."""
    return _to(record, state, now_ms, why)


def _unasked(record: Record, standing: Standing, now_ms: int) -> Record:
    """The record, or the trial of what somebody switched to without the updater, if there is a way back from it."""
    went_back_to_it = record.state is ReleaseState.ROLLED_BACK and record.back_to == standing.version
    if standing.proven or not standing.before or went_back_to_it:
        return record
    wanted = Wanted(standing.version, "", 0)
    begun = Record(ReleaseState.TRYING, wanted, at=now_ms, before=record.before, runs=record.runs)
    return replace(begun, stage=Stage.JUDGE, tries=1, boot=standing.boot, back_to=standing.before)


def _tried(record: Record, why: str) -> Record:
    """One more try is over."""
    if record.tries >= MAX_TRIES:
        return gives_up(record, why)
    return replace(record, tries=record.tries + 1, reason=why)


def _to(record: Record, state: ReleaseState, now_ms: int, why: str = "") -> Record:
    return replace(record, state=state, at=now_ms, reason=why)
