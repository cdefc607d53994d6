"""Readings made so few that a chart can show them, without losing a peak. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twin.model import Quality
from twin.wire.api import ReadingBody


def thinned(readings: Sequence[ReadingBody], most: int) -> list[ReadingBody]:
    """At most about ``most`` readings: of each stretch of time the first, the least, the greatest and the last.

    Readings whose quality is not good are kept where the quality changes. ``readings`` come oldest first.
    """
    if len(readings) <= most:
        return list(readings)
    stretches = max(1, most // 4)
    begins_at, ends_at = readings[0].at, readings[-1].at
    width = max(1, -(-(ends_at - begins_at + 1) // stretches))
    kept: list[ReadingBody] = []
    stretch: list[ReadingBody] = []
    number = 0
    for one in readings:
        if (found := (one.at - begins_at) // width) != number:
            kept += _few(stretch)
            stretch, number = [], found
        stretch.append(one)
    return kept + _few(stretch)


def _few(stretch: list[ReadingBody]) -> list[ReadingBody]:
    if len(stretch) <= 4:
        return stretch
    numbers = [at for at, one in enumerate(stretch) if one.quality is Quality.GOOD and is_number(one.value)]
    keep = {0, len(stretch) - 1}
    if numbers:
        keep.add(min(numbers, key=lambda at: stretch[at].value))
        keep.add(max(numbers, key=lambda at: stretch[at].value))
    return [stretch[at] for at in sorted(keep)]


def is_number(value: Any) -> bool:
    """Whether a value has a height in a chart."""
    return isinstance(value, int | float) and not isinstance(value, bool)
