"""Why a property has the value it has, as lines for people."""

from __future__ import annotations

from datetime import UTC, datetime

from twin.show.table import short_key, value_text
from twin.wire.api import ExplainReply


def explanation_lines(reply: ExplainReply) -> list[str]:
    """Who wrote, who won, who was overruled, and whether the device has followed."""
    lines = [f"{short_key(reply.twin)} {reply.property}"]
    if reply.rules:
        lines.append("  rules     " + ", ".join(reply.rules))
    if reply.reported is None:
        lines.append("  reported  nothing yet")
    else:
        leaf = reply.reported
        quality = f"{leaf.quality} ({leaf.reason})" if leaf.reason else str(leaf.quality)
        lines.append(
            f"  reported  {value_text(leaf.value)} {leaf.unit}".rstrip() + f", {quality}, {_when(leaf.at)} by {leaf.by}"
        )
    for slot in reply.slots:
        value = "deleted" if slot.deleted else value_text(slot.value)
        fate = "stands" if slot.site == reply.winner else "overruled"
        lines.append(f"  desired   {value}, written at the {slot.site} {_when(slot.at)} by {slot.by}: {fate}")
    lines.append(f"  why       {reply.why}")
    if reply.slots:
        lines.append(
            "  delta     "
            + ("the device has not reported it yet" if reply.pending else "none, the device has followed")
        )
    return lines


def _when(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
