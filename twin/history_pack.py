"""Readings of one series as a few bytes each, and back: columns of differences as JSON, compressed. Pure.

JSON, because it holds every value exactly as the wire and the leaves do; most of its length is gone after zlib.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from twin.history import Reading
from twin.model import Quality, Reason

_LEVEL: Final = 3


def pack(readings: Sequence[Reading]) -> bytes:
    """Pack readings, in the order they have."""
    ats, ticks, values, _, _ = zip(*readings, strict=True)
    marks = {
        place: [one.quality.value, one.reason.value]
        for place, one in enumerate(readings)
        if one.quality is not Quality.GOOD or one.reason is not Reason.NONE
    }
    columns = [_differences(ats), _differences(ticks), values, marks]
    return zlib.compress(json.dumps(columns, separators=(",", ":"), ensure_ascii=False).encode(), _LEVEL)


def unpack(packed: bytes) -> list[Reading]:
    """Read them back. Raises ValueError for bytes that are not packed readings."""
    try:
        ats, ticks, values, marks = json.loads(zlib.decompress(packed))
    except zlib.error as error:
        message = f"packed readings do not unpack: {error}"
        raise ValueError(message) from None
    readings = list(map(Reading, accumulate(ats), accumulate(ticks), values))
    for place, (quality, reason) in marks.items():
        readings[int(place)] = readings[int(place)]._replace(quality=Quality(quality), reason=Reason(reason))
    return readings


def _differences(numbers: Iterable[int]) -> list[int]:
    found, before = [], 0
    for number in numbers:
        found.append(number - before)
        before = number
    return found
