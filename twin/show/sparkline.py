"""Numbers over time as one line of bars. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"
EMPTY: Final = " "


def sparkline(numbers: Sequence[tuple[int, float]], since: int, until: int, width: int) -> str:
    """Draw the mean of each of ``width`` equal parts of the time; a part without a number stays empty."""
    parts: list[list[float]] = [[] for _ in range(width)]
    for at, number in numbers:
        if since <= at <= until:
            parts[min(width - 1, (at - since) * width // max(1, until - since))].append(number)
    means = [sum(part) / len(part) for part in parts if part]
    if not means:
        return EMPTY * width
    least, reach = min(means), max(means) - min(means)

    def bar(part: list[float]) -> str:
        if not part:
            return EMPTY
        height = (sum(part) / len(part) - least) / reach if reach else 0.0
        return BARS[min(len(BARS) - 1, int(height * len(BARS)))]

    return "".join(map(bar, parts))
