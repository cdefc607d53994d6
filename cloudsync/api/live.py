"""What a watch has shown, and what of a newer state is news to it. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from twin.document import TwinDocument
from twin.errors import InvalidQuery
from twin.model import Site
from twin.query.plan import Column, Plan, Selected
from twin.view import twin_body
from twin.wire.api import LiveChange, WatchEvent


class Shown(NamedTuple):
    """How far a twin was shown: its version, and the greatest tick of each site."""

    version: int
    edge: int
    cloud: int


def shown(document: TwinDocument) -> Shown:
    """How far a twin is shown by showing this document."""
    ticks = dict.fromkeys(Site, 0)
    for slot in document.reported.values():
        ticks[Site.EDGE] = max(ticks[Site.EDGE], slot.tick)
    for leaf in document.desired.values():
        for site in Site:
            if (slot_ := leaf.slot(site)) is not None:
                ticks[site] = max(ticks[site], slot_.tick)
    return Shown(document.version, ticks[Site.EDGE], ticks[Site.CLOUD])


def event_of(document: TwinDocument, before: Shown | None, *, initial: bool = False) -> WatchEvent:
    """A whole twin, and the properties that were written since it was shown."""
    since = before or Shown(-1, -1, -1)
    ticks = {Site.EDGE: since.edge, Site.CLOUD: since.cloud}
    desired = [
        name
        for name, leaf in document.desired.items()
        if any((slot := leaf.slot(site)) is not None and slot.tick > ticks[site] for site in Site)
    ]
    return WatchEvent(
        twin=str(document.spec.key),
        body=twin_body(document),
        desired=[] if initial else sorted(desired),
        reported=[] if initial else sorted(name for name, one in document.reported.items() if one.tick > since.edge),
        initial=initial,
    )


def live_plan(plan: Plan) -> Plan:
    """The plan of a live query, with the twin in front. Raises InvalidQuery for one whose result has no twins."""
    if not plan.pageable:
        message = "a live query has neither ORDER BY, LIMIT, GROUP BY nor COUNT(*)"
        raise InvalidQuery(message, remedy="Leave them out: each twin that fits enters, changes and leaves by itself.")
    titles = [one.title for one in plan.selected]
    if len(set(titles)) < len(titles):
        twice = next(title for title in titles if titles.count(title) > 1)
        message = f"two columns of a live query are called {twice!r}"
        raise InvalidQuery(message, remedy="Name one with AS.")
    return replace(plan, selected=(Selected(Column.TWIN, "twin"), *plan.selected))


@dataclass(slots=True)
class LiveResult:
    """The rows of a live query as its watcher knows them; of each only a hash is kept."""

    columns: tuple[str, ...]
    rows: dict[str, int] = field(default_factory=dict)

    def initial(self, rows: Iterable[list[Any]]) -> list[WatchEvent]:
        """The first rows, or more of them."""
        return [self._event(row, LiveChange.ENTERED, initial=True) for row in rows]

    def update(self, asked: Collection[str] | None, rows: Iterable[list[Any]]) -> list[WatchEvent]:
        """What is news in the rows that fit now, of the twins asked about, or of all."""
        found = {row[0]: row for row in rows}
        events = []
        for twin, row in found.items():
            known = self.rows.get(twin)
            if known is None:
                events.append(self._event(row, LiveChange.ENTERED))
            elif known != _hash(row):
                events.append(self._event(row, LiveChange.CHANGED))
        gone = [twin for twin in (self.rows if asked is None else asked) if twin in self.rows and twin not in found]
        for twin in gone:
            del self.rows[twin]
            events.append(WatchEvent(twin=twin, change=LiveChange.LEFT))
        return events

    def _event(self, row: list[Any], change: LiveChange, *, initial: bool = False) -> WatchEvent:
        self.rows[row[0]] = _hash(row)
        values: Mapping[str, Any] = dict(zip(self.columns, row[1:], strict=True))
        return WatchEvent(twin=row[0], row=dict(values), change=change, initial=initial)


def _hash(row: list[Any]) -> int:
    return hash(json.dumps(row, sort_keys=True))
