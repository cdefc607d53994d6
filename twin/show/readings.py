"""Readings of a property: how their time is asked for, and how they look as bars, CSV or JSON."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple, TextIO

import typer

from twin.client import TwinClient
from twin.errors import InvalidMessage
from twin.history import Why
from twin.manifest.fields import parsed_duration_ms
from twin.model import Quality
from twin.show.sparkline import sparkline
from twin.show.table import short_key, value_text
from twin.wire.api import GapBody, HistoryReply, HistoryRequest, ReadingBody

_PAGE = 10_000
_WIDTH = 60
_LOST = {
    Why.AGE: "dropped, over the greatest age",
    Why.SPACE: "dropped to make room",
    Why.THIN: "thinned out, others of the time are kept",
    Why.DAMAGE: "damaged on the disk",
}


class Span(NamedTuple):
    """Two times in milliseconds."""

    since: int
    until: int


def asked_span(since: str, until: str) -> Span:
    """The times that options ask for. Raises InvalidMessage."""
    now_ms = int(time.time() * 1000)
    return Span(_moment_ms(since, now_ms, "--since"), _moment_ms(until, now_ms, "--until") if until else 2**53 - 1)


def print_readings(reply: HistoryReply, asked: Span, *, as_csv: bool, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        typer.echo(json.dumps(reply.model_dump(mode="json", exclude_defaults=True), ensure_ascii=False))
    elif as_csv:
        _write_csv(reply, sys.stdout)
    else:
        now_ms = int(time.time() * 1000)
        for line in _lines(reply, Span(asked.since, min(asked.until, max(now_ms, *_ends(reply))))):
            typer.echo(line)


async def read_all(client: TwinClient, request: HistoryRequest, limit: int) -> HistoryReply:
    """All pages as one, as far as the limit goes."""
    reply = await client.history(request.model_copy(update={"limit": min(limit, _PAGE)}))
    readings = list(reply.readings)
    while reply.after and len(readings) < limit:
        more = {"after": reply.after, "limit": min(limit - len(readings), _PAGE)}
        reply = await client.history(request.model_copy(update=more))
        readings += reply.readings
    return reply.model_copy(update={"readings": readings})


def _moment_ms(text: str, now_ms: int, option: str) -> int:
    """A moment from how long ago it was, or as a time. Raises InvalidMessage."""
    ago_ms = parsed_duration_ms(text)
    if ago_ms is not None:
        return max(0, now_ms - ago_ms)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{option}: {text!r} is neither a duration nor a time"
        raise InvalidMessage(message, remedy="Write 10m, 1h or 7d, or a time such as 2026-11-24T08:00:00Z.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, round(moment.timestamp() * 1000))


def _ends(reply: HistoryReply) -> Iterator[int]:
    yield from (one.at for one in reply.readings[-1:])
    yield 0


def _lines(reply: HistoryReply, shown: Span) -> Iterator[str]:
    readings, unit = reply.readings, f" {reply.unit}" if reply.unit else ""
    policy = f"keeps {reply.keep}, drops {reply.drop}"
    yield f"{short_key(reply.twin)} {reply.property}, {_time(shown.since)} to {_time(shown.until)} ({policy})"
    numbers = [(one.at, float(one.value)) for one in readings if _is_number(one.value)]
    if numbers:
        yield f"  {sparkline(numbers, shown.since, shown.until, _WIDTH)}"
        values = [value for _, value in numbers]
        mean = value_text(sum(values) / len(values))
        least, greatest = value_text(min(values)), value_text(max(values))
        yield f"  min {least}{unit}, mean {mean}{unit}, max {greatest}{unit}"
    if readings:
        last = readings[-1]
        yield f"  last {value_text(last.value)}{unit}, {_time(last.at)}{_quality(last)}"
    doubtful = sum(one.quality is not Quality.GOOD for one in readings)
    yield f"  {len(readings)} readings" + (f", {doubtful} of them not good" if doubtful else "")
    for gap in reply.gaps:
        yield f"  gap {_time(gap.since)} to {_time(gap.until)}: {gap.count} readings {_LOST[gap.why]}"
    if reply.after:
        yield f"  there are more: go on with --since {_time(readings[-1].at)}, or raise --limit"


def _write_csv(reply: HistoryReply, out: TextIO) -> None:
    """Rows in the order of their times; a gap has its end and its count, a reading has not."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("time", "value", "unit", "quality", "reason", "gap_until", "gap_count"))
    rows: list[tuple[int, int, tuple[object, ...]]] = [
        *((one.at, 1, _reading_row(one, reply.unit)) for one in reply.readings),
        *((gap.since, 0, _gap_row(gap)) for gap in reply.gaps),
    ]
    for _, _, row in sorted(rows, key=lambda one: one[:2]):
        writer.writerow(row)


def _reading_row(one: ReadingBody, unit: str) -> tuple[object, ...]:
    return (_time(one.at), _exact(one.value), unit, one.quality, one.reason, "", "")


def _gap_row(gap: GapBody) -> tuple[object, ...]:
    return (_time(gap.since), "", "", "gap", gap.why, _time(gap.until), gap.count)


def _exact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _quality(one: ReadingBody) -> str:
    return "" if one.quality is Quality.GOOD else f"  [{one.quality}: {one.reason}]"


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
