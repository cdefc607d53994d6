"""Events of a watch as lines for people."""

from __future__ import annotations

from datetime import UTC, datetime

from twin.model import Quality
from twin.show.table import short_key, value_text
from twin.wire.api import LeafBody, WatchEvent


def event_lines(event: WatchEvent) -> list[str]:
    """An event as lines for people: a time, a twin, a property and its value each."""
    if event.ready:
        return []
    if event.restarted:
        return [f"{_time(datetime.now(UTC))} the watch began anew; what changed meanwhile is in what follows"]
    if event.change is not None:
        return [_row_line(event)]
    body, name = event.body, short_key(event.twin)
    if body is None:
        return [f"{_time(datetime.now(UTC))} {name} removed"]
    reported = list(body.reported) if event.initial else event.reported
    desired = list(body.desired) if event.initial else event.desired
    lines = []
    for one in sorted(reported):
        leaf = body.reported[one]
        lines.append(f"{_leaf_time(leaf)} {name} {one} = {value_text(leaf.value)}{_unit(leaf)}{_quality(leaf)}")
    for one in sorted(desired):
        wanted = body.desired.get(one)
        if wanted is None:
            lines.append(f"{_time(datetime.now(UTC))} {name} {one} no longer desired")
        else:
            state = "pending" if one in body.delta else "met"
            lines.append(
                f"{_leaf_time(wanted)} {name} {one} desired {value_text(wanted.value)}{_unit(wanted)} ({state})"
            )
    return lines


def _row_line(event: WatchEvent) -> str:
    values = "  ".join(f"{title} = {value_text(value)}" for title, value in (event.row or {}).items())
    return f"{_time(datetime.now(UTC))} {short_key(event.twin)} {event.change}  {values}".rstrip()


def _leaf_time(leaf: LeafBody) -> str:
    return _time(datetime.fromtimestamp(leaf.at / 1000, UTC))


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unit(leaf: LeafBody) -> str:
    return f" {leaf.unit}" if leaf.unit else ""


def _quality(leaf: LeafBody) -> str:
    return "" if leaf.quality is Quality.GOOD else f"  [{leaf.quality}: {leaf.reason}]"
