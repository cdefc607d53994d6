"""A reading beside the one before it: whether it says anything new, and whether the history keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from twin.deadband import same
from twin.document import Slot
from twin.model import Quality, Reason, Value
from twin.resident import ResidentTwin
from twin.store import KeptReading, PushedReading
from twin.tick import Ticker
from twin.validate import Rule

if TYPE_CHECKING:
    from twin.outbound import Outlet  # memory that only gateways with pushes should pay


@dataclass(frozen=True, slots=True)
class PropertyMark:
    """Quality of a reading that is not good."""

    quality: Quality
    reason: Reason


def same_quality(last: Slot, mark: PropertyMark | None) -> bool:
    """Whether a reading has the quality of the last one; no mark is good."""
    if mark is None:
        return last.quality is Quality.GOOD
    return last.quality is mark.quality and last.reason is mark.reason


def unchanged(last: Slot, value: Value, at: int, rule: Rule) -> bool:
    """Whether the report policy holds a value back: within the deadband, and not due to be repeated.

    ``at`` is its time at the source in milliseconds.
    """
    if not same(last.value, value, rule.deadband):  # type: ignore[arg-type]  # a tombstone equals no value
        return False
    repeat_ms = rule.spec.report.max_interval_ms
    return not rule.spec.report.always and not (repeat_ms and abs(at - last.at) >= repeat_ms)


class TakenReport(NamedTuple):
    """A report that was taken: what changed a leaf has a greater tick than ``after``."""

    values: Mapping[str, Value]
    marks: Mapping[str, PropertyMark]
    times: Mapping[str, int]
    after: int
    at: int
    by: str

    def names(self, name: str) -> bool:
        """Whether it says anything of a property."""
        return name in self.values or name in self.marks


def kept_readings(twin: ResidentTwin, report: TakenReport, ticker: Ticker) -> Iterator[KeptReading]:
    """What a report brought for the history."""
    for name, unchanged_too in twin.kept.items():
        slot = twin.reported.get(name)
        if slot is None or not report.names(name):
            continue
        if slot.tick > report.after:
            yield KeptReading(twin.id, name, slot)
        elif unchanged_too and (again := _again(twin, name, slot, report, ticker)) is not None:
            yield KeptReading(twin.id, name, again)


def pushed_readings(
    twin: ResidentTwin, outlets: Mapping[str, tuple[Outlet, ...]], report: TakenReport, ticker: Ticker
) -> Iterator[PushedReading]:
    """What a report brought for pushes: each reading that is taken, also an unchanged one."""
    for name, ways in outlets.items():
        slot = twin.reported.get(name)
        if slot is None or not report.names(name):
            continue
        taken = slot if slot.tick > report.after else _again(twin, name, slot, report, ticker)
        if taken is not None:
            for way in ways:
                yield PushedReading(twin.spec.key, name, way, taken)


def _again(twin: ResidentTwin, name: str, slot: Slot, report: TakenReport, ticker: Ticker) -> Slot | None:
    """A reading that says what the twin holds already; None if it was refused."""
    if name not in report.values or twin.violation(name, report.values[name]):
        return None
    at = report.times.get(name, report.at)
    return slot._replace(value=report.values[name], tick=ticker.take(report.after), by=report.by, at=at)
