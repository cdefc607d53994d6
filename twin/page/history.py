"""The readings of a stretch of time for a chart: all of them, or, if they are too many, some from everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from twin.client import TwinClient
from twin.page.chart import thinned
from twin.wire.api import GapBody, HistoryReply, HistoryRequest, ReadingBody

POINTS: Final = 480
"""Readings of one chart, about."""
_PAGE: Final = 5000
_PAGES: Final = 4
_SLICES: Final = 120
_OF_SLICE: Final = 20


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart shows; ``sampled``: there were too many readings, and these are some of all times."""

    reply: HistoryReply
    sampled: bool


async def chart_of(client: TwinClient, twin: str, name: str, since: int, until: int) -> Chart:
    """Readings for a chart. Raises EdgetwinError."""
    request = HistoryRequest(twin=twin, property=name, since=since, until=until, limit=_PAGE)
    readings: list[ReadingBody] = []
    gaps: list[GapBody] = []
    sampled = True
    for _ in range(_PAGES):
        reply = await client.history(request)
        readings += reply.readings
        gaps = reply.gaps or gaps
        if not reply.after:
            sampled = False
            break
        request = request.model_copy(update={"after": reply.after})
    if sampled:
        readings = await _some(client, request, since, until)
    few = {"readings": thinned(readings, POINTS), "gaps": gaps, "after": ""}
    return Chart(reply.model_copy(update=few), sampled)


async def _some(client: TwinClient, request: HistoryRequest, since: int, until: int) -> list[ReadingBody]:
    width = max(1, (until - since) // _SLICES)
    found: list[ReadingBody] = []
    for begins_at in range(since, until, width):
        part = {"since": begins_at, "until": begins_at + width - 1, "limit": _OF_SLICE, "after": ""}
        found += (await client.history(request.model_copy(update=part))).readings
    return found
