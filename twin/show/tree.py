"""Twins as a tree for people: gateway, device, property. Pure: bodies in, a rich tree out."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text
from rich.tree import Tree

from twin.show.table import STYLES, age_text, quality_text, short_key, value_text
from twin.wire.api import LeafBody, TwinBody


def twin_tree(twins: Iterable[TwinBody], now_ms: int, *, nowhere: str = "of no gateway") -> Tree:
    """A branch each gateway and device; what is desired and not reported stands behind an arrow.

    ``nowhere`` is the branch of twins that name no gateway.
    """
    root = Tree("twins", hide_root=True)
    gateways: dict[str, Tree] = {}
    for twin in twins:
        name = twin.gateway or nowhere
        if name not in gateways:
            gateways[name] = root.add(Text(name, style="bold"))
        kind = f"  {twin.model}" if twin.model else ""
        device = gateways[name].add(Text.assemble(short_key(twin.twin), (kind, "dim")))
        names = sorted(twin.reported.keys() | twin.desired.keys())
        width = max(map(len, names), default=0)
        for one in names:
            device.add(_property(twin, one, now_ms, width))
        if not names:
            device.add(Text("no value yet", style="dim"))
    return root


def _property(twin: TwinBody, name: str, now_ms: int, width: int) -> Text:
    reported, desired = twin.reported.get(name), twin.desired.get(name)
    leaf = reported or desired or LeafBody()
    value = value_text(reported.value) if reported else "-"
    text = Text(f"{name:<{width}}  {value}{f' {leaf.unit}' if leaf.unit else ''}")
    if desired is not None and name in twin.delta:
        text.append(f" → {value_text(desired.value)}", style="yellow")
    text.append(f"  {quality_text(reported)}", style=STYLES[reported.quality] if reported else "dim")
    return text.append(f"  {age_text(now_ms - leaf.at)}", style="dim")
