"""Readings of one series as a few bytes each, and back: columns of differences as JSON, compressed. Pure.

JSON, because it holds every value exactly as the wire and the leaves do; most of its length is gone after zlib. Whole
columns are worked on at once, for every reading is packed two or three times on the thread of the commits.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from itertools import accumulate
from operator import sub
from typing import Any, Final

from twin.history import Reading
from twin.model import Quality, Reason

_LEVEL: Final = 6


def pack(readings: Sequence[Reading]) -> bytes:
    """Pack readings, in the order they have."""
    return _compressed(_columns(readings))


def unpack(packed: bytes) -> list[Reading]:
    """Read them back. Raises ValueError for bytes that are not packed readings."""
    ats, ticks, values, marks = _expanded(packed)
    readings = list(map(Reading, accumulate(ats), accumulate(ticks), values))
    for place, (quality, reason) in marks.items():
        readings[int(place)] = readings[int(place)]._replace(quality=Quality(quality), reason=Reason(reason))
    return readings


def appended(packed: bytes, readings: Sequence[Reading]) -> bytes | None:
    """Pack readings behind others without a look at each of those; None if they are not all later."""
    ats, ticks, values, marks = _expanded(packed)
    at, tick = sum(ats), sum(ticks)
    if readings[0][:2] <= (at, tick):
        return None
    more_ats, more_ticks, more_values, more_marks = _columns(readings)
    more_ats[0] -= at
    more_ticks[0] -= tick
    marks |= {len(ats) + place: mark for place, mark in more_marks.items()}
    return _compressed([ats + more_ats, ticks + more_ticks, values + more_values, marks])


def _columns(readings: Sequence[Reading]) -> list[Any]:
    ats, ticks, values, qualities, reasons = zip(*readings, strict=True)
    marks = {}
    if qualities.count(Quality.GOOD) < len(readings) or reasons.count(Reason.NONE) < len(readings):
        marks = {
            place: [quality.value, reason.value]
            for place, (quality, reason) in enumerate(zip(qualities, reasons, strict=True))
            if quality is not Quality.GOOD or reason is not Reason.NONE
        }
    return [_differences(ats), _differences(ticks), list(values), marks]


def _compressed(columns: list[Any]) -> bytes:
    return zlib.compress(json.dumps(columns, separators=(",", ":"), ensure_ascii=False).encode(), _LEVEL)


def _expanded(packed: bytes) -> list[Any]:
    try:
        columns: list[Any] = json.loads(zlib.decompress(packed))
    except zlib.error as error:
        message = f"packed readings do not unpack: {error}"
        raise ValueError(message) from None
    return columns


def _differences(numbers: tuple[int, ...]) -> list[int]:
    return list(map(sub, numbers, (0, *numbers)))
