"""Whether a new release is well: the hub answers, as the new release; what worked before works again. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from hardware.update.machine import Before


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen of the gateway at one moment."""

    version: str = ""
    """Of the hub that answered through its broker; empty: none did."""
    pid: int = 0
    mappers: tuple[str, ...] = ()
    """Those that have a connection which works."""
    cloud: bool = False
    """Whether the cloud is reached."""
    ended: str = ""
    """How the hub ended, if it is not there now because it did; of a hub that systemd runs."""
    restarts: int = 0
    """How often systemd has started it anew after it had ended."""

    @property
    def before(self) -> Before:
        """The same as what must work again."""
        return Before(self.mappers, self.cloud)


class Verdict(StrEnum):
    """What is to be thought of it so far."""

    WAIT = "wait"
    WELL = "well"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Trial:
    """One start of a new release under the eyes of the gate. Times are seconds of a clock that only rises."""

    version: str
    """What the hub must say; empty: whatever it says."""
    before: Before
    ends_at_s: float
    """When it must be well."""
    settle_s: float
    """So long it must be well without a break, as one process."""
    restarts: int | None = None
    """As many as there were before it."""
    well_since_s: float | None = None
    pid: int = 0
    why: str = "it was not looked at"
    """What is missing."""


def looked(trial: Trial, facts: Facts, now_s: float) -> tuple[Trial, Verdict]:
    """Take in one look."""
    if facts.ended or facts.restarts > (facts.restarts if trial.restarts is None else trial.restarts):
        return replace(trial, why=facts.ended or "its hub ended, and was started again"), Verdict.BAD
    trial = replace(trial, restarts=facts.restarts)
    why = "; ".join(missing(trial, facts))
    if why:
        trial = replace(trial, well_since_s=None, why=why)
        return trial, Verdict.BAD if now_s >= trial.ends_at_s else Verdict.WAIT
    if trial.well_since_s is None or facts.pid != trial.pid:
        if trial.well_since_s is not None and now_s >= trial.ends_at_s:
            return replace(trial, why="its hub starts again and again"), Verdict.BAD
        trial = replace(trial, well_since_s=now_s, pid=facts.pid, why="its hub starts again and again")
    since_s = trial.well_since_s if trial.well_since_s is not None else now_s
    if now_s - since_s >= trial.settle_s:
        return trial, Verdict.WELL
    # What became well just before the end still gets the time to settle.
    return trial, Verdict.BAD if now_s >= trial.ends_at_s + trial.settle_s else Verdict.WAIT


def missing(trial: Trial, facts: Facts) -> Iterator[str]:
    """What a release lacks to be well."""
    if not facts.version:
        yield "its hub does not answer through its broker"
        return
    if trial.version not in ("", facts.version):
        yield f"the hub that answers is {facts.version}, not {trial.version}"
    if lost := sorted(set(trial.before.mappers) - set(facts.mappers)):
        yield f"mappers that worked before do not: {', '.join(lost)}"
    if trial.before.cloud and not facts.cloud:
        yield "the cloud was reached before, and is not now"
