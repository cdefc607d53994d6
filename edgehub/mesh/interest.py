"""Which services this gateway uses, so that the cloud sends it those and no others. Pure, but for its notes.

Names that were asked for within a day, those that routes applied here lead to, and Services applied here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Final

from mesh.binding import backends_of
from mesh.model.routes import RouteKey
from mesh.model.services import PortKey, ServiceKey
from mesh.model.table import Table

KEPT_MS: Final = 24 * 3600 * 1000
MOST: Final = 500
"""Names that were asked for; of more the longest unasked are forgotten, so that no client can fill the memory."""
_RENEWED_MS: Final = KEPT_MS // 24
"""A name that is asked for again within that time is not noted again."""


class Interest:
    """Who was asked for, and when last."""

    def __init__(self, asked: Mapping[str, int]) -> None:
        self._asked = dict(asked)

    @classmethod
    def read(cls, text: str) -> Interest:
        """From a note; one that cannot be read is as none."""
        asked = {}
        for line in text.splitlines():
            name, _, at = line.partition(" ")
            if name.count("/") == 1 and at.isascii() and at.isdecimal():
                asked[name] = int(at)
        return cls(asked)

    def note(self) -> str:
        """What ``read`` reads."""
        return "".join(f"{name} {at}\n" for name, at in sorted(self._asked.items()))

    def took(self, services: Iterable[ServiceKey], now_ms: int) -> bool:
        """They were asked for now. Whether that is worth a note."""
        news = False
        for key in services:
            name = str(key)
            if now_ms - self._asked.get(name, -_RENEWED_MS) >= _RENEWED_MS:
                self._asked[name] = now_ms
                news = True
        if len(self._asked) > MOST:
            kept = sorted(self._asked.items(), key=lambda one: one[1], reverse=True)[:MOST]
            self._asked = dict(kept)
        return news

    def of(self, table: Table, by_cloud: Set[ServiceKey | RouteKey], now_ms: int) -> list[str]:
        """All services of interest, in order. ``by_cloud``: what the cloud applied is no interest by itself."""
        self._asked = {name: at for name, at in self._asked.items() if now_ms - at < KEPT_MS}
        named = {str(key) for key in _named(table, by_cloud)}
        return sorted({*self._asked, *named})


def _named(table: Table, by_cloud: Set[ServiceKey | RouteKey]) -> Iterator[ServiceKey]:
    yield from (key for key, one in table.services.items() if key not in by_cloud and not one.external_name)
    for key, route in table.routes.items():
        if key not in by_cloud:
            ports: Iterable[PortKey] = (*route.parents, *backends_of(route, table.route_policies.get(key)))
            yield from (port.service for port in ports)
