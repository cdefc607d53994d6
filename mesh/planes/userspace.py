"""The userspace plane: doors of the frontends, and the carriers that stand behind them. Needs no rights at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from mesh.model.programme import Frontend, ProgrammeDelta
from mesh.model.services import AppProtocol, Plane, PortKey, Transport
from mesh.planes import Traffic
from mesh.planes.listeners import CannotOpen, Carrier, DatagramCarrier, Listeners, Place, places_of

GRACE_S: Final = 2.0


class Userspace:
    """Carries frontends in this process: a DataPlane. A frontend's carrier is chosen by how much of it is read."""

    def __init__(
        self,
        carriers: Mapping[AppProtocol, Carrier],
        datagrams: DatagramCarrier,
        listeners: Listeners,
        grace_s: float = GRACE_S,
    ) -> None:
        self._carriers = carriers
        self._datagrams = datagrams
        self._listeners = listeners
        self._grace_s = grace_s
        self._owners: dict[Place, PortKey] = {}

    async def open(self) -> None:
        """Nothing to get ready."""

    async def program(self, delta: ProgrammeDelta) -> Mapping[PortKey, str]:
        """Open what is wanted, then close what is not. What could not be opened is tried again at the next change."""
        ours = [one for one in delta.frontends if one.plane is Plane.USERSPACE]
        moving = {one.key for one in delta.frontends} | set(delta.gone_frontends)
        left = {place for place, owner in self._owners.items() if owner in moving} if moving else set()
        problems: dict[PortKey, str] = {}
        for frontend in ours:
            if frontend.key.transport is Transport.TCP and (why := self._carriers[frontend.app].changed(frontend)):
                problems[frontend.key] = why
                continue
            for place in places_of(frontend):
                owner = self._owners.get(place)
                if owner is not None and owner != frontend.key and place not in left:
                    problems[frontend.key] = f"{place} is the door of {owner} already; give one of them another port"
                    continue
                try:
                    self._open(place, frontend)
                except CannotOpen as problem:
                    problems[frontend.key] = str(problem)
                    continue
                self._owners[place] = frontend.key
                left.discard(place)
        for place in left:
            if self._owners[place] in problems:
                continue  # it goes on as it was
            del self._owners[place]
            self._listeners.retire(place)
        for key in delta.gone_frontends:
            for carrier in set(self._carriers.values()):
                carrier.forgotten(key)
        return problems

    def traffic(self) -> Iterable[Traffic]:
        """The carriers count as they go; nothing is counted elsewhere."""
        return ()

    async def close(self) -> None:
        """Close the doors, then end what is open after a moment."""
        self._owners.clear()
        self._listeners.close()
        for carrier in set(self._carriers.values()):
            await carrier.close(self._grace_s)

    def _open(self, place: Place, frontend: Frontend) -> None:
        if place.transport is Transport.UDP:
            self._listeners.open_datagrams(place, frontend, self._datagrams)
        else:
            self._listeners.open(place, frontend, self._carriers[frontend.app])
