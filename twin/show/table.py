"""Twins as a table for people. Pure: bodies in, a rich table out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from twin.model import Kind, Quality
from twin.wire import topics
from twin.wire.api import LeafBody, TwinBody

STYLES = {Quality.GOOD: "green", Quality.UNCERTAIN: "yellow", Quality.BAD: "red"}


def console() -> Console:
    """Stdout, with colours if it is a terminal; a pipe gets whole lines, however long."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=200)


def plain_table(*titles: str) -> Table:
    """A table of text without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title)
    return table


def twin_table(twins: Iterable[TwinBody], now_ms: int, changed: frozenset[tuple[str, str]] = frozenset()) -> Table:
    """One row a property; ``changed`` names (twin, property) to be shown in bold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("TWIN", "PROPERTY", "REPORTED", "UNIT", "DESIRED", "QUALITY", "AGE"):
        table.add_column(title, justify="right" if title in ("REPORTED", "DESIRED", "AGE") else "left")
    for twin in twins:
        for name in sorted(twin.reported.keys() | twin.desired.keys()):
            table.add_row(*_row(twin, name, now_ms, (twin.twin, name) in changed))
        if not twin.reported and not twin.desired:
            table.add_row(short_key(twin.twin), Text("no value yet", style="dim"))
    return table


def short_key(twin: str) -> str:
    """A device's key without its kind, as commands take it."""
    return twin.removeprefix(f"{Kind.DEVICE}/")


def value_text(value: Any) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if isinstance(value, str | int) else _json(value)


def age_text(age_ms: int) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(age_ms, 0) / 1000
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if unit == "s" else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def quality_text(leaf: LeafBody | None) -> str:
    """How good a value is, why, and whether it is simulated."""
    if leaf is None:
        return "not reported"
    text = f"{leaf.quality} ({leaf.reason})" if leaf.reason else str(leaf.quality)
    return f"{text}, simulated" if topics.is_simulated(leaf.by) else text


def _row(twin: TwinBody, name: str, now_ms: int, bold: bool) -> list[Text | str]:
    reported, desired = twin.reported.get(name), twin.desired.get(name)
    value = Text(value_text(reported.value) if reported else "-", style="bold" if bold else "")
    wanted = Text("")
    if desired is not None:
        wanted = Text(value_text(desired.value), style="yellow" if name in twin.delta else "dim")
    leaf = reported or desired or LeafBody()
    quality = Text(quality_text(reported), style=STYLES[reported.quality] if reported else "dim")
    return [short_key(twin.twin), name, value, leaf.unit, wanted, quality, age_text(now_ms - leaf.at)]


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
