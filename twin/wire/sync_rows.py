"""Rows of the feed and readings of the history, to columns of JSON and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

from twin.document import DELETED, Slot, SlotValue
from twin.errors import InvalidMessage, shown
from twin.exchange import Place, Row, SeriesReadings
from twin.history import Gap, Reading
from twin.model import PROPERTY, PROPERTY_RULE, Quality, Reason, Section, Site, TwinKey
from twin.wire.sync_bodies import MarkBody, PlaceBody, RowsBody, SeriesBody, TwinRowsBody

_LIMIT: Final = 2**63
_GOOD: Final = (Quality.GOOD, Reason.NONE)


def base_of(rows: Sequence[Row]) -> int:
    """The least tick, that the columns count from."""
    return min((row.slot.tick for row in rows), default=0)


def columns(rows: Iterable[Row], base: int) -> list[dict[str, Any]]:
    """Rows, twin by twin and writer by writer. Their order is lost; ticks give it back where it counts."""
    twins: dict[Place, dict[tuple[str, str], list[tuple[str, Slot]]]] = {}
    for row in rows:
        place, slot = (row.key, row.uid), row.slot
        twins.setdefault(place, {}).setdefault((_of(row), slot.by), []).append((row.property, slot))
    return [
        {
            "twin": str(key),
            **_given("uid", uid),
            "rows": [_part(of, by, slots, base) for (of, by), slots in parts.items()],
        }
        for (key, uid), parts in twins.items()
    ]


def rows_of(twins: Iterable[TwinRowsBody], base: int) -> Iterator[Row]:
    """The rows again. Raises InvalidMessage, InvalidName, ValueError."""
    for twin in twins:
        key = key_of(twin.twin)
        for part in twin.rows:
            section = Section.REPORTED if part.of == "reported" else Section.DESIRED
            site = Site.CLOUD if part.of == "cloud" else Site.EDGE
            for name, slot in _slots(part, base):
                yield Row(key, twin.uid, section, name, site, slot)


def place_body(place: Place) -> list[str]:
    """A place as it is written."""
    return [str(place[0]), place[1]]


def place_of(body: PlaceBody) -> Place:
    """A place as it was written. Raises InvalidName."""
    return key_of(body[0]), body[1]


def key_of(text: str) -> TwinKey:
    """A key, of which no part is left out. Raises InvalidName, InvalidMessage."""
    if text.count("/") != 2:
        message = f"{shown(text)} is not kind/namespace/name"
        raise InvalidMessage(message)
    return TwinKey.parse(text)


def series_body(series: SeriesReadings) -> dict[str, Any]:
    """Readings of one property as columns."""
    readings = series.readings
    marks = [(one.quality, one.reason) for one in readings]
    gaps = [[gap.first, gap.last, gap.readings, gap.why] for gap in series.gaps]
    return {
        "twin": str(series.key),
        **_given("uid", series.uid),
        "property": series.property,
        **_given("at", _steps([one.at for one in readings])),
        **_given("ticks", _steps([one.tick for one in readings])),
        **_given("values", [one.value for one in readings]),
        **_given("marks", _marks(marks)),
        **_given("gaps", gaps),
    }


def series_of(body: SeriesBody) -> SeriesReadings:
    """The readings again. Raises InvalidMessage, InvalidName, ValueError."""
    marks = _marked(body.marks, len(body.values))
    times, ticks = list(accumulate(body.at)), list(accumulate(body.ticks))
    readings = tuple(
        Reading(_checked(at), _checked(tick), value, *mark)
        for at, tick, value, mark in zip(times, ticks, body.values, marks, strict=True)
    )
    gaps = tuple(Gap(*gap) for gap in body.gaps)
    return SeriesReadings(key_of(body.twin), body.uid, _checked_name(body.property), readings, gaps)


def _of(row: Row) -> str:
    if row.section is Section.DESIRED:
        return row.site.value
    if row.site is not Site.EDGE:
        message = f"{row.key}: {row.property}: only the edge reports"
        raise InvalidMessage(message)
    return "reported"


def _part(of: str, by: str, slots: list[tuple[str, Slot]], base: int) -> dict[str, Any]:
    shifts = [slot.at - slot.tick // 1000 for _, slot in slots]
    seen = [slot.seen for _, slot in slots]
    return {
        **({"of": of} if of != "reported" else {}),
        **_given("by", by),
        "names": [name for name, _ in slots],
        "values": [None if slot.value is DELETED else slot.value for _, slot in slots],
        "ticks": [slot.tick - base for _, slot in slots],
        **({"at": shifts} if any(shifts) else {}),
        **({"seen": seen} if any(seen) else {}),
        **_given("deleted", [place for place, (_, slot) in enumerate(slots) if slot.value is DELETED]),
        **_given("marks", _marks([(slot.quality, slot.reason) for _, slot in slots])),
    }


def _slots(part: RowsBody, base: int) -> Iterator[tuple[str, Slot]]:
    count = len(part.names)
    nothing = [0] * count
    values: list[SlotValue] = list(part.values)
    for place in part.deleted:
        if not 0 <= place < count or part.values[place] is not None:
            message = f"`deleted` names {place}, which holds a value or is not there"
            raise InvalidMessage(message)
        values[place] = DELETED
    marks = _marked(part.marks, count)
    for name, value, step, shift, seen, mark in zip(
        part.names, values, part.ticks, part.at or nothing, part.seen or nothing, marks, strict=True
    ):
        tick = _checked(base + step)
        yield _checked_name(name), Slot(value, tick, seen, part.by, _checked(tick // 1000 + shift), *mark)


def _marks(found: list[tuple[Quality, Reason]]) -> list[list[Any]]:
    return [[place, *mark] for place, mark in enumerate(found) if mark != _GOOD]


def _marked(marks: list[MarkBody], count: int) -> list[tuple[Quality, Reason]]:
    found = [_GOOD] * count
    for place, quality, reason in marks:
        if place >= count:
            message = f"`marks` names {place}, which is not there"
            raise InvalidMessage(message)
        found[place] = (quality, reason)
    return found


def _steps(numbers: list[int]) -> list[int]:
    return [*numbers[:1], *(after - before for before, after in pairwise(numbers))]


def _given(name: str, value: Any) -> dict[str, Any]:
    return {name: value} if value else {}


def _checked(number: int) -> int:
    if not 0 <= number < _LIMIT:
        message = f"{number} is outside 0 to 2^63"
        raise InvalidMessage(message)
    return number


def _checked_name(name: str) -> str:
    if PROPERTY.fullmatch(name) is None:
        message = f"{shown(name)} is no name of a property; use {PROPERTY_RULE}"
        raise InvalidMessage(message)
    return name
