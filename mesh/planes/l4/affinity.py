"""Clients that stay with their endpoint for a while (sessionAffinity: ClientIP)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

MAX_CLIENTS: Final = 10_000


@dataclass(slots=True)
class _Stay:
    place: str
    until_s: float


class Affinity:
    """Where clients were last. Of more than ``max_clients`` the one not seen longest is forgotten."""

    def __init__(self, max_clients: int = MAX_CLIENTS) -> None:
        self._max_clients = max_clients
        self._stays: OrderedDict[str, _Stay] = OrderedDict()

    def __len__(self) -> int:
        return len(self._stays)

    def place(self, client: str, now_s: float) -> str | None:
        """Where it should go again; None: anywhere."""
        stay = self._stays.get(client)
        if stay is None:
            return None
        if now_s >= stay.until_s:
            del self._stays[client]
            return None
        return stay.place

    def went(self, client: str, place: str, now_s: float, stay_s: float) -> None:
        """It is there now, and stays for so long from now."""
        self._stays[client] = _Stay(place, now_s + stay_s)
        self._stays.move_to_end(client)
        if len(self._stays) > self._max_clients:
            self._stays.popitem(last=False)
