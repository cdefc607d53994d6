"""A pulse as a screen for people. Pure: a pulse, a time and a size in, something that rich prints out."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from twin.model import Quality
from twin.show.pulse import SPAN_MS, Moving, Number, Pulse
from twin.show.sparkline import sparkline
from twin.show.table import age_text, plain_table, short_key, value_text
from twin.wire.api import StatusReply, SyncBody

_WIDTH = 30
_QUALITY = {Quality.GOOD: "green", Quality.UNCERTAIN: "yellow", Quality.BAD: "red"}


def screen(pulse: Pulse, now_ms: int, rows: int, trouble: str = "") -> Group:
    """The whole view in ``rows`` lines; ``trouble`` says why nothing new is heard."""
    last = pulse.last()
    head = [] if last is None else _head(pulse, last, now_ms)
    if trouble:
        head.append(Text(trouble, style="red"))
    return Group(*head, Text(""), properties(pulse.moving(now_ms), now_ms, max(1, rows - len(head) - 2)))


def properties(moving: Sequence[Moving], now_ms: int, rows: int) -> Table:
    """One line a property; what does not fit is counted in the last one."""
    table = plain_table("TWIN", "PROPERTY", "REPORTED", "UNIT", "DESIRED", "QUALITY", "A MINUTE", "LAST MINUTE")
    for column in (2, 4, 6):
        table.columns[column].justify = "right"
    shown = moving if len(moving) <= rows else moving[: max(0, rows - 1)]
    for one in shown:
        table.add_row(*_row(one, now_ms))
    if hidden := len(moving) - len(shown):
        table.add_row(Text(f"and {hidden} more", style="dim"))
    return table


def _head(pulse: Pulse, last: StatusReply, now_ms: int) -> list[Text]:
    up = age_text(now_ms - last.started_at)
    bad = len(last.devices_bad)
    lines = [
        Text.assemble(
            (last.gateway, "bold"),
            f"  up {up}  {last.devices} devices",
            (f", {bad} with bad quality" if bad else ", all good", "red" if bad else "green"),
        ),
        _line("reports", pulse.reports_s(), now_ms, "a second"),
        _line("values", pulse.values_s(), now_ms, "a second"),
    ]
    if last.sync is not None and last.sync.state != "off":
        lines.append(_cloud(last.sync, pulse.unsent(), now_ms))
    lines += [Text(f"{child.name}: {child.problem}", style="red") for child in last.children if child.problem]
    lines += [Text(f"ALARM {alarm}", style="red") for alarm in last.alarms]
    lines += [Text(f"fires {alarm}", style="yellow") for alarm in last.firing]
    return lines


def _line(name: str, numbers: Sequence[Number], now_ms: int, unit: str) -> Text:
    now = f"{numbers[-1].number:9.1f}" if numbers else "        -"
    return Text.assemble(f"{name:<8}{now} {unit}  ", (_bars(numbers, now_ms), "cyan"))


def _cloud(sync: SyncBody, unsent: Sequence[Number], now_ms: int) -> Text:
    state = f"{sync.state} for {age_text(now_ms - sync.since)}"
    style = "green" if sync.state == "live" else "yellow"
    return Text.assemble(
        f"{'unsent':<8}{sync.unsent:>9} leaves    ", (_bars(unsent, now_ms), "cyan"), "  cloud ", (state, style)
    )


def _row(one: Moving, now_ms: int) -> list[Text | str]:
    leaf, wanted = one.leaf, one.desired
    quality = Text("not reported", style="dim")
    if leaf is not None:
        quality = Text(f"{leaf.quality} ({leaf.reason})" if leaf.reason else str(leaf.quality), _QUALITY[leaf.quality])
    return [
        short_key(one.twin),
        one.name,
        Text(value_text(leaf.value) if leaf else "-", style="bold" if one.changes else ""),
        leaf.unit if leaf else "",
        Text(value_text(wanted.value) if wanted else "", style="yellow" if one.waits else "dim"),
        quality,
        str(one.changes) if one.changes else "",
        Text(_bars(one.numbers, now_ms), style="cyan"),
    ]


def _bars(numbers: Sequence[Number], now_ms: int) -> str:
    return sparkline(numbers, now_ms - SPAN_MS, now_ms, _WIDTH)
