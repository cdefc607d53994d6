"""A reading beside the one before it: whether it says anything new, and whether the history keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from twin.deadband import same
from twin.document import Slot
from twin.model import Quality, Reason, Value
from twin.resident import ResidentTwin
from twin.store import KeptReading
from twin.tick import Ticker
from twin.validate import Rule


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


def kept_readings(
    twin: ResidentTwin,
    values: Mapping[str, Value],
    marks: Mapping[str, PropertyMark],
    times: Mapping[str, int],
    *,
    after: int,
    at: int,
    by: str,
    ticker: Ticker,
) -> Iterator[KeptReading]:
    """What a report brought for the history; what changed a leaf has a greater tick than ``after``."""
    for name, unchanged_too in twin.kept.items():
        slot = twin.reported.get(name)
        if slot is None or not (name in values or name in marks):
            continue
        if slot.tick > after:
            yield KeptReading(twin.id, name, slot)
        elif unchanged_too and name in values and not twin.violation(name, values[name]):
            again = slot._replace(value=values[name], tick=ticker.take(after), by=by, at=times.get(name, at))
            yield KeptReading(twin.id, name, again)
